"""Tests of serve/playground/models.py: what the head of the page says of each model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serve.playground.pages import N_SLOTS, page_client

import tinygpt
from tinygpt.model.costs import account
from tinygpt.tokenizers.char_byte import CharTokenizer


def test_a_folder(model_folder: Path) -> None:
    lm = tinygpt.load(model_folder, engine="torch")
    answer = page_client([lm]).get("/page/models").json()
    assert answer["version"] == tinygpt.__version__
    (model,) = answer["models"]
    costs = account(lm.config)
    assert lm.name == str(model_folder)
    assert model["name"] == "tiny"
    assert model["kind"] == "folder"
    assert model["n_params"] == costs.n_params
    assert model["memory_bytes"] == costs.weights_bytes + N_SLOTS * costs.kv_cache_bytes
    assert (model["n_layer"], model["n_head"], model["n_embd"]) == (2, 2, 32)
    assert model["tokenizer"] == {"kind": "char", "description": "raw characters, 50 tokens"}
    assert model["bytes_per_token"] == 1.0
    assert model["context_bytes"] == 16.0
    assert (model["engine"], model["dtype"], model["device"]) == ("torch", "float32", "cpu")
    assert model["trained_on"] is None
    assert model["run"] is None
    assert model["generation"]["temperature"] == 0.8
    assert "bos_token_id" not in model["generation"]


def test_a_tokenizer_that_lacks_the_measured_text(model_folder: Path) -> None:
    lm = tinygpt.load(model_folder, engine="torch")
    lm = dataclasses.replace(lm, tokenizer=CharTokenizer("äöü"))
    (model,) = page_client([lm]).get("/page/models").json()["models"]
    assert model["bytes_per_token"] is None
    assert model["context_bytes"] is None


def test_two_models_and_notes_without_a_folder(model_folder: Path) -> None:
    lm = tinygpt.load(model_folder, engine="torch")
    noted = dataclasses.replace(
        lm, name="b", notes=(f"{model_folder}/config.json: odd",), commit="0" * 40
    )
    first, second = page_client([lm, noted]).get("/page/models").json()["models"]
    assert first["notes"] == []
    assert second["notes"] == ["tiny/config.json: odd"]
    assert second["kind"] == "hub"


@pytest.mark.slow
def test_another_family(foreign_folder: Callable[[str], Path]) -> None:
    lm = tinygpt.load(foreign_folder("llama"))
    (model,) = page_client([lm]).get("/page/models").json()["models"]
    assert model["model_type"] == "llama"
    assert model["engine"] == "transformers"
    assert model["n_params"] == lm.config.account.n_params
    assert model["kv_cache_bytes"] == lm.config.account.kv_cache_bytes


def test_an_unknown_name_gets_the_nearest(model_folder: Path) -> None:
    lm = dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="tiny")
    answer = page_client([lm]).post("/page/tokens", json={"model": "tinny", "text": "a"})
    assert answer.status_code == 404
    said = 'there is no model "tinny"; did you mean "tiny"? (served: tiny)'
    assert answer.json()["error"]["message"] == said
