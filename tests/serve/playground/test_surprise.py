"""Tests of serve/playground/surprise.py: the lens as the page draws it."""

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.comparison.lens import look
from tinygpt.inference.language_model import LanguageModel
from tinygpt.report.lens.cells import spaced
from tinygpt.serve.playground.surprise import surprise
from tinygpt.serve.playground.workers import Cancelled

TEXT = "the first line\nabc DEF abc é\nand more of it, once more"


@pytest.fixture
def pair(
    model_folder: Path,
    tiny_config: tinygpt.ModelConfig,
    make_gpt: Callable[..., Any],
    torch_engine: Callable[..., Any],
    byte_bpe: Callable[..., Any],
) -> list[LanguageModel]:
    """A character model that knows how long its training text was, and a model with BPE."""
    (model_folder / "training.json").write_text('{"data": {"n_train_characters": 999}}', "utf-8")
    bpe = byte_bpe([("Ġ", "a"), ("a", "n")])
    config = dataclasses.replace(tiny_config, vocab_size=bpe.vocab_size)
    one = tinygpt.load(model_folder, engine="torch")
    engine = torch_engine(make_gpt(config, seed=1))
    two = dataclasses.replace(
        one, name="bpe", path=None, config=config, tokenizer=bpe, engine=engine
    )
    return [dataclasses.replace(one, name="char"), two]


def test_the_page_gets_the_figures_of_the_lens(pair: list[LanguageModel]) -> None:
    found = surprise(pair, TEXT, threading.Event())
    lens = look(pair, TEXT, n_bytes=None, escape_unknown=True)
    assert found["prefix"] + found["text"] == TEXT
    assert found["text"] == lens.text
    assert found["prefix"].startswith("the first line\n")
    for shown, view in zip(found["views"], lens.views, strict=True):
        assert shown["bits_per_byte"] == view.evaluation.bits_per_byte
        assert shown["bits"] == view.bits
        tokens = [token for _, _, cell in shown["cells"] for token in cell]
        assert [found["words"][token[0]] for token in tokens] == [
            spaced(token.token) for token in view.tokens
        ]
        assert [token[1] for token in tokens] == [round(token.bits, 3) for token in view.tokens]
        ends = [end for end, _, _ in shown["cells"]]
        assert ends == sorted(set(ends))
        assert ends[-1] == len(lens.text)
        assert all(0 <= level <= 8 for _, level, _ in shown["cells"])
    assert found["views"][0]["n_unknown"] == 1 + TEXT.count(",")
    assert sum(b - a for _, _, a, b in found["difference"]) == pytest.approx(
        lens.views[1].bits - lens.views[0].bits, abs=0.01
    )
    for place in found["telling"]:
        assert found["text"][place["start"] : place["end"]] == place["text"]
    apart = [abs(place["bits"][0] - place["bits"][1]) for place in found["telling"]]
    assert apart == sorted(apart, reverse=True)


def test_one_model_has_no_difference(pair: list[LanguageModel]) -> None:
    found = surprise(pair[:1], "abc", threading.Event())
    assert "difference" not in found
    assert found["prefix"] == ""
    assert len(found["views"][0]["cells"]) == 3


def test_who_leaves_ends_the_work(pair: list[LanguageModel]) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        surprise(pair, TEXT, stop)


def test_the_work_looks_up_between_windows(
    pair: list[LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []
    monkeypatch.setattr(
        "tinygpt.serve.playground.surprise.end_if", lambda stop: looked.append(stop.is_set())
    )
    surprise(pair[:1], "abc def " * 200, threading.Event())  # a hundred windows, two batches
    assert len(looked) > 4


@pytest.mark.slow
def test_another_family(foreign_folder: Callable[[str], Path]) -> None:
    found = surprise([tinygpt.load(foreign_folder("llama"))], "the cat\nsat", threading.Event())
    assert found["text"] == "sat"
    assert found["views"][0]["engine"].startswith("transformers")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"models": ["char", "bpe"], "text": TEXT}, 200),
        ({"models": ["char"], "text": "é"}, 200),
        ({"models": ["char"], "text": ""}, 400),
        ({"models": ["char"], "text": "a\ud800"}, 400),
        ({"models": [], "text": "a"}, 400),
        ({"models": ["char"] * 3, "text": "a"}, 400),
        ({"models": ["char", "x"], "text": "a"}, 404),
        ({"models": ["char"], "text": "é" * 16385}, 400),
    ],
)
def test_route(pair: list[LanguageModel], body: dict[str, Any], status: int) -> None:
    answer = page_client(pair).post(
        "/page/surprise",
        content=json.dumps(body),  # half a pair as an escape
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == status
