"""Yardsticks against their definitions and against sources whose entropy is known."""

import bz2
import lzma
import math
import random
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygpt.errors import DataError
from tinygpt.evaluation import baselines
from tinygpt.evaluation.baselines import TRAINING_BYTES, Yardstick, measure_yardsticks
from tinygpt.evaluation.ngram import choose_order, ngram_nats

NAMES = ["xz alone", "bzip2 alone", "xz after training text", "bzip2 after training text"]


def english(n: int, seed: int = 0) -> str:
    """Sentences of a few words, drawn at random."""
    words = ("the", "king", "lady", "fool", "speaks", "sings", "to", "of", "and", "merry", "night")
    draw = random.Random(seed)
    text = ""
    while len(text) < n:
        text += " ".join(draw.choices(words, k=draw.randint(3, 9))).capitalize() + ".\n"
    return text[:n]


def by_name(yardsticks: tuple[Yardstick, ...]) -> dict[str, Yardstick]:
    return {y.name: y for y in yardsticks}


def test_all_of_them_in_order() -> None:
    found = measure_yardsticks(english(2_000, 1), english(20_000))
    assert [y.name for y in found[:2]] == ["uniform", "unigram"]
    assert found[2].name == f"{found[2].order}-gram"
    assert [y.name for y in found[3:]] == NAMES
    assert found[2].bits_per_byte < found[1].bits_per_byte < found[0].bits_per_byte
    assert all(y.bits_per_byte > 0 and y.settings for y in found)
    assert [y.trained_on for y in found if y.name.endswith("alone")] == [None, None]
    assert found[2].trained_on == "the training text, 20,000 bytes"


def test_the_ngrams_are_those_of_the_training_text_alone() -> None:
    train, prefix, text = english(20_000), english(300, 3), english(2_000, 1)
    found = by_name(measure_yardsticks(text, train, prefix=prefix))
    order = choose_order(train.encode())
    for name, k in (("unigram", 1), (f"{order}-gram", order)):
        nats = ngram_nats(train.encode(), prefix.encode(), text.encode(), k).sum()
        assert found[name].bits_per_byte == pytest.approx(nats / math.log(2) / 2_000, rel=1e-12)
        assert found[name].order == k


def test_uniform_characters_cost_log2_of_their_number() -> None:
    train = string.ascii_lowercase + "é"
    found = measure_yardsticks("abcé" * 50, train * 4_000)[0]
    assert found.bits_per_byte * 5 / 4 == pytest.approx(math.log2(27), abs=1e-4)


def test_uniform_pays_for_unknown_characters_as_a_model_does() -> None:
    found = measure_yardsticks("abca漢", "abcd" * 25)[0]
    escape = 1 / 101
    bits = 4 * (2 - math.log2(1 - escape)) - math.log2(escape) + 8 * 3
    assert found.bits_per_byte == pytest.approx(bits / 7, rel=1e-12)
    assert "1 unknown" in found.settings


def test_random_characters_cost_their_entropy_by_every_good_method() -> None:
    """64 equally likely characters: 6 bits, which nothing can beat and an n-gram comes near."""
    draw, letters = random.Random(1), string.ascii_letters + string.digits + " \n"
    train, text = ("".join(draw.choices(letters, k=n)) for n in (60_000, 20_000))
    for y in measure_yardsticks(text, train):
        assert 5.98 < y.bits_per_byte < (6.1 if y.order or y.name == "uniform" else 6.6), y


def test_the_compressors_are_what_they_say() -> None:
    train, text = english(20_000), english(2_000, 1)
    found = by_name(measure_yardsticks(text, train))
    a, b = train.encode(), text.encode()
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

    def xz(data: bytes) -> int:
        return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))

    for name, size in (("xz", xz), ("bzip2", lambda data: len(bz2.compress(data, 9)))):
        alone, primed = found[f"{name} alone"], found[f"{name} after training text"]
        assert alone.bits_per_byte == 8 * size(b) / 2_000
        assert primed.bits_per_byte == 8 * (size(a + b) - size(a)) / 2_000


def test_threads_change_no_figure() -> None:
    args = (english(2_000, 1), english(20_000))
    assert measure_yardsticks(*args, threads=2) == measure_yardsticks(*args)


def test_a_text_out_of_the_training_text_costs_xz_nearly_nothing() -> None:
    noise = np.random.default_rng(2).integers(33, 127, 30_000).astype(np.uint8).tobytes().decode()
    found = by_name(measure_yardsticks(noise[5_000:9_000], noise))
    assert found["xz alone"].bits_per_byte > 6
    assert found["xz after training text"].bits_per_byte < 0.1


def test_no_training_text_leaves_the_compressors_alone() -> None:
    assert [y.name for y in measure_yardsticks("abc" * 100)] == NAMES[:2]


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        measure_yardsticks("", "abc")


def test_a_long_training_text_is_cut_and_says_so(monkeypatch) -> None:
    monkeypatch.setattr(baselines, "TRAINING_BYTES", 5_000)
    train, text = english(20_000), english(500, 1)
    cut = measure_yardsticks(text, train)
    said = "the last 5,000 of 20,000 bytes of the training text"
    assert [y.trained_on for y in cut if y.order] == [said, said]
    assert by_name(cut)["xz after training text"].trained_on == said
    end = measure_yardsticks(text, train[-5_000:], n_train_bytes=20_000)
    assert [y for y in end if y.name != "uniform"] == [y for y in cut if y.name != "uniform"]
    assert TRAINING_BYTES == 2 * 2**20


def test_bzip2_sees_what_fits_into_its_block(monkeypatch) -> None:
    monkeypatch.setattr(baselines, "_BZIP2_BLOCK", 3_000)
    train = english(20_000)
    found = by_name(measure_yardsticks(english(1_000, 1), train, prefix="Aside:\n"))
    said = "the last 1,993 of 20,000 bytes of the training text"
    assert found["bzip2 after training text"].trained_on == said
    assert NAMES[3] not in by_name(measure_yardsticks(english(3_000, 1), train))


@given(
    train=st.text("ab", max_size=30).map(str.encode),
    prefix=st.text("ab", max_size=30).map(str.encode),
)
def test_no_byte_is_shown_twice(train, prefix) -> None:
    extra = baselines._not_in(train, prefix)
    assert (train + extra).endswith(prefix)
    shared = len(prefix) - len(extra)
    assert train.endswith(prefix[:shared])
    assert not any(train.endswith(prefix[:n]) for n in range(shared + 1, len(prefix) + 1))


def test_the_prefix_of_a_held_out_text_changes_nothing() -> None:
    """It is the end of the training part, which the yardsticks have seen."""
    train, text = english(20_000), english(1_000, 1)
    known = measure_yardsticks(text, train, prefix=train[-8_192:])
    assert known == measure_yardsticks(text, train, prefix=train[-100:])
    assert known != measure_yardsticks(text, train, prefix="Another line before it.\n")
