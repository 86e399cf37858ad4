"""The page in a real browser: what it writes and survives, and how it is used without a mouse."""

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.hostile import PAYLOADS
from tests.live import KEY, on_socket, small_model

import tinygpt
from tinygpt.language_model import LanguageModel
from tinygpt.model import GPT
from tinygpt.report import lens_colours
from tinygpt.serve import ServeConfig
from tinygpt.serve.app import create_app
from tinygpt.serve.served import serve_model
from tinygpt.serve.server import address, listen, serve

FOLDER = Path(tinygpt.__file__).parent / "serve" / "page"
REPORT = Path(tinygpt.__file__).parent / "report"
TABS = ("write", "surprise", "scale", "config", "training", "report")
SEEN = {"timeout": 15_000}
HOSTILE_NAME = "<img src=x onerror=alert(1)>"

browser_test = pytest.mark.browser
slow = pytest.mark.slow


# --- the files


def test_the_colours_are_those_of_the_reports() -> None:
    palette = (FOLDER / "palette.css").read_text("utf-8")
    base = (REPORT / "base.css").read_text("utf-8") + (REPORT / "lens.css").read_text("utf-8")
    pairs = {}
    for name in ("page", "ink", "soft", "line", "card", "here", "a", "b"):
        light, dark = re.findall(rf"--{name}: (#\w+)", base)
        pairs[name] = (light, dark)
        assert f"--{name}: light-dark({light}, {dark});" in palette
    for level, (back, text) in lens_colours.LIGHT.items():
        night, words = lens_colours.DARK[level]
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


@contextmanager
def serving(models: list[LanguageModel], **settings: Any) -> Iterator[str]:
    """The page's URL while they are served."""
    config = ServeConfig(port=0, drain_s=1.0, **settings)
    served = [serve_model(lm, config) for lm in models]
    stop, ready = threading.Event(), threading.Event()
    with listen(config) as sock:
        given = {"stop": stop.is_set, "ready": ready.set}
        args = (create_app(served, config), served, config, sock)
        thread = threading.Thread(target=serve, args=args, kwargs=given)
        thread.start()
        assert ready.wait(30)
        try:
            yield address(sock) + "/"
        finally:
            for one in served:
                one.batcher.close(0)
            stop.set()
            thread.join(30)


@pytest.fixture
def pair(model_folder: Path, make_gpt: Callable[..., GPT], tmp_path: Path) -> Iterator[str]:
    """A character model with a short context beside one of bytes, slow and with a bad name."""
    first = dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="chars")
    second = dataclasses.replace(small_model(make_gpt, step_s=0.02), name=HOSTILE_NAME)
    run = tmp_path / "runs" / "learned"
    run.mkdir(parents=True)
    sizes = {"n_bytes": 1200, "n_train_bytes": 1000, "n_train_tokens": 1000}
    data = {"data": {**sizes, "n_held_out_tokens": 200}, "train": {"max_steps": 4}}
    (run / "training.json").write_text(json.dumps(data), "utf-8")
    steps: list[dict[str, Any]] = [
        {"event": "step", "step": i, "tokens": 8 * i, "elapsed_s": i, "loss": 3 - i / 4}
        | {"learning_rate": 0.1}
        for i in range(1, 5)
    ]
    ends = [
        {"event": "evaluated", "step": i, "tokens": 8 * i, "elapsed_s": i, "val_loss": 3 - i / 4}
        | {"final": i == 4}
        for i in (2, 4)
    ]
    written = [{**one, "prompt": "", "text": f"sample {one['step']}"} for one in ends]
    for one in written:
        one |= {"event": "sampled", "temperature": 0.8, "seed": 0}
    lines = sorted(steps + ends, key=lambda one: one["step"])
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    (run / "samples.jsonl").write_text("".join(json.dumps(o) + "\n" for o in written), "utf-8")
    with serving([first, second], runs=str(run.parent)) as url:
        yield url


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """visit(url, width, scheme, heard): the page, opened; errors of scripts fail the test."""
    errors: list[str] = []
    with ExitStack() as open_ones:

        def go(url: str, width: int = 1200, scheme: str = "light", ready: str = "#prompt") -> Any:
            size = {"width": width, "height": 900}
            page = chromium.new_page(viewport=size, color_scheme=scheme)
            open_ones.callback(page.close)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
            page.goto(url)
            page.wait_for_selector(ready, **SEEN)
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
def test_both_write_stop_and_branch(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair + "#n=300")
    write(page, "ab")
    for side in "ab":
        page.wait_for_selector(f"#body-{side} .t.new", **SEEN)
    page.click("#stop")
    ended(page)
    assert "it was stopped" in page.text_content("#foot-b")
    page.click("#foot-b >> text=Regenerate")
    page.wait_for_selector("#foot-b >> text=2 of 2")
    page.locator("#body-b .t.new").nth(4).click()
    page.wait_for_selector("#body-b .bars li", **SEEN)
    ended(page)  # a click stops what still writes
    kept = "".join(page.locator("#body-b .t").all_text_contents()[:6])
    page.locator("#body-b .bars li button:not([disabled])").nth(1).click()
    page.wait_for_selector("#body-b .t.chosen")
    page.press("body", "Escape")
    ended(page)
    assert page.text_content("#body-b .text").startswith(kept)
    assert "3 of 3" in page.text_content("#foot-b")
    page.click("#foot-a >> text=Edit")
    page.fill("#body-a textarea", "cab")
    page.press("#body-a textarea", "Enter")
    page.wait_for_selector("#body-a .t.new", **SEEN)
    assert page.text_content("#body-a .text").startswith("cab")


