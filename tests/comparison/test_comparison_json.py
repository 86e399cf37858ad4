"""comparison.json is what docs/comparison-json.md says, field by field and type by type."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from tinygpt.comparison.compare import compare
from tinygpt.comparison.result import Comparison
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import TrainConfig
from tinygpt.data.corpora import load_corpus
from tinygpt.inference.load import Architecture, load, untrained
from tinygpt.tokenizers.char_byte import CharTokenizer
from tinygpt.training.train import train

PAGE = Path(__file__).parents[2] / "docs" / "comparison-json.md"
TEXT = "the cat sat on the mat; the dog sat on the log.\nand then the cat ran – away.\n" * 120

SIMPLE = {"text": str, "integer": int, "number": (int, float), "object": dict}


def tables() -> dict[str, dict[str, str]]:
    """Each object of the page: its fields and their types."""
    found: dict[str, dict[str, str]] = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", part, re.M)
        found[part.partition("\n")[0]] = dict(rows)
    return found


def check(value: object, kind: str, where: str) -> None:
    """Hold a value against the words for its type."""
    if kind.startswith("list of "):
        kind, may_be_null = kind.removeprefix("list of "), False
        if not isinstance(value, list):  # "list of x or null": the list may be missing
            kind, may_be_null = kind.removesuffix(" or null"), kind.endswith(" or null")
            assert may_be_null, where
            assert value is None, where
            return
        for i, item in enumerate(value):
            check(item, kind, f"{where}[{i}]")
    elif kind.endswith(" or null"):
        if value is not None:
            check(value, kind.removesuffix(" or null"), where)
    elif kind.startswith("object of "):
        assert isinstance(value, dict), where
        for key, item in value.items():
            check(item, kind.removeprefix("object of "), f"{where}.{key}")
    elif kind == "true or false":
        assert isinstance(value, bool), where
    elif kind in SIMPLE:
        assert isinstance(value, SIMPLE[kind]), (where, value)
        assert not isinstance(value, bool), where
    else:
        fields = tables()[kind]
        assert isinstance(value, dict), where
        assert list(value) == list(fields), where
        for name, field_kind in fields.items():
            check(value[name], field_kind, f"{where}.{name}")


@pytest.fixture
def compared(tmp_path, byte_bpe) -> Comparison:
    """A run, a BPE model and an architecture alone, on a text with an unknown character."""
    own = tmp_path / "own.txt"
    own.write_text(TEXT.replace("–", "-"), "utf-8")
    corpus = load_corpus(str(own))
    sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}
    shape = dataclasses.replace(
        PRESETS["tinygpt"], vocab_size=CharTokenizer.from_text(corpus.part(0)).vocab_size, **sizes
    )
    settings = TrainConfig(max_steps=2, block_size=32, batch_size=2, n_evals=1)
    for _ in train(shape, settings, corpus, out=tmp_path / "run"):
        pass
    tokenizer = byte_bpe([("t", "h"), ("th", "e")])
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=48, n_embd=24, n_layer=1, n_head=3
    )
    bpe = dataclasses.replace(untrained("bpe", config, tokenizer, ""), missing_weights=None)
    nothing = Architecture("distilgpt2", PRESETS["distilgpt2"], "nothing at hand")
    return compare([load(tmp_path / "run"), bpe, nothing], [TEXT])


def test_every_field_is_documented_with_its_type(compared) -> None:
    data = json.loads(compared.to_json())
    assert data["schema_version"] == 1
    check(data, "Comparison", "comparison")
    (text,) = data["texts"]
    assert text["differences"]  # so that the optional parts were looked at too
    assert text["yardsticks"][0]["name"] == "uniform"
    run, _, alone = data["models"]
    assert run["quality"][0]["contamination"]
    assert run["samples"][0]["copied"]
    assert run["loss_by_context"]
    assert alone["quality"][0]["evaluation"] is None


def test_the_check_finds_what_does_not_fit() -> None:
    for value, kind in (
        (True, "integer"),
        ("1", "number"),
        (None, "text"),
        ([1, "a"], "list of integer"),
        ({"n": 1}, "Spread"),
    ):
        with pytest.raises(AssertionError):
            check(value, kind, "here")
    check([None, 1.0], "list of number or null", "here")
    check(None, "list of text or null", "here")
