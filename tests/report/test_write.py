"""Any result is drawn by one name: in a file, as Markdown, for a console; nothing else is."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.report.comparison.test_html import compared, model
from tests.report.ladder.test_html import ladder_of, rung
from tests.report.lens.test_lens import lens_of, view

import tinygpt
from tinygpt.config.model_config import PRESETS
from tinygpt.errors import ConfigError, MachineError
from tinygpt.report import comparison_page, to_html, to_markdown, to_terminal
from tinygpt.report.ladder.html import ladder_page
from tinygpt.report.lens.html import lens_page

COMPARISON = compared(model("TinyGPT", PRESETS["tinygpt"], 2.757))
LENS = lens_of(view("TinyGPT", "ab", [("a", 3.0), ("b", 2.0)]), text="ab")
LADDER = ladder_of(rung("small", 3.0), rung("wide", None, missing="no time"))
PAGES = [(COMPARISON, comparison_page), (LENS, lens_page), (LADDER, ladder_page)]


@pytest.mark.parametrize(("result", "page"), PAGES)
def test_write_html_writes_the_page_of_each_kind(result, page, tmp_path: Path) -> None:
    tinygpt.write_html(result, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == page(result)
    tinygpt.write_html(result, str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text("utf-8") == page(result)
    with pytest.raises(MachineError, match="nowhere"):
        tinygpt.write_html(result, tmp_path / "nowhere" / "page.html")
    with pytest.raises(ConfigError, match="names no file"):
        tinygpt.write_html(result, ".")


@pytest.mark.parametrize("result", [COMPARISON, LENS])
def test_to_html_still_writes_and_says_what_to_use(result, tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"use tinygpt.write_html\(result, path\)") as said:
        result.to_html(tmp_path / "page.html")
    assert said[0].filename == __file__
    assert (tmp_path / "page.html").read_text("utf-8") == to_html(result)


@pytest.mark.parametrize(
    ("draw", "result", "given"),
    [
        (lambda x: tinygpt.write_html(x, "page.html"), {}, "a Comparison or a Lens or a Ladder"),
        (to_terminal, None, "a Comparison or a Lens or a Ladder"),
        (to_markdown, LENS, "a Comparison or a Ladder"),
    ],
)
def test_what_can_not_be_drawn_is_refused_in_one_line(draw, result, given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{type(result).__name__} can't be .*: give {given}$"):
        draw(result)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("result", "told"), [(COMPARISON, "2.757"), (LENS, "2.5000"), (LADDER, "█")]
)
def test_a_console_shows_each_kind(result, told: str) -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(to_terminal(result))
    assert told in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_markdown_has_a_title() -> None:
    assert to_markdown(COMPARISON).startswith("# ")
    assert to_markdown(LADDER).startswith("# ")
