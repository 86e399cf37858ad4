"""The picture of the README: every figure of the run, in order, safe and readable in any light."""

import re
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.readme_picture import draw

HOSTILE = "</text><script>alert(1)</script>\u202e&"
PICTURE = Path(__file__).parents[2] / "docs" / "comparison.svg"


def data(*models: tuple[str, float | None]) -> dict:
    yardsticks = [{"name": "uniform", "bits_per_byte": 6.0}, {"name": "xz", "bits_per_byte": 3.0}]
    return {
        "texts": [{"name": "play", "yardsticks": yardsticks}],
        "models": [
            {"name": n, "quality": [{"evaluation": None if b is None else {"bits_per_byte": b}}]}
            for n, b in models
        ],
    }


def test_models_stand_among_the_yardsticks_to_scale() -> None:
    drawn = draw(data(("tiny", 2.0), ("far", None)))
    ElementTree.fromstring(drawn)
    found = re.findall(r'width="([\d.]+)"[^>]*class="bar ([^"]+)"', drawn)
    assert [css for _, css in found] == ["yardstick", "yardstick", "model m0"]
    widths = [float(width) for width, _ in found]
    assert abs(2 * widths[1] - widths[0]) < 0.1
    assert abs(3 * widths[2] - widths[0]) < 0.1
    words = re.findall(r">([^<>]+)</text>", drawn)
    assert words[1:-1] == ["uniform", "6.000", "xz", "3.000", "tiny", "2.000", "far"]
    assert words[-1].startswith("needs its weights")


def test_names_are_escaped_and_nothing_is_loaded() -> None:
    drawn = draw(data((HOSTILE, 2.0)))
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn
    assert "\u202e" not in drawn
    assert not re.search(r"url\(|href|@import", drawn)


def test_the_picture_that_is_there_is_one_of_these() -> None:
    source = PICTURE.read_text("utf-8")
    assert ElementTree.fromstring(source).tag.endswith("svg")
    assert "prefers-color-scheme: dark" in source
    readme = (PICTURE.parent.parent / "README.md").read_text("utf-8")
    table = readme.partition("<!-- table -->")[2].partition("<!-- /table -->")[0]
    figures = re.findall(r">(\d\.\d{3})</text>", source)
    assert len(figures) >= 5
    assert all(figure in table for figure in figures)
