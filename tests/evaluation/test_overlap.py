"""Common runs of two texts against brute force over all pairs of places."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.errors import ConfigError, DataError
from tinygpt.evaluation import overlap
from tinygpt.evaluation.overlap import SPAN, find_overlap

few = st.text("ab\né😀", max_size=40)


def check_by_brute_force(text: str, train: str, span: int) -> None:
    found = find_overlap(text, train, span)
    starts = [i for i in range(len(text) - span + 1) if text[i : i + span] in train]
    assert found.n_shared_grams == len(starts)
    assert found.n_grams == max(0, len(text) - span + 1)
    assert found.n_copied == len({i + j for i in starts for j in range(span)})
    runs = [
        (-length, i)
        for i in range(len(text))
        for length in range(1, len(text) - i + 1)
        if text[i : i + length] in train
    ]
    length, at = min(runs, default=(0, 0))
    assert found.longest == text[at : at - length]
    assert found.longest_at == at
    assert found.longest_at_training == train.find(found.longest)


@settings(max_examples=300, deadline=None)
@given(text=few.filter(bool), train=few, span=st.integers(1, 9))
def test_equals_brute_force(text, train, span) -> None:
    check_by_brute_force(text, train, span)


@pytest.fixture
def anagrams_collide(monkeypatch) -> None:
    """With this base a window's hash is the sum of its characters."""
    monkeypatch.setattr(overlap, "_BASE", 1)


def test_equal_hashes_of_different_windows_are_told_apart(anagrams_collide) -> None:
    draw = random.Random(0)
    for _ in range(150):
        text, train = ("".join(draw.choices("abc", k=draw.randint(1, 40))) for _ in "..")
        check_by_brute_force(text, train, draw.randint(1, 6))


def test_training_texts_longer_than_a_piece(monkeypatch) -> None:
    monkeypatch.setattr(overlap, "_PIECE", 7)
    draw = random.Random(0)
    for _ in range(50):
        text, train = ("".join(draw.choices("abc", k=draw.randint(1, 60))) for _ in "..")
        check_by_brute_force(text, train, draw.randint(1, 6))


def noise(n: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(string.ascii_letters + " \n", k=n))


def test_a_planted_copy_is_found_where_it_stands() -> None:
    train = noise(200_000, 0)
    sample = noise(300, 1) + train[123_456:123_576] + noise(80, 2)
    found = find_overlap(sample, train)
    assert found.span == SPAN == 50
    assert found.longest_at_training in range(123_453, 123_457)
    assert train[123_456:123_576] in found.longest
    assert found.copied_share == pytest.approx(120 / 500, abs=0.01)


def test_a_planted_contaminated_text_is_reported() -> None:
    train, clean = noise(100_000, 0), noise(20_000, 3)
    assert find_overlap(clean, train).shared_gram_share == 0
    planted = clean[:10_000] + train[50_000:52_000] + clean[10_000:]
    found = find_overlap(planted, train)
    assert found.shared_gram_share == pytest.approx(1_951 / 21_951, rel=0.01)
    assert found.copied_share == pytest.approx(2_000 / 22_000, rel=0.01)


def test_a_text_within_its_training_text_is_all_copied() -> None:
    train = noise(5_000, 0)
    found = find_overlap(train[100:1_100], train)
    assert (found.copied_share, found.shared_gram_share) == (1, 1)
    assert (found.longest, found.longest_at_training) == (train[100:1_100], 100)


def test_a_short_text_has_no_ngrams() -> None:
    found = find_overlap("short", "a short text")
    assert (found.shared_gram_share, found.copied_share, found.longest) == (None, 0, "short")


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        find_overlap("", "abc")
    with pytest.raises(ConfigError, match="span=0"):
        find_overlap("abc", "abc", 0)
