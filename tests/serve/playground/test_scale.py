"""Tests of serve/playground/scale.py: what a model is made of, at its own width and at another."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.config.model_config import PRESETS
from tinygpt.errors import ConfigError
from tinygpt.model.costs import account, forward_flops, parameters
from tinygpt.serve.playground.scale import picture, scale


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


def words(element: list[Any]) -> Iterator[str]:
    """Yield the names, attributes and texts of an element and all inside it."""
    name, attributes, *children = element
    yield from (name, *attributes, *attributes.values())
    for child in children:
        yield from [child] if isinstance(child, str) else words(child)


def test_the_picture_is_that_of_the_reports_as_plain_data() -> None:
    configs = [PRESETS["tinygpt"], dataclasses.replace(PRESETS["distilgpt2"], n_embd=24)]
    found = [scale("<b onclick=x>\uffff", config, None, 1.0) for config in configs]
    name, attributes, *parts = picture(found, 1000)
    assert (name, attributes["role"]) == ("svg", "img")
    assert attributes["viewBox"].startswith("0 0 1000 ")
    assert "A: 4 blocks 128 wide, 8" in attributes["aria-label"]
    assert "; B: 6 blocks 24 wide, " in attributes["aria-label"]
    assert {part[0] for part in parts} == {"g", "rect", "text"}
    assert {part[1]["class"] for part in parts if part[0] == "rect"} == {
        f"{what} {side}" for what in ("embedding", "mlp", "attention") for side in "ab"
    }
    shown = set(words([name, attributes, *parts]))
    assert not any(word.startswith("on") or "<" in word for word in shown)
    assert {"A", "B", "embedding", "attention", "mlp", "24 wide"} <= shown


@pytest.mark.parametrize("width", [300, 1000])
def test_a_narrow_model_of_many_tokens_still_has_room(width: int) -> None:
    narrow = dataclasses.replace(PRESETS["distilgpt2"], n_embd=24)  # 185 columns
    _, _, *parts = picture([scale("m", narrow, None, 1.0)], width)
    boxes = [part[1] for part in parts if part[0] == "rect"]
    assert all(float(box["width"]) > 0.2 and float(box["height"]) > 0 for box in boxes)
    assert max(float(box["x"]) + float(box["width"]) for box in boxes) <= width


def test_route(model_folder: Path) -> None:
    lm = dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="tiny")
    client = page_client([lm])
    answer = client.get("/page/scale", params={"models": ["tiny", "tiny"], "n_embd": [64, 32]})
    assert [one["n_embd"] for one in answer.json()["models"]] == [64, 32]
    assert [one["bytes_per_token"] for one in answer.json()["models"]] == [1.0, 1.0]
    assert answer.json()["picture"][0] == "svg"
    (own,) = client.get("/page/scale", params={"models": "tiny"}).json()["models"]
    assert own["is_own"]
    for query, status in (
        ({}, 400),
        ({"models": "other"}, 404),
        ({"models": ["tiny"] * 3}, 400),
        ({"models": ["tiny"] * 2, "n_embd": 64}, 400),
        ({"models": "tiny", "n_embd": 65}, 400),
        ({"models": "tiny", "n_embd": 0}, 400),
        ({"models": "tiny", "n_embd": 10**30}, 400),
        ({"models": "tiny", "n_embd": "x"}, 400),
        ({"models": "tiny", "width": 10**6}, 400),
    ):
        assert client.get("/page/scale", params=query).status_code == status, query
