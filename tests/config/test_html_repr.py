"""Tables for notebooks: what they show, and that hostile text stays text. And the notebook runs."""

import ast
import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.html_repr import fields_html, table_html
from tinygpt.config.model_config import PRESETS
from tinygpt.config.schema import field_docs
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig

HOSTILE = "</td><script>alert('x')</script>\x1b[31m\n& \"q\""
NOTEBOOK = Path(__file__).parents[2] / "docs" / "tour.ipynb"


class Cells(HTMLParser):
    """The texts of a piece of HTML, cell by cell, and the tags that it uses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@dataclass
class Record:
    """Anything with fields."""

    name: str
    """What <b>it</b> is called."""
    other: int = 3


@pytest.mark.parametrize(
    "config",
    [
        PRESETS["tinygpt"],
        TrainConfig(),
        OptimConfig(),
        CorpusConfig(),
        TokenizerConfig(),
        GenerationConfig(),
    ],
    ids=lambda config: type(config).__name__,
)
def test_every_field_of_a_config_is_shown_with_its_meaning(config) -> None:
    cells = Cells(config._repr_html_())
    assert cells.tags == {"table", "caption", "tr", "th", "td"}
    assert type(config).__name__ in cells.texts
    for name, doc in field_docs(type(config)).items():
        at = cells.texts.index(name)
        assert cells.texts[at + 1] == repr(getattr(config, name))
        assert cells.texts[at + 2] == doc


def test_hostile_text_stays_text() -> None:
    page = fields_html(Record(HOSTILE))
    cells = Cells(page)
    assert cells.tags == {"table", "caption", "tr", "th", "td"}
    assert repr(HOSTILE) in cells.texts
    assert "What <b>it</b> is called." in cells.texts
    page = table_html(HOSTILE, [(HOSTILE, HOSTILE)], head=(HOSTILE, HOSTILE))
    assert "<script" not in page
    assert "\x1b" not in page
    assert Cells(page).tags == {"table", "caption", "tr", "th", "td"}


def test_a_long_value_is_cut_visibly() -> None:
    page = fields_html(Record("a" * 1000))
    assert len(page) < 1000
    assert "aaa..." in page


def code_cells() -> list[str]:
    book = json.loads(NOTEBOOK.read_text("utf-8"))
    assert book["nbformat"] == 4
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_small_and_stripped() -> None:
    book = json.loads(NOTEBOOK.read_text("utf-8"))
    assert len(book["cells"]) < 15
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch, capsys) -> None:
    """Cell after cell in one namespace; what a cell ends with is drawn as a notebook draws it."""
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    drawn = []
    for source in code_cells():
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), space)
            if value is not None:
                drawn.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    tables = [page for page in drawn if "<table>" in page]
    assert len(tables) >= 4  # configs, a run, its evaluation, the comparison
    assert any("last measured: val_loss" in page for page in tables)
    assert any("How well they predict" in page for page in tables)
