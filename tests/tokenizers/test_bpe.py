"""Byte-level BPE: exact round trips, merges, and tokenizers trained on a text."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokenizers.hard_texts import (
    BPE,
    EOT,
    HARD,
    LETTERS,
    MERGES,
    PRINTABLE,
    check_any_ids,
    check_lossless,
    nasty,
    texts,
    tiny_bpe,
)

from tinygpt.errors import ConfigError, DataError, TokenizerError
from tinygpt.tokenizers import bpe as module
from tinygpt.tokenizers.bpe import BPETokenizer, train_bpe


@given(texts | nasty)
@settings(max_examples=300, deadline=None)
def test_bpe_round_trip_is_exact(text: str) -> None:
    check_lossless(BPE, text)


@given(texts | nasty, st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_bpe_pieces_give_the_ids_of_the_whole(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", len(text) + 1)
        whole = BPE.encode(text)
        patch.setattr(module, "_PIECE", size)
        np.testing.assert_array_equal(BPE.encode(text), whole)


def test_bpe_does_not_cut_a_special_token(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_bpe((EOT, "<the end>"))
    monkeypatch.setattr(module, "_PIECE", 1)
    assert tokenizer.encode("a b<the end> c").tolist()[3] == tokenizer.vocab_size - 1
    check_lossless(tokenizer, "a b<the end> c")


def test_bpe_merges_and_special_token() -> None:
    the, space_the, eot = (BPE.encode(t).tolist() for t in ("the", " the", EOT))
    assert [len(the), len(space_the), eot] == [1, 1, [BPE.eot_id]]
    assert BPE.encode(f"the the{EOT}the").tolist() == [*the, *space_the, *eot, *the]
    assert BPE.token_bytes[eot[0]] == EOT.encode()
    assert (BPE.kind, BPE.vocab_size, BPE.eot_id) == ("bpe", 264, 263)
    assert tiny_bpe(()).eot_id is None
    assert len(tiny_bpe(()).encode(EOT)) == len(EOT)


@pytest.mark.parametrize("text", ["\ud800", "ab\ncd\udfff", "\ude00\ud83d"])
def test_bpe_refuses_lone_surrogates(text: str) -> None:
    with pytest.raises(TokenizerError, match=r"U\+D[0-9A-F]{3}\) at line \d, column \d .*UTF-8"):
        BPE.encode(text)


def test_bpe_decodes_stray_bytes_as_replacement_characters() -> None:
    ids = [PRINTABLE.index(b) if b in PRINTABLE else 0 for b in (0xE9, 0x41)]
    assert BPE.decode(ids) == "\ufffdA"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v, m, s: v.pop("!"), "no token has id 0"),
        (lambda v, m, s: v.update({"a": 1}), "no token has id"),
        (lambda v, m, s: v.update({'"': True}), "no token has id 1;"),
        (lambda v, m, s: v.update({'"': 1.0}), "no token has id 1;"),
        (lambda v, m, s: v.update({"!!": v.pop("!")}), "1 of the 256 bytes"),
        (lambda v, m, s: v.update({"日本": 264}), "'日本' is not spelled"),
        (lambda v, m, s: v.update({"": 264}), "'' is not spelled"),
        (lambda v, m, s: m.append(("a", "b")), "the merge 'a' 'b'"),
        (lambda v, m, s: s.update({"\ud800": 264}), "surrogate"),
        (lambda v, m, s: s.update({"the": v["the"]}), "the merge 'th' 'e'"),
    ],
)
def test_bpe_refuses_parts_that_disagree(change: Callable[..., Any], reason: str) -> None:
    tokens = [*LETTERS.values(), *(a + b for a, b in MERGES)]
    parts = {token: i for i, token in enumerate(tokens)}, list(MERGES), {EOT: len(tokens)}
    change(*parts)
    with pytest.raises(TokenizerError, match=reason):
        BPETokenizer(*parts)


@given(st.lists(st.integers(0, BPE.vocab_size - 1)))
def test_bpe_keeps_the_bytes_of_ids_that_are_no_text(ids: list[int]) -> None:
    check_any_ids(BPE, ids)


# --- trained on a text

TEXT = "the cat and the hat: the cat sat, the hat was flat.\r\n\0\ufeffé e\u0301 👩\u200d👧\n" * 4
TRAINED = train_bpe([TEXT], 288)


@given(texts | nasty)
@settings(max_examples=300, deadline=None)
def test_trained_round_trip_is_exact(text: str) -> None:
    check_lossless(TRAINED, text)


@given(st.lists(st.integers(0, TRAINED.vocab_size - 1)))
def test_trained_keeps_the_bytes_of_ids_that_are_no_text(ids: list[int]) -> None:
    check_any_ids(TRAINED, ids)


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_survive_a_trained_bpe(text: str) -> None:
    check_lossless(TRAINED, text)


def learned(text: str, n: int) -> list[bytes]:
    """BPE in a few lines: join the pair seen most, among equals that of the lowest ids."""
    words = [[bytes([b]) for b in word.encode()] for word in re.findall(" ?[a-z]+", text)]
    order = [TRAINED.token_bytes[i] for i in range(256)]
    while len(order) < n:
        counts = Counter(pair for word in words for pair in itertools.pairwise(word))
        best = min(counts, key=lambda p: (-counts[p], order.index(p[0]), order.index(p[1])))
        order.append(best[0] + best[1])
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [best[0] + best[1]]
                i += 1
    return order


def test_training_joins_the_pairs_seen_most() -> None:
    rng = random.Random(0)
    text = "".join(" " + "".join(rng.choices("abcdef", [6, 5, 4, 3, 2, 1], k=4)) for _ in range(60))
    assert list(train_bpe([text], 286).token_bytes) == learned(text, 286)


def test_training_gives_the_size_asked_for_and_no_special_token() -> None:
    assert (TRAINED.kind, TRAINED.vocab_size, TRAINED.eot_id) == ("bpe", 288, None)
    assert len(set(TRAINED.token_bytes)) == 288
    assert len(TRAINED.encode(" the")) == 1
    assert len(TRAINED.encode(EOT)) > 1
    assert train_bpe([], 256).vocab_size == 256


@given(st.lists(st.integers(0, len(TEXT))), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_how_a_text_is_cut_does_not_matter(places: list[int], size: int) -> None:
    ends = sorted([0, *places, len(TEXT)])
    pieces = (TEXT[a:b] for a, b in itertools.pairwise(ends))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE", size)
        again = train_bpe(pieces, 288)
    assert again.token_bytes == TRAINED.token_bytes
    assert again.merges == TRAINED.merges


def test_a_text_that_gives_too_few_merges_names_the_most() -> None:
    with pytest.raises(DataError, match=r"vocab_size=5000 .* give at most \d+") as caught:
        train_bpe([TEXT], 5000)
    most = int(str(caught.value).split("at most ")[1].split(",")[0])
    assert train_bpe([TEXT], most).vocab_size == most
    with pytest.raises(DataError, match=f"at most {most}"):
        train_bpe([TEXT], most + 1)


def test_a_bpe_of_less_than_the_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vocab_size=255 .* at least 256"):
        train_bpe([TEXT], 255)


def test_training_names_a_lone_surrogate() -> None:
    with pytest.raises(TokenizerError, match=r"U\+D800"):
        train_bpe(["ab", "c\ud800"], 256)
