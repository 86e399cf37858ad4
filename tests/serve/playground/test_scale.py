"""Tests of serve/playground/scale.py: what a model is made of, at its own width and at another."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.config.model_config import PRESETS
from tinygpt.errors import ConfigError
from tinygpt.model.costs import account, forward_flops, parameters
from tinygpt.serve.playground.scale import scale


@pytest.mark.parametrize("width", [None, 96])
def test_the_figures_are_those_of_inspect(width: int | None) -> None:
    config = PRESETS["tinygpt"]
    found = scale("m", config, width, 1.0)
    wide = dataclasses.replace(config, n_embd=width or config.n_embd)
    costs = account(wide)
    assert found["n_params"] == costs.n_params
    assert found["flops_per_token"] == costs.flops_per_token == found["flops_per_byte"]
    assert found["kv_cache_bytes"] == costs.kv_cache_bytes
    assert found["is_own"] == (width is None)
    assert found["n_embd_step"] == 4
    rows = {row["key"]: row for row in found["components"]}
    assert {key: rows[key]["n_params"] for key in parameters(wide)} == parameters(wide)
    flops = forward_flops(wide, 1, wide.n_positions)
    assert {key: rows[key]["flops_per_token"] for key in flops} == flops
    assert sum(row["bytes"] for row in rows.values()) == found["weights_bytes"]
    assert rows["lm_head"]["n_params"] == 0


def test_per_byte_needs_bytes_per_token() -> None:
    config = PRESETS["distilgpt2"]
    found = scale("m", config, None, 4.0)
    assert found["flops_per_byte"] == found["flops_per_token"] / 4
    assert scale("m", config, None, None)["flops_per_byte"] is None


def test_a_width_that_heads_cannot_share() -> None:
    with pytest.raises(ConfigError, match="not divisible by n_head=4"):
        scale("m", PRESETS["tinygpt"], 130, 1.0)


@pytest.mark.slow
def test_another_family(foreign_folder: Callable[[str], Path]) -> None:
    config = tinygpt.load(foreign_folder("llama")).config
    found = scale("m", config, None, None)
    assert found["counted"] == "module"
    assert found["n_embd_step"] is None
    assert found["training_memory_bytes"] is None
    assert sum(row["n_params"] for row in found["components"]) == found["n_params"]
    assert all(row["flops_per_token"] is None for row in found["components"])
    with pytest.raises(ConfigError, match="is a llama"):
        scale("m", config, 64, None)


def test_route(model_folder: Path) -> None:
    lm = dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="tiny")
    client = page_client([lm])
    found = client.get("/page/scale", params={"model": "tiny", "n_embd": 64}).json()
    assert found["n_embd"] == 64
    assert found["bytes_per_token"] == 1.0
    for query, status in (
        ({}, 400),
        ({"model": "other"}, 404),
        ({"model": "tiny", "n_embd": 65}, 400),
        ({"model": "tiny", "n_embd": 0}, 400),
        ({"model": "tiny", "n_embd": 10**30}, 400),
        ({"model": "tiny", "n_embd": "x"}, 400),
    ):
        assert client.get("/page/scale", params=query).status_code == status, query
