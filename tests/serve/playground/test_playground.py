"""The files of the page: their rules, what is pure in them, and the keys that it knows."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.serve.playground.playground import playing
from tests.serve.playground.playground import slow as slow_model

import tinygpt
from tinygpt.model.gpt import GPT
from tinygpt.report.lens import colours

FOLDER = Path(tinygpt.__file__).parent / "serve" / "playground" / "static"
REPORT = Path(tinygpt.__file__).parent / "report"
SEEN = {"timeout": 15_000}

browser_test = pytest.mark.browser
slow = pytest.mark.slow


# --- the files


def test_the_colours_are_those_of_the_reports() -> None:
    palette = (FOLDER / "palette.css").read_text("utf-8")
    base = "".join((REPORT / f).read_text("utf-8") for f in ("charts/base.css", "lens/lens.css"))
    pairs = {}
    for name in ("page", "ink", "soft", "line", "card", "here", "a", "b"):
        light, dark = re.findall(rf"--{name}: (#\w+)", base)
        pairs[name] = (light, dark)
        assert f"--{name}: light-dark({light}, {dark});" in palette
    for level, (back, text) in colours.LIGHT.items():
        night, words = colours.DARK[level]
        rule = f"background: light-dark({back}, {night}); color: light-dark({text}, {words})"
        assert f".{level} {{ {rule} }}" in palette


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_a_module_is_short_and_writes_no_markup(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    assert text.startswith("// "), "a module says what it is"
    forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|eval\(|Function\("
    assert not re.search(forbidden, text)
    assert "console." not in text


# --- a server with two models


@pytest.fixture
def pair(model_folder: Path, make_gpt: Callable[..., GPT], tmp_path: Path) -> Iterator[str]:
    """The page's URL: a character model beside a slow one of bytes."""
    first = dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="chars")
    with playing([first, slow_model(make_gpt)], tmp_path / "no-runs") as made:
        yield made.url


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[[str], Any]]:
    """visit(url): the page, opened; errors of scripts fail the test."""
    errors: list[str] = []
    with ExitStack() as open_ones:

        def go(url: str) -> Any:
            page = chromium.new_page(viewport={"width": 1200, "height": 900})
            open_ones.callback(page.close)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            page.wait_for_selector("#prompt", **SEEN)
            return page

        yield go
    assert errors == []


def write(page: Any, prompt: str) -> None:
    page.fill("#prompt", prompt)
    page.press("#prompt", "Enter")


def ended(page: Any) -> None:
    page.wait_for_selector("#stop[disabled]", **SEEN)


@browser_test
@slow
def test_without_a_mouse(pair: str, visit: Callable[[str], Any]) -> None:
    page = visit(pair)
    first = page.input_value("#pick-a")
    assert page.evaluate("document.activeElement.id") == "prompt"
    write(page, "ab")
    page.wait_for_selector("#body-a .t.new", state="attached", **SEEN)
    page.keyboard.press("Escape")
    ended(page)
    page.locator("#body-a .text").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector("#body-a .bars button:focus", **SEEN)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#body-a .t.chosen")
    assert page.evaluate("document.activeElement.closest('#column-a') !== null")
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    assert page.evaluate("document.activeElement.id") == "tab-scale"
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#tab-surprise", "aria-selected") == "true"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "prompt"
    write(page, "/temperature 0.3")
    assert "temperature 0.3" in page.text_content("#settings-summary")
    page.locator("#tab-write").focus()
    page.keyboard.press("s")
    assert page.input_value("#pick-b") == first
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    page.uncheck("#single-keys")
    page.keyboard.press("Escape")
    page.locator("#tab-write").focus()
    page.keyboard.press("s")
    assert page.input_value("#pick-b") == first


@browser_test
@slow
def test_the_pure_modules(pair: str, visit: Callable[[str], Any]) -> None:
    page = visit(pair)

    def run(code: str, *names: str) -> Any:
        found = "".join(f"const {n} = await import('/static/{n}.js');" for n in names)
        return page.evaluate(f"async () => {{ {found} return {code} }}")

    parts = """['data: {"a"', ':1}\\n', '\\ndata: [DO', 'NE]\\n\\n']"""
    assert run(f"{parts}.map(sse.reader())", "sse") == [[], [], [{"a": 1}], [None]]
    assert run("staves.lines([...'ab cd efg\\nh'], 6)", "staves") == [[0, 6], [6, 10], [10, 11]]
    tokens = "[{start: 0, end: 2}, {start: 3, end: 4}, {start: 3, end: 4}]"
    shown = run(f"staves.stave([...'abé😀'], {tokens}, [0, 4])", "staves")
    assert [(one["from"], one["to"], one["token"], one["width"]) for one in shown] == [
        (0, 2, 0, 2),
        (2, 3, None, 1),
        (3, 4, 1, 2),
    ]
    assert shown[2]["more"] == 1
    state = run("address.decode('#t=9&k=x&n=50.4&seed=-1&free&b.t=0.5')", "address")
    assert state["settings"]["a"] | {"temperature": 2, "characters": 50} == state["settings"]["a"]
    assert (state["settings"]["a"]["top_k"], state["settings"]["a"]["seed"]) == (0, "")
    assert state["settings"]["b"]["temperature"] == 0.5
    log = "{lines: 3, unreadable: 0, steps: [[1], [2], [3]], evaluations: [{step: 2}]}"
    new = "{lines: 5, unreadable: 1, steps: [[2], [3]], evaluations: []}"
    merged = run(f"runlog.merged({log}, {new})", "runlog")
    assert merged["steps"] == [[1], [2], [3]]
    assert merged["evaluations"] == []
    owed = "{bits: 0}"
    piece = "{text: 'ab', logprobs: {tokens: ['a', 'b'], token_logprobs: [-Math.LN2, 0]}}"
    assert run(f"writing.pieces({piece}, {owed})", "writing") == [
        {"text": "a", "bits": 1},
        {"text": "b", "bits": 0},
    ]
    assert run("writing.stopsOf('a\\\\n|b\\\\||')", "writing") == ["a\n", "b|"]
    assert run("chart.spread([0, 1, 50], 40, 15)", "chart") == [0, 15, 40]
