"""The sentences say what the figures say."""

import pytest

from tinygpt.comparison.verdict import verdict
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.overlap import find_overlap


def yardstick(name: str, bits: float, order: int | None = None) -> Yardstick:
    return Yardstick(name=name, bits_per_byte=bits, trained_on=None, settings="", order=order)


YARDSTICKS = (
    yardstick("uniform", 6.0),
    yardstick("unigram", 4.8, 1),
    yardstick("7-gram", 2.1, 7),
    yardstick("xz", 2.5),
)


def test_where_a_model_stands() -> None:
    standing, counting = verdict(2.49, YARDSTICKS)
    assert standing == (
        "2.490 bits per byte: better than uniform (6.000) and unigram (4.800); "
        "level with xz (2.500); worse than 7-gram (2.100)."
    )
    assert counting.startswith("Counting what follows the last 6 byte(s) in the training text")


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (4.79, "no more of this text than how frequent each byte is"),
        (7.0, "no more of this text than how frequent each byte is"),
        (2.09, "predicts this text as well or better"),
        (2.0, "knows more than counting what follows the last 6 byte(s)"),
    ],
)
def test_what_counting_says(bits, said) -> None:
    assert said in verdict(bits, YARDSTICKS)[1]


def test_a_perfect_model_is_better_than_all() -> None:
    assert verdict(0.0, YARDSTICKS)[0].count("better than") == 1
    assert "worse" not in verdict(0.0, YARDSTICKS)[0]


def test_without_ngrams_only_the_standing_is_said() -> None:
    assert verdict(3.0, [yardstick("xz alone", 3.2)]) == (
        "3.000 bits per byte: better than xz alone (3.200).",
    )
    assert verdict(3.0, []) == ()


@pytest.mark.parametrize(
    ("bits", "train", "val", "said"),
    [
        (2.0, 1.2, 1.4, "Overfitting: 1.200 nats per token on training text, 1.400"),
        (2.5, 1.2, 1.4, "Overfitting"),
        (2.5, 1.7, 1.75, "Underfitting"),
        (2.0, 1.35, 1.4, "No overfitting to be seen"),
        (2.0, 1.45, 1.4, "No overfitting to be seen"),
    ],
)
def test_the_fit(bits, train, val, said) -> None:
    assert verdict(bits, YARDSTICKS, train_loss=train, val_loss=val)[-1].startswith(said)


def test_the_fit_needs_both_losses() -> None:
    assert len(verdict(2.0, YARDSTICKS, val_loss=1.4)) == 2


def test_what_a_sample_copies() -> None:
    train = "".join(chr(0x4E00 + i) for i in range(500))
    fresh = "".join(chr(0x3041 + i % 80) for i in range(200))

    def said(sample: str) -> str:
        return verdict(2.0, (), sample=find_overlap(sample, train))[0]

    assert said(fresh + train[:9]).startswith("Nothing of 50 or more characters in its sample")
    assert f"the longest run has 9 characters ('{train[:9]}')" in said(fresh + train[:9])
    assert said(fresh + train[:50]).startswith("20% of its sample stands word for word")
    assert said(train[:300] + fresh).startswith("It recites: 60% of its sample")
    assert "..." in said(train[:300])