@browser_test
@slow
def test_every_tab_shows_its_picture(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair)
    page.click("#tab-surprise")
    page.fill("#surprise-text", "a first line\nand what is scored abc abc\n")
    page.click("#surprise-go")
    page.wait_for_selector(".panels", **SEEN)
    assert page.locator(".panel").count() == 3
    assert page.locator(".totals tbody tr").count() == 3
    page.locator(".panels").focus()
    page.keyboard.press("ArrowRight")
    assert "character 2 of" in page.text_content(".at .where")
    page.click("#tab-scale")
    page.wait_for_selector("svg.blocks", **SEEN)
    before = page.get_attribute("svg.blocks", "aria-label")
    slider = page.locator("#width-a")
    slider.focus()
    page.keyboard.press("End")
    page.wait_for_selector("#scale-table em", **SEEN)
    assert page.get_attribute("svg.blocks", "aria-label") != before
    page.click("#tab-config")
    page.wait_for_selector("table.keys", **SEEN)
    assert "n_positions" in page.text_content("table.keys")
    page.click("#tab-training")
    page.wait_for_selector("svg.chart circle", **SEEN)
    assert "sample 4" in page.text_content(".sample-text")
    page.locator("#scrub").focus()
    page.keyboard.press("Home")
    assert "sample 2" in page.text_content(".sample-text")


@browser_test
@slow
def test_a_report_is_made_and_seen(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair + "#tab=report", ready="#report-go")
    page.click("summary:has-text('text of your own')")
    page.fill("#report-text", "a line of its own\n" + "what is measured here a b c\n" * 8)
    page.click("#report-go")
    page.wait_for_selector("#report iframe", timeout=60_000)
    frame = page.frame_locator("#report iframe")
    assert "side by side" in frame.locator("h1").text_content()
    colour = frame.locator("b.chip").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour != "rgba(0, 0, 0, 0)"  # its own style sheet was let in
    with page.expect_download() as download:
        page.click("#report >> text=Markdown")
    assert "bits per byte" in download.value.path().read_text("utf-8")


@browser_test
@slow
def test_hostile_texts_make_no_element(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair)
    tags = "() => new Set([...document.querySelectorAll('#all *')].map(e => e.localName)).size"
    current = ""

    def answer(route: Any) -> None:
        choice = {"index": 0, "text": current, "finish_reason": "length", "logprobs": None}
        event = json.dumps({"choices": [choice]})
        route.fulfill(
            status=200, content_type="text/event-stream", body=f"data: {event}\n\ndata: [DONE]\n\n"
        )

    page.route("**/v1/completions", answer)
    more = [f"{payload}\n{payload}" for payload in PAYLOADS if payload != "\ud800"]
    known = None
    for current in [*PAYLOADS, *more]:
        write(page, current.encode("utf-8", "replace").decode())
        page.wait_for_selector("#body-b .t.new")
        ended(page)
        known = known or page.evaluate(tags)
        bad = "#all script, #all img, #all iframe, #all [onerror], #all [onload], #all a[href]"
        assert page.locator(bad).count() == 0
        assert page.evaluate(tags) <= known + 3  # notes and their marks, no more
        shown = page.text_content("#body-b .text")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert HOSTILE_NAME in page.text_content("#title-b")


