"""The verdict of a comparison: a difference is claimed only where one was detected."""

import dataclasses

import pytest
from tests.report.comparison.test_html import compared, model

from tinygpt.config.model_config import PRESETS
from tinygpt.evaluation.bootstrap import Difference
from tinygpt.report.comparison.headline import headline


def said(second: float, *, detected: bool | None) -> str:
    models = [model(n, PRESETS["tinygpt"], b) for n, b in (("one", 2.5), ("two", second))]
    result = compared(*models)
    known = {"bits_per_byte": 2.5 - second, "low": -0.1, "high": 0.1, "p": 0.4, "n_compared": 1}
    found = Difference(**known, first="one", second="two", n_blocks=32, detected=detected is True)
    changes = {"differences": () if detected is None else (found,)}
    scored = dataclasses.replace(result.texts[0], **changes)
    return headline(dataclasses.replace(result, texts=(scored,)))[0]


@pytest.mark.parametrize(
    ("second", "detected", "words"),
    [
        (2.6, True, "0.100 (3.8%) less than B (two) with 2.600"),
        (2.6, None, "0.100 (3.8%) less than B (two) with 2.600"),
        (2.6, False, "no difference detected from B (two) with 2.600"),
        (2.5, False, "no difference detected from B (two) with 2.500"),
        (2.5, None, "as much as B (two) with 2.500"),
    ],
)
def test_who_pays_less_is_said_only_where_it_is_known(second, detected, words) -> None:
    assert said(second, detected=detected) == f"On play, A (one) pays 2.500 bits per byte, {words}."
