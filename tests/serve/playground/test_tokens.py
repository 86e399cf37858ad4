"""Tests of serve/playground/tokens.py: how a prompt is cut, and what may come next."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.errors import TokenizerError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.sampling import probabilities
from tinygpt.serve.playground.tokens import next_tokens, tokens_of


@pytest.fixture
def char_lm(model_folder: Path) -> LanguageModel:
    return tinygpt.load(model_folder, engine="torch")


@pytest.fixture
def bpe_lm(char_lm: LanguageModel, byte_bpe: Callable[..., Any]) -> LanguageModel:
    """The same model with tokens of several bytes; only its tokenizer is asked."""
    merges = [("Ġ", "a"), ("a", "b"), ("ð", "Ł")]
    return dataclasses.replace(char_lm, name="bpe", tokenizer=byte_bpe(merges))


def test_each_token_names_its_characters(bpe_lm: LanguageModel) -> None:
    found = tokens_of(bpe_lm, "ab é a🙂")
    spans = [(token["start"], token["end"], token["text"]) for token in found["tokens"]]
    assert spans[0] == (0, 2, "ab")
    assert [span[:2] for span in spans if span[2].startswith("\\xf0")] == [(6, 7)]
    assert [span[:2] for span in spans][-3:] == [(6, 7)] * 3  # four bytes, one merge
    assert (4, 6, " a") in spans
    assert found["n_bytes"] == 11
    assert found["n_characters"] == 7
    assert found["unknown"] == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=60, deadline=None)
def test_tokens_cover_the_text_in_order(byte_bpe: Callable[..., Any], text: str) -> None:
    lm: Any = _Bare(byte_bpe([("Ġ", "a")]))
    found = tokens_of(lm, text)
    at = 0
    for token in found["tokens"]:
        assert at - 1 <= token["start"] <= at < token["end"] + (token["end"] == at)
        at = token["end"]
    assert at == len(text)
    assert found["n_tokens"] == len(found["tokens"])


class _Bare:
    """As much of a LanguageModel as is asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.config = tokenizer, _Config()


class _Config:
    n_positions = 16


def test_unknown_characters_are_named_with_the_reason(char_lm: LanguageModel) -> None:
    found = tokens_of(char_lm, "aéü b~")
    assert [(u["start"], u["end"], u["character"]) for u in found["unknown"]] == [
        (1, 3, "éü"),
        (5, 6, "~"),
    ]
    assert "50 characters" in found["unknown"][0]["reason"]
    assert [(t["start"], t["end"], t["text"]) for t in found["tokens"]] == [
        (0, 1, "a"),
        (3, 4, " "),
        (4, 5, "b"),
    ]


def test_the_context_keeps_the_tail(char_lm: LanguageModel) -> None:
    assert tokens_of(char_lm, "a" * 16)["context"] == {"n_positions": 16, "kept_from": 0}
    assert tokens_of(char_lm, "é" + "a" * 17)["context"]["kept_from"] == 2


def test_half_a_surrogate_pair_is_refused(char_lm: LanguageModel) -> None:
    with pytest.raises(TokenizerError, match="surrogate"):
        tokens_of(char_lm, "a\ud800")


def test_next_tokens_are_the_models_own_probabilities(char_lm: LanguageModel) -> None:
    found = next_tokens(char_lm, "ab", 40, {"temperature": 0.5, "top_k": 3})
    session = char_lm.session()
    session.prefill(0, char_lm.tokenizer.encode("ab").tolist())
    logits = session.logits(0).astype(np.float64)
    plain = np.exp(logits - logits.max())
    plain /= plain.sum()
    for token in found["tokens"]:
        assert token["probability"] == pytest.approx(plain[token["id"]], abs=1e-9)
        assert token["text"] == char_lm.tokenizer.decode([token["id"]])
        assert token["whole"]
    order = [token["probability"] for token in found["tokens"]]
    assert order == sorted(order, reverse=True)
    assert len(order) == 40
    assert found["rest"] == pytest.approx(1 - sum(order))
    assert found["n_kept"] == 3
    chosen = tinygpt.GenerationConfig(temperature=0.5, top_k=3)
    after = probabilities(session.logits(0), chosen)
    assert found["tokens"][0]["probability_after_sampling"] == pytest.approx(after.max())
    assert found["entropy_bits"] == pytest.approx(-(plain * np.log2(plain)).sum())
    assert 0 < found["entropy_bits"] <= math.log2(50)


def test_next_after_a_long_text_sees_its_tail(char_lm: LanguageModel) -> None:
    text = "abcdefghij" * 3
    found = next_tokens(char_lm, text, 5, {})
    assert found["truncated"]
    assert found["n_tokens"] == 30
    assert found["tokens"] == next_tokens(char_lm, text[-16:], 5, {})["tokens"]


def test_next_counts_repetition_as_generation_does(char_lm: LanguageModel) -> None:
    best = next_tokens(char_lm, "ab", 1, {})["tokens"][0]
    text = "ab" + best["text"]
    free, held = (
        next_tokens(char_lm, text, 40, {"repetition_penalty": penalty})["tokens"]
        for penalty in (1.0, 50.0)
    )
    assert [t["probability"] for t in free] == [t["probability"] for t in held]
    assert free != held


def test_routes(char_lm: LanguageModel) -> None:
    client = page_client([char_lm])
    name = "tiny"
    body = client.post("/page/tokens", json={"model": name, "text": "a b"}).json()
    assert body["n_tokens"] == 3
    body = client.post(
        "/page/next", json={"model": name, "text": "a b", "k": 4, "top_k": 0, "temperature": 0}
    ).json()
    assert len(body["tokens"]) == 4
    assert body["tokens"][0]["probability_after_sampling"] == 1.0
    assert client.post("/page/next", json={"model": name, "text": ""}).status_code == 200


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("tokens", {"model": "other", "text": "a"}, 404),
        ("tokens", {"text": "a"}, 400),
        ("tokens", {"model": "tiny", "text": "a" * 65537}, 400),
        ("tokens", {"model": "tiny", "text": "é" * 40000}, 400),
        ("tokens", {"model": "tiny", "text": "a", "more": 1}, 400),
        ("tokens", {"model": "tiny", "text": 1}, 400),
        ("next", {"model": "tiny", "text": "a", "k": 41}, 400),
        ("next", {"model": "tiny", "text": "a", "k": 0}, 400),
        ("next", {"model": "tiny", "text": "a", "k": True}, 400),
        ("next", {"model": "tiny", "text": "a", "temperature": -1}, 400),
        ("next", {"model": "tiny", "text": "a", "temperature": "1"}, 400),
        ("next", {"model": "tiny", "text": "a", "top_p": 0}, 400),
        ("next", {"model": "tiny", "text": "é"}, 400),
    ],
)
def test_what_is_not_allowed(
    char_lm: LanguageModel, route: str, body: dict[str, Any], status: int
) -> None:
    lm = dataclasses.replace(char_lm, name="tiny")
    assert page_client([lm]).post(f"/page/{route}", json=body).status_code == status


def test_numbers_that_are_none(char_lm: LanguageModel) -> None:
    client = page_client([dataclasses.replace(char_lm, name="tiny")])
    for word in ("NaN", "Infinity", "1e999"):
        answer = client.post(
            "/page/next",
            content=f'{{"model": "tiny", "text": "a", "temperature": {word}}}',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 400, word
