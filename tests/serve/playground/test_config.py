"""Tests of serve/playground/config.py: configs key by key, and as texts to copy."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.runs.run_file import read_run_file
from tinygpt.serve.playground.config import configs

TRAINING = {
    "train": {"max_steps": 20, "block_size": 16},
    "optim": {"learning_rate": 0.01},
    "corpus": {"corpus": "/home/somebody/secret/poems.txt", "sha256": "0" * 64},
    "tokenizer": {"tokenizer": "char"},
    "data": {"n_train_characters": 900},
}


def test_keys_stand_side_by_side(model_folder: Path) -> None:
    one = tinygpt.load(model_folder, engine="torch")
    two = dataclasses.replace(
        one, name="two", path=None, config=dataclasses.replace(one.config, n_layer=3)
    )
    found = configs([one, two])
    assert found["models"] == [one.name, "two"]
    assert all(len(key["values"]) == 2 for key in found["keys"])
    order = [key["differs"] for key in found["keys"]]
    assert order == sorted(order, reverse=True)
    layers = next(key for key in found["keys"] if key["key"] == "n_layer")
    assert layers["values"] == ("2", "3")
    assert layers["differs"]
    assert layers["labels"] == ("architecture",)
    assert layers["meaning"]


def test_the_files_of_a_folder_can_be_copied(model_folder: Path, tmp_path: Path) -> None:
    lm = tinygpt.load(model_folder, engine="torch")
    (files,) = configs([lm])["files"]
    hf = {name: json.loads(text) for name, text in files["hf"].items()}
    assert ModelConfig.from_dict(hf["config.json"]) == lm.config
    assert GenerationConfig.from_dict(hf["generation_config.json"]) == lm.generation_config
    (tmp_path / "run.toml").write_text(files["tinygpt"], "utf-8")
    read = read_run_file(str(tmp_path / "run.toml"))
    assert read.model["n_embd"] == lm.config.n_embd
    assert "vocab_size" not in read.model
    assert read.tokenizer == {"tokenizer": "char"}


def test_a_run_is_repeated_by_its_run_file(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "training.json").write_text(json.dumps(TRAINING), "utf-8")
    lm = tinygpt.load(model_folder, engine="torch")
    found = configs([lm])
    assert "somebody" not in json.dumps(found)
    (tmp_path / "run.toml").write_text(found["files"][0]["tinygpt"], "utf-8")
    read = read_run_file(str(tmp_path / "run.toml"))
    assert read.train["max_steps"] == 20
    assert read.optim["learning_rate"] == 0.01
    assert read.corpus == {"corpus": "poems.txt", "sha256": "0" * 64}


def test_a_fine_tuned_run_says_why_not(model_folder: Path) -> None:
    (model_folder / "training.json").write_text(
        json.dumps({**TRAINING, "from": "/home/somebody/model"}), "utf-8"
    )
    (files,) = configs([tinygpt.load(model_folder, engine="torch")])["files"]
    assert files["tinygpt"] is None
    assert "another model's weights" in files["why_not"]


def test_gpt2_has_its_own_tokenizer(model_folder: Path) -> None:
    lm = tinygpt.load(model_folder, engine="torch")
    tokenizer = type("T", (), {"kind": "bpe", "vocab_size": 50257})()
    big = dataclasses.replace(lm, path=None, config=PRESETS["distilgpt2"], tokenizer=tokenizer)
    text = configs([big])["files"][0]["tinygpt"]
    assert 'tokenizer = "gpt2"' in text
    assert "vocab_size" not in text
    tokenizer = type("T", (), {"kind": "bpe", "vocab_size": 1000})()
    small = dataclasses.replace(big, config=dataclasses.replace(lm.config, vocab_size=1000))
    small = dataclasses.replace(small, tokenizer=tokenizer)
    assert "vocab_size = 1000" in configs([small])["files"][0]["tinygpt"]


def test_a_training_json_of_somebody_else(model_folder: Path) -> None:
    lm = tinygpt.load(model_folder, engine="torch")
    (model_folder / "training.json").write_text('{"train": {"epochs": 3}}', "utf-8")
    (files,) = configs([lm])["files"]
    assert files["tinygpt"] is None
    assert "not of this tinygpt" in files["why_not"]
    assert str(model_folder.parent) not in files["why_not"]


@pytest.mark.slow
def test_another_family(foreign_folder: Callable[[str], Path]) -> None:
    (files,) = configs([tinygpt.load(foreign_folder("llama"))])["files"]
    assert json.loads(files["hf"]["config.json"])["model_type"] == "llama"
    assert files["tinygpt"] is None
    assert "this is a llama" in files["why_not"]


def test_route(model_folder: Path) -> None:
    lm = dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="a, b")
    client = page_client([lm])
    found = client.get("/page/config", params={"models": ["a, b", "a, b"]}).json()
    assert found["models"] == ["a, b", "a, b"]
    assert not any(key["differs"] for key in found["keys"])
    assert client.get("/page/config").status_code == 400
    assert client.get("/page/config", params={"models": "a"}).status_code == 404
    assert client.get("/page/config", params={"models": ["a, b"] * 5}).status_code == 400
