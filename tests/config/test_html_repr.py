"""Tables for notebooks: what they show, and that hostile text stays text. And the notebook runs."""

import ast
import dataclasses
import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.report.comparison.test_html import compared, model
from tests.report.ladder.test_html import ladder_of, rung
from tests.report.lens.test_lens import lens_of, view

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


def small_tables(text: str, missing: str) -> list[tuple[Any, list[str]]]:
    """A result of each kind in which every text is `text`, and what its table shows."""
    models = (model(text, PRESETS["tinygpt"], 2.757), model(text, PRESETS["tinygpt"], None))
    lost = dataclasses.replace(models[1].quality[0], missing=missing)
    mute = dataclasses.replace(models[1], quality=(lost,), speed=None, speed_missing=missing)
    comparison = compared(*models, mute)
    named = tuple(dataclasses.replace(scored, name=text) for scored in comparison.texts)
    comparison = dataclasses.replace(comparison, texts=named)
    seen = view(text, "abc", [("ab", 2500.0), ("c", 3.0)], bits_per_byte=1.5)
    lens = lens_of(seen, text="abc", name=text)
    ladder = ladder_of(rung(text, 2.5), rung(text, None, missing=missing), text={"name": text})
    return [
        (
            comparison,
            [
                *(text, "2.7570", "818,048", "1,000"),
                *(text, f"{text}: no weights", "818,048", "1,000 (random weights)"),
                *(text, missing, "818,048", missing),
            ],
        ),
        (lens, [text, "1.5000", "2,503.0", "2", "0"]),
        (ladder, [text, "2.5000", "818,048", text, missing, "818,048"]),
    ]


def test_a_result_is_a_small_table_with_a_row_for_each_model_or_rung() -> None:
    for result, shown in small_tables("play & co", "not here"):
        cells = [text for text in Cells(result._repr_html_()).texts if text.strip()]
        assert cells[-len(shown) :] == shown
        head = cells[: -len(shown)]
        assert any("bits per byte" in text for text in head)
        assert len(head) == 1 + {"Comparison": 4, "Lens": 5, "Ladder": 3}[type(result).__name__]


def test_hostile_names_and_reasons_stay_text_in_a_results_table() -> None:
    safe = {type(result): Cells(result._repr_html_()).tags for result, _ in small_tables("a", "b")}
    for result, _ in small_tables(HOSTILE, f"{HOSTILE}\u202e"):
        page = result._repr_html_()
        assert Cells(page).tags == safe[type(result)]
        assert not set(page) & set("\x1b\u202e")
        assert HOSTILE.split("\x1b", maxsplit=1)[0] in "".join(Cells(page).texts)


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
    assert any("<caption>Comparison</caption>" in page for page in tables)