@browser_test
@slow
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_no_serious_barrier_and_nothing_wider_than_the_screen(
    pair: str, visit: Callable[..., Any], width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(pair, width, scheme)

    def check(what: str) -> None:
        found = axe.run(page).response["violations"]
        assert [(what, v["id"]) for v in found if v["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, what

    page.click(".settings summary")
    page.uncheck("#lock")
    write(page, "abé and a prompt that is too long for it")
    ended(page)
    page.locator("#body-b .t.new").first.click()
    page.wait_for_selector(".bars li")
    check("write")
    for tab in TABS[1:]:
        page.click(f"#tab-{tab}")
        if tab == "surprise":
            page.fill("#surprise-text", "a first line\nand what is scored\n")
            page.click("#surprise-go")
            page.wait_for_selector(".panels", **SEEN)
            page.locator(".panels").focus()
        ready = {"scale": "svg.blocks", "config": "table.keys", "training": "svg.chart"}
        page.wait_for_selector(ready.get(tab, f"#panel-{tab}"), **SEEN)
        check(tab)
    page.click("#help-open")
    check("keys")


@browser_test
@slow
def test_without_a_mouse(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair)
    first = page.input_value("#pick-a")
    assert page.evaluate("document.activeElement.id") == "prompt"
    write(page, "ab")
    page.wait_for_selector("#body-a .t.new", **SEEN)
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
def test_what_the_model_does_not_see_or_know_is_shown(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair)
    page.fill("#prompt", "abé" + "c" * 20)
    page.wait_for_selector(".tokens.a .unknown:text-is('é')", **SEEN)
    assert page.locator(".tokens.a .unknown").all_text_contents() == ["é"]
    assert page.locator(".tokens.b .unknown").count() == 0
    assert page.locator(".tokens.a .beyond").count() > 0
    notes = page.text_content("#ribbon-notes")
    assert "sees only the last 16 tokens" in notes
    assert "trained on" in notes
    page.press("#prompt", "Enter")
    page.wait_for_selector("#foot-a .failure", **SEEN)
    page.click("#ribbon-notes >> text=Take out")
    assert "é" not in page.input_value("#prompt")


@browser_test
@slow
def test_a_full_server_is_asked_again_and_a_lost_one_is_found_again(
    pair: str, visit: Callable[..., Any]
) -> None:
    page = visit(pair)
    answers = ["full", "full"]

    def full(route: Any) -> None:
        if not answers:
            route.continue_()
            return
        answers.pop()
        body = json.dumps({"error": {"message": "64 texts wait", "code": "overloaded"}})
        route.fulfill(status=503, headers={"Retry-After": "1"}, body=body)

    page.route("**/v1/completions", full)
    write(page, "ab")
    page.wait_for_selector("#foot-a .busy:has-text('64 texts wait')")
    page.wait_for_selector("#body-a .t.new", **SEEN)
    page.press("body", "Escape")
    ended(page)
    page.unroute("**/v1/completions")
    page.route("**/v1/completions", lambda route: route.abort())
    page.route("**/health", lambda route: route.abort())
    write(page, "ab")
    page.wait_for_selector("#gone:not([hidden])")
    assert "stopped answering" in page.text_content("#foot-a")
    page.unroute("**/health")
    page.unroute("**/v1/completions")
    page.wait_for_selector("#gone", state="hidden", **SEEN)
    write(page, "ab")
    page.wait_for_selector("#body-a .t.new", **SEEN)


@browser_test
@slow
def test_a_key_is_asked_for_and_kept_in_memory_alone(
    make_gpt: Callable[..., GPT], visit: Callable[..., Any]
) -> None:
    with on_socket(small_model(make_gpt), key=KEY) as live:
        page = visit(live.url, ready="#key-dialog[open]")
        page.fill("#key", "not the key")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-refused:not([hidden])")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#prompt", **SEEN)
        assert page.is_visible("#alone")  # useful with one model
        assert not page.is_visible("#column-b")
        write(page, "ab")
        page.wait_for_selector("#body-a .t.new", **SEEN)
        kept = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])"
        assert KEY not in page.evaluate(kept)
        page.reload()
        page.wait_for_selector("#key-dialog[open]")


@browser_test
@slow
def test_the_address_holds_the_state(pair: str, visit: Callable[..., Any]) -> None:
    page = visit(pair)
    page.fill("#prompt", "a & b = <c>#\n")
    page.click(".settings summary")
    page.uncheck("#lock")
    page.locator("#set-temperature-b").focus()
    page.keyboard.press("Home")
    page.click("#tab-scale")
    page.wait_for_timeout(400)  # the address is written after a rest
    again = visit(page.evaluate("location.href"), ready="svg.blocks")
    again.click("#tab-write")
    assert again.input_value("#prompt") == "a & b = <c>#\n"
    assert again.input_value("#set-temperature-b") == "0"
    assert again.input_value("#set-temperature-a") == "0.8"


@browser_test
@slow
def test_the_pure_modules(pair: str, visit: Callable[..., Any]) -> None:
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
