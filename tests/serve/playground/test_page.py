"""The page of `tinygpt serve` in a browser: what one does with it, tab by tab, state by state."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.serve.live import KEY, until
from tests.serve.playground.playground import (
    ATTACKS,
    HOSTILE,
    TEXT,
    Playground,
    hostile,
    hostile_run,
    learned,
    pieces,
    playing,
    slow,
)
from tests.serve.serving import job_of

from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.costs import n_params
from tinygpt.model.gpt import GPT
from tinygpt.runs.lock import locked
from tinygpt.serve.batching.batcher import Ticket

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TABS = ("Write", "Surprise", "Scale", "Config", "Training", "Report")
PICTURES = {
    "Surprise": ".panels",
    "Scale": "#scale-picture svg",
    "Config": "table.keys",
    "Training": "svg.chart circle",
    "Report": "#report-go",
}
PAIR = "#a=learned&b=pieces"
PATIENCE_MS = 15_000
REFUSED = r"Failed to load resource"
"""What a browser says of an answer that a test forces."""


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, make_gpt: Callable[..., GPT]
) -> list[LanguageModel]:
    root = tmp_path_factory.mktemp("playground")
    run = root / "runs" / "learned"
    run.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        found = [learned(run), pieces(root / "pieces", make_gpt)]
    hostile_run(root / "runs" / HOSTILE, run)
    return [*found, slow(make_gpt), hostile(make_gpt)]


@pytest.fixture(scope="module")
def playground(chromium: Any, models: list[LanguageModel]) -> Iterator[Playground]:
    """All four models; skipped before anything is made where there is no browser."""
    runs = models[0].path.parent
    with playing(models, runs) as made:
        yield made


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """visit(url, width, scheme, forced): the page, once it is open.

    Any message on the console, script error, dialog, or request to elsewhere fails the test, but
    for messages that match `forced`. What breaks the Content-Security-Policy is such a message.
    """
    problems: list[str] = []
    pages = []

    def go(url: str, width: int = 1200, scheme: str = "light", forced: str = "(?!)") -> Any:
        page = chromium.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        home = url.split("#", maxsplit=1)[0]

        def heard(message: Any) -> None:
            if not re.search(forced, message.text):
                problems.append(f"console: {message.text}")

        def asked(request: Any) -> None:
            if not request.url.startswith((home, "data:", "blob:")):
                problems.append(f"request: {request.url}")

        def alerted(dialog: Any) -> None:
            problems.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("console", heard)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", alerted)
        page.on("request", asked)
        page.goto(url)
        return page

    yield go
    for page in pages:
        page.close()
    assert problems == []


# --- what a visitor does


def prompt(page: Any) -> Any:
    return page.get_by_role("textbox", name="Prompt for both models")


def write(page: Any, text: str) -> None:
    prompt(page).fill(text)
    prompt(page).press("Enter")


def new(page: Any, side: str) -> Any:
    """The tokens that a column wrote."""
    return page.locator(f"#column-{side} .t.new")


def wrote(page: Any, side: str, n: int = 1) -> None:
    """Wait until a column wrote so many tokens; some, like a newline, take no room to be seen."""
    new(page, side).nth(n - 1).wait_for(state="attached")


def letter(page: Any, side: str, least: int = 0) -> int:
    """Return which of the written tokens, from `least` on, can be pointed at for sure."""
    texts = new(page, side).all_text_contents()
    return next(i for i in range(least, len(texts)) if re.search("[A-Za-z0-9]", texts[i]))


def foot(page: Any, side: str) -> Any:
    return page.locator(f"#foot-{side}")


def button(place: Any, name: str) -> Any:
    return place.get_by_role("button", name=name, exact=True)


def settled(page: Any) -> None:
    """Wait until no column writes."""
    page.wait_for_function("() => !document.querySelector('.column.writing')")


def tab(page: Any, name: str) -> Any:
    """Open a tab; return its panel."""
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name)


def style(element: Any, name: str) -> str:
    return element.evaluate(f"e => getComputedStyle(e).{name}")


def value(page: Any, code: str) -> Any:
    return page.evaluate(f"() => {code}")


# --- writing


def test_enter_lets_both_columns_write(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR + "&n=60")
    write(page, "To be\n")  # a first line is not priced
    settled(page)
    for side, name in (("a", "learned"), ("b", "pieces")):
        assert name in page.locator(f"#title-{side}").text_content()
        text = page.locator(f"#column-{side} .text").text_content()
        written = "".join(new(page, side).all_text_contents())
        assert text == "To be\n" + written
        assert "60 characters" in foot(page, side).text_content()
        assert "ended at the length asked" in foot(page, side).text_content()
        for other in "ab":  # each text priced by both models
            foot(page, side).locator(f".figures-line .chip.{other}").wait_for()
    said = page.locator("#spoken").get_by_text(re.compile("A wrote 60 characters.*B wrote 60"))
    said.wait_for(state="attached")  # once, for those who hear the page


def test_what_is_written_arrives_piece_by_piece(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + "#a=slow&b=learned&n=200")
    write(page, "To be")
    seen = set()
    until(lambda: len(seen.add(new(page, "a").count()) or seen) > 4)
    assert len(seen) > 4
    page.keyboard.press("Escape")
    settled(page)


@pytest.mark.parametrize("way", ["Stop", "its own Stop", "Escape", "another model", "leaving"])
def test_a_slow_model_is_stopped_within_a_second(
    playground: Playground, visit: Callable[..., Any], way: str
) -> None:
    page = visit(playground.url + "#a=slow&b=&n=2000")
    write(page, "To be")
    wrote(page, "a", 4)
    assert playground.served["slow"].batcher.slots_in_use == 1
    ways = {
        "Stop": lambda: page.locator("#stop").click(),
        "its own Stop": lambda: button(foot(page, "a"), "Stop").click(),
        "Escape": lambda: page.keyboard.press("Escape"),
        "another model": lambda: page.get_by_label("Model A").select_option("learned"),
        "leaving": lambda: page.goto("about:blank"),
    }
    began_s = time.monotonic()
    ways[way]()
    assert until(playground.idle, 1.0)
    assert time.monotonic() - began_s < 2  # the second is the server's; the browser has another
    if way == "leaving":
        return
    page.wait_for_selector("#stop[disabled]")
    if way != "another model":
        assert "because it was stopped" in foot(page, "a").text_content()
        n = new(page, "a").count()
        page.wait_for_timeout(200)
        assert new(page, "a").count() == n > 0


def test_a_character_is_clicked_and_a_branch_taken(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + PAIR + "&n=40")
    write(page, "To be")
    settled(page)
    text = page.locator("#column-b .text").text_content()
    assert page.locator("#stop").is_disabled()
    n = letter(page, "b", 2)
    new(page, "b").nth(n).click()
    bars = page.get_by_role("list", name="Likeliest next tokens").get_by_role("button")
    bars.first.wait_for()
    shares = [one.get_attribute("aria-label") for one in bars.all()]
    assert len(shares) == 10
    assert all("with your settings" in share for share in shares)
    assert "bits of doubt" in page.locator("#body-b .doubt").text_content()
    kept = "To be" + "".join(new(page, "b").all_text_contents()[:n])
    chosen = page.locator("#body-b .bars li button:not([disabled]):not([aria-current])").first
    token = chosen.locator("code").text_content()
    chosen.click()
    settled(page)
    after = page.locator("#column-b .text").text_content()
    assert after != text
    assert after.startswith(kept)
    shown = page.locator("#column-b .t.chosen").text_content()
    assert shown.replace(" ", "␣").replace("\n", "⏎").replace("\t", "→") == token
    assert foot(page, "b").get_by_text("2 of 2").is_visible()
    button(foot(page, "b"), "The take before").click()
    assert page.locator("#column-b .text").text_content() == text
    assert foot(page, "a").get_by_text("of 2").count() == 0  # the other column stays


def test_the_bars_follow_the_settings(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR + "&n=20")
    write(page, "To be")
    settled(page)
    new(page, "a").nth(letter(page, "a")).click()
    shares = page.locator("#body-a .bars .share")
    shares.first.wait_for()
    before = shares.all_text_contents()
    page.locator("details.settings summary").click()
    page.get_by_label("Temperature").focus()
    page.keyboard.press("Home")
    until(lambda: shares.all_text_contents() != before)
    assert shares.all_text_contents() == ["100%", *["–"] * 9]  # nothing is drawn at 0


def test_stop_beside_the_prompt_stops_a_branch_too(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + "#a=slow&b=learned&n=2000")
    write(page, "To be")
    wrote(page, "a", 3)
    page.keyboard.press("Escape")
    settled(page)
    for go in ("Edit", "Regenerate"):
        button(foot(page, "a"), go).click()
        if go == "Edit":
            button(foot(page, "a"), "Write on").click()
        wrote(page, "a", 2)
        page.locator("#stop").click()
        settled(page)
        assert until(playground.idle, 1.0)


def test_a_text_is_edited_and_written_anew(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + PAIR + "&n=40")
    write(page, "To be")
    settled(page)
    first = page.locator("#column-a .text").text_content()
    button(foot(page, "a"), "Edit").click()
    area = page.get_by_role("textbox", name="The text to write on from")
    assert area.input_value() == first
    area.fill("that is ")
    area.press("Enter")
    wrote(page, "a")
    settled(page)
    second = page.locator("#column-a .text").text_content()
    page.wait_for_selector("#stop[disabled]")
    assert second.startswith("that is ")
    button(foot(page, "a"), "Regenerate").click()
    foot(page, "a").get_by_text("3 of 3").wait_for()
    third = page.locator("#column-a .text").text_content()
    assert third.startswith("that is ")
    assert third != second
    button(foot(page, "a"), "Edit").click()
    button(foot(page, "a"), "Leave as it was").click()
    assert page.locator("#column-a .text").text_content() == third


# --- the tabs


def test_surprise_colours_every_character(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + PAIR + "&tab=surprise")
    panel = page.get_by_role("tabpanel", name="Surprise")
    panel.get_by_role("textbox", name="Text to score").fill("A first line\nTo be, or not to be\n")
    button(panel, "Show the surprise").click()
    panel.locator(".panels").wait_for()
    assert panel.locator(".panel h3").all_text_contents() == [
        "A learned",
        "B pieces",
        "± the difference",
    ]
    for pre in panel.locator(".panel pre").all():
        assert pre.text_content().replace("⏎", "") == "To be, or not to be\n"
    surprised = panel.locator(".panel .l6, .panel .l7, .panel .l8").first
    assert style(surprised, "backgroundColor") != "rgba(0, 0, 0, 0)"
    a, b, gap = panel.locator(".totals tbody tr td:nth-child(2)").all_text_contents()
    assert float(gap.replace("−", "-")) == pytest.approx(float(b) - float(a), abs=0.002)
    panel.locator(".panel pre span").first.hover()
    assert panel.locator(".at li").count() >= 5  # what was likelier there
    panel.locator(".telling button").first.click()
    assert "character" in panel.locator(".at .where").text_content()


def test_scale_draws_both_models_and_a_slider_redraws_one(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + PAIR)
    panel = tab(page, "Scale")
    panel.locator("#scale-picture svg").wait_for()
    assert {"embedding", "attention", "mlp"} == set(
        panel.locator("#scale-picture svg rect title").all_text_contents()
    )
    assert "Both are made of the same pieces" in panel.text_content()

    def parameters() -> list[str]:
        return panel.locator(".sums tr").first.locator("td").all_text_contents()

    was, picture = parameters(), panel.locator("#scale-picture svg").inner_html()
    assert was[0] == f"{n_params(playground.served['learned'].lm.config):,}"
    slider = panel.get_by_role("slider").first
    slider.focus()
    page.keyboard.press("End")
    panel.get_by_text("were it").wait_for()
    assert parameters()[0] != was[0]
    assert parameters()[1] == was[1]
    assert panel.locator("#scale-picture svg").inner_html() != picture
    button(panel, "As it is").first.click()
    panel.get_by_text("were it").wait_for(state="detached")
    assert parameters() == was


def test_config_tells_the_keys_apart(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR)
    panel = tab(page, "Config")
    panel.locator("table.keys").wait_for()
    row = panel.get_by_role("row").filter(has=page.get_by_text("n_embd", exact=True))
    assert row.locator("td").nth(0).text_content() == "16"
    assert row.locator("td").nth(1).text_content() == "32"
    assert row.locator(".kind").text_content() == "architecture"
    parts = panel.locator("tr.part").all_text_contents()
    assert [part.split(" (")[0] for part in parts] == ["Different", "The same"]
    panel.get_by_text("as TinyGPT's run file (TOML)").first.click()
    assert "n_embd = 16" in panel.locator("section.a pre:visible").text_content()


def test_training_follows_a_run_while_it_grows(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    like, run = playground.runs / "learned", playground.runs / "growing"
    run.mkdir()
    (run / "training.json").write_bytes((like / "training.json").read_bytes())
    lines = (like / "metrics.jsonl").read_text("utf-8").splitlines(keepends=True)
    metrics, ends = run / "metrics.jsonl", [i for i, x in enumerate(lines) if '"evaluated"' in x]
    metrics.write_text("".join(lines[: ends[1] + 1]), "utf-8")
    samples = (like / "samples.jsonl").read_text("utf-8").splitlines(keepends=True)
    (run / "samples.jsonl").write_text("".join(samples[:2]), "utf-8")
    with locked(run):
        page = visit(playground.url + PAIR)
        panel = tab(page, "Training")
        dots = panel.locator("svg.chart circle")
        dots.nth(1).wait_for()
        assert panel.get_by_label("Run").input_value() == "growing"  # what is trained comes first
        assert "being trained" in panel.locator("#run-told").text_content()
        assert panel.get_by_role("slider").get_attribute("max") == "1"
        with metrics.open("a", encoding="utf-8") as log:
            log.write("".join(lines[ends[1] + 1 :])[:-10])  # the last line is half written
        with (run / "samples.jsonl").open("a", encoding="utf-8") as log:
            log.write("".join(samples[2:]))
        dots.nth(3).wait_for()
        panel.locator("#scrub[max='3']").wait_for()
        assert "step 12" in panel.locator("#run-told").text_content()
    with metrics.open("a", encoding="utf-8") as log:
        log.write("".join(lines)[-10:])
    panel.get_by_text("finished").wait_for()
    told = panel.locator("svg.chart").get_attribute("aria-label")
    assert re.match(r"bits per byte over steps\. Held out: \d\.\d\d at step 0", told)
    newest = panel.locator(".sample-text").text_content()
    panel.get_by_role("slider").focus()
    page.keyboard.press("Home")
    assert panel.locator(".sample-text").text_content() != newest
    assert panel.locator("svg.chart .now").count() == 1
    panel.locator("svg.chart .level").first.wait_for(state="attached")  # the yardsticks
    assert panel.get_by_text("uniform").count() > 0


def test_a_report_is_made_shown_and_saved(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    # The report's own link to print itself is of no use in a frame without scripts.
    page = visit(playground.url + PAIR, forced="Blocked script execution|sandbox")
    panel = tab(page, "Report")
    panel.get_by_text("On a text of your own").click()
    panel.get_by_role("textbox", name="Text to measure on").fill(TEXT[:600])
    button(panel, "Make the report").click()
    panel.locator("iframe").wait_for(timeout=60_000)
    frame = panel.frame_locator("iframe")
    assert "learned" in frame.locator("h1").text_content()
    assert panel.locator("iframe").get_attribute("sandbox") == ""
    for words, has in (("Markdown", "bits per byte"), ("JSON", '"schema_version"'), ("HTML", "<!")):
        with page.expect_download() as download:
            panel.get_by_role("link", name=words).click()
        assert has in download.value.path().read_text("utf-8")


# --- state


def test_the_address_survives_a_reload(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url)
    page.get_by_label("Model A").select_option("pieces")
    page.get_by_label("Model B").select_option("slow")
    prompt(page).fill("a & b = <c>#%\n é 😀")
    page.locator("details.settings summary").click()
    page.get_by_label("the same for both").uncheck()
    page.get_by_label("Temperature, B").focus()
    page.keyboard.press("End")
    page.get_by_label("Seed, A").fill("77")
    page.get_by_label("Seed, A").press("Tab")
    tab(page, "Config")
    page.wait_for_url("**tab=config**")
    page.reload()
    page.locator("table.keys").wait_for()
    assert page.get_by_role("tab", name="Config").get_attribute("aria-selected") == "true"
    tab(page, "Write")
    assert page.get_by_label("Model A").input_value() == "pieces"
    assert page.get_by_label("Model B").input_value() == "slow"
    assert prompt(page).input_value() == "a & b = <c>#%\n é 😀"
    page.locator("details.settings summary").click()
    assert page.get_by_label("Temperature, B").input_value() == "2"
    assert page.get_by_label("Temperature, A").input_value() == "0.8"
    assert page.get_by_label("Seed, A").input_value() == "77"
    assert page.get_by_label("Seed, B").input_value() == ""


def test_one_model_alone_is_useful(
    models: list[LanguageModel], visit: Callable[..., Any], tmp_path: Path
) -> None:
    with playing(models[1:2], tmp_path / "no-runs") as alone:
        page = visit(alone.url + "#n=30")
        write(page, "To be")
        wrote(page, "a")
        settled(page)
        assert page.locator("#column-b").is_hidden()
        assert page.get_by_text("tinygpt serve MODEL distilgpt2").is_visible()
        new(page, "a").nth(letter(page, "a")).click()
        page.locator("#body-a .bars li").first.wait_for()
        for name in ("Surprise", "Scale", "Config"):
            panel = tab(page, name)
            if name == "Surprise":
                button(panel, "Show the surprise").click()
            panel.locator(PICTURES[name]).wait_for()
        assert "Both" not in tab(page, "Scale").text_content()
        panel = tab(page, "Training")
        panel.get_by_text("tinygpt train --minutes 1").wait_for()  # no run yet: how to make one
        assert "alone" in tab(page, "Report").text_content()


def test_an_empty_prompt_begins_a_text(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR + "&n=20")
    prompt(page).fill("")
    assert page.get_by_text("The prompt is empty").is_visible()
    prompt(page).press("Enter")
    settled(page)
    assert "20 characters" in foot(page, "a").text_content()
    assert "20 characters" in foot(page, "b").text_content()


def test_what_is_not_seen_is_grey_and_what_is_not_known_struck_through(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + PAIR)
    prompt(page).fill("é" + "To be, or not " * 8)
    row = page.locator(".tokens.a")
    row.locator(".unknown").get_by_text("é", exact=True).wait_for()
    assert row.locator(".unknown").all_text_contents() == ["é"]
    assert "line-through" in style(row.locator(".unknown").first, "textDecorationLine")
    assert page.locator(".tokens.b .unknown").count() == 0
    notes = page.locator("#ribbon-notes").text_content()
    assert "sees only the last 64 tokens" in notes
    assert re.search(r"A é .*trained on\.", notes)
    grey = row.locator(".beyond").count()
    n = row.locator(".token").count()
    assert n - 64 <= grey <= n - 64 + 1  # of characters, one each
    kinds = (":not(.beyond):not(.unknown)", ".beyond:not(.unknown)")
    seen, beyond = (style(row.locator(f".token{kind}").first, "opacity") for kind in kinds)
    assert seen != beyond


def test_a_prompt_that_the_model_cannot_read_says_why(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + PAIR + "&n=20", forced=REFUSED)
    write(page, "To é")
    alert = foot(page, "a").get_by_role("alert")
    alert.get_by_text("can't read é").wait_for()
    page.locator("#ribbon-notes").get_by_text("trained on").wait_for()
    assert alert.text_content() == "The model can't read é"  # why is said once, under the tokens
    wrote(page, "b")  # the other one can
    button(page.locator("#column-a"), "Edit").click()
    page.locator("textarea.edit").fill("To ñ")  # which is cut nowhere else
    button(page.locator("#column-a"), "Write on").click()
    alert.get_by_text("'ñ' (U+00F1)").wait_for()
    button(page, "Take out of the prompt").click()
    assert prompt(page).input_value() == "To "
    prompt(page).press("Enter")
    wrote(page, "a")


@contextmanager
def occupied(playground: Playground, client: str) -> Iterator[list[Ticket]]:
    """Fill the slow model: both its slots, and all places of this client."""
    batcher = playground.served["slow"].batcher
    tickets = [batcher.submit(job_of([1], client, max_new_tokens=9999), lambda _: None)]
    until(lambda: batcher.slots_in_use == 1)
    tickets += [batcher.submit(job_of([1], client, max_new_tokens=9999), lambda _: None)]
    try:
        yield tickets
    finally:
        for ticket in tickets:
            ticket.cancel()


@pytest.mark.parametrize(
    ("client", "status", "words"),
    [("127.0.0.1", 429, "of yours wait already"), ("another", 503, "as many as may")],
)
def test_a_full_server_is_asked_again(
    models: list[LanguageModel], visit: Callable[..., Any], client: str, status: int, words: str
) -> None:
    bounds = {"slots": 1, "max_waiting": 2 if status == 429 else 1, "max_waiting_per_client": 1}
    with playing(models[2:3], Path("no-runs"), **bounds) as full:
        page = visit(full.url + "#n=10", forced=f"{REFUSED}.* {status}")
        with occupied(full, client):
            with page.expect_response("**/v1/completions") as refused:
                write(page, "To be")
            assert refused.value.status == status
            assert int(refused.value.headers["retry-after"]) >= 1
            foot(page, "a").get_by_text("The server is full; asking again in").wait_for()
            assert words in foot(page, "a").text_content()
        wrote(page, "a")  # nobody had to press anything
        settled(page)
        with occupied(full, client):
            write(page, "To be")
            foot(page, "a").get_by_text("The server is full").wait_for()
            page.keyboard.press("Escape")  # a wait can be left, too
            settled(page)
            assert "Stopped before the first character" in foot(page, "a").text_content()


def test_a_server_that_is_gone_is_found_again(
    models: list[LanguageModel], visit: Callable[..., Any]
) -> None:
    with playing(models[2:3], Path("no-runs")) as first:
        page = visit(first.url + "#n=500", forced=REFUSED)
        write(page, "To be")
        wrote(page, "a", 4)
    gone = page.get_by_text("The server does not answer.")
    settled(page)
    kept = page.locator("#column-a .text").text_content()
    assert len(kept) > len("To be")
    write(page, "To be")
    gone.wait_for()
    assert "server stopped answering" in foot(page, "a").text_content()
    port = int(first.url.rsplit(":", 1)[1].strip("/"))
    with playing(models[2:3], Path("no-runs"), port=port):
        gone.wait_for(state="hidden")
        write(page, "To be")
        wrote(page, "a")
        page.keyboard.press("Escape")
        settled(page)


def test_a_key_is_asked_for_and_kept_in_memory_alone(
    models: list[LanguageModel], visit: Callable[..., Any]
) -> None:
    with playing(models[1:2], Path("no-runs"), key=KEY) as closed:
        page = visit(closed.url + "#n=20", forced=f"{REFUSED}.* 401")
        dialog = page.get_by_role("dialog", name="This server wants its key")
        dialog.get_by_label("Key").fill("not the key of this server")
        page.keyboard.press("Enter")
        dialog.get_by_text("That was not the key").wait_for()
        dialog.get_by_label("Key").fill(KEY)
        page.keyboard.press("Enter")
        prompt(page).wait_for()
        write(page, "To be")
        wrote(page, "a")
        stores = "{...localStorage}, {...sessionStorage}, document.cookie, location.href"
        assert KEY not in value(page, f"JSON.stringify([{stores}])")
        assert KEY not in page.content()
        page.reload()
        dialog.wait_for()


def test_while_the_models_are_looked_up_the_page_says_so(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + "#n=20")
    held: list[Any] = []
    page.route("**/page/models", lambda route: held.append(route))
    page.reload()
    page.get_by_text("Opening the page").wait_for()
    assert prompt(page).is_hidden()
    assert until(lambda: page.wait_for_timeout(20) or bool(held))
    held[0].continue_()
    prompt(page).wait_for()


def test_no_memory_says_what_needs_less(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR, forced=REFUSED)
    error = {"message": "slots=8 does not fit into memory", "type": "server_error"}
    body = json.dumps({"error": error})
    page.route("**/v1/completions", lambda route: route.fulfill(status=500, body=body))
    write(page, "To be")
    alert = foot(page, "a").get_by_role("alert")
    alert.wait_for()
    assert "Out of memory" in alert.text_content()
    assert "shorter prompt" in alert.text_content()


# --- for everyone


def test_the_whole_way_without_a_mouse(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR + "&n=40")
    prompt(page).wait_for()
    keys = page.keyboard

    def here(what: str = "id") -> str:
        return value(page, f"document.activeElement.{what} ?? ''")

    assert here() == "prompt"
    keys.press("Control+a")
    keys.type("To be")
    keys.press("Enter")
    wrote(page, "b")
    settled(page)
    for _ in range(40):  # to the text of the first column
        keys.press("Tab")
        outline = value(page, "getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or here("tagName") == "BODY", here("outerHTML")[:200]
        if here("className") == "text":
            break
    assert value(page, "document.activeElement.closest('#column-a') !== null")
    for _ in range(7):
        keys.press("ArrowRight")
    assert page.locator("#column-a .t.here").count() == 1
    keys.press("Enter")
    page.locator("#column-a .bars button:focus").wait_for()
    keys.press("ArrowDown")
    keys.press("Enter")
    page.locator("#column-a .t.chosen").wait_for()
    settled(page)
    assert value(page, "document.activeElement.closest('#column-a') !== null")
    for number, name in enumerate(TABS, 1):
        keys.press(str(number))
        assert page.get_by_role("tab", name=name).get_attribute("aria-selected") == "true"
        assert here("textContent") == name
    keys.press("ArrowRight")
    assert here("textContent") == "Write"  # round the corner
    keys.press("/")
    assert here() == "prompt"
    keys.press("Escape")
    keys.press("Shift+Tab")
    keys.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    keys.press("Escape")
    assert page.get_by_role("dialog", name="Keys").is_hidden()


def serious(axe: Any, page: Any) -> list[tuple[str, str]]:
    """What axe finds that keeps people out, each with the first place."""
    found = axe.run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in bad]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_tab_is_a_barrier_or_wider_than_a_phone(
    playground: Playground, visit: Callable[..., Any], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(playground.url + PAIR + "&n=60", scheme=scheme, forced=f"{REFUSED}.* 400")
    write(page, "To be é" if scheme == "dark" else "To be")
    settled(page)
    new(page, "b").nth(letter(page, "b")).click()
    page.locator(".bars li").first.wait_for()
    page.locator("details.settings summary").click()
    page.get_by_label("the same for both").uncheck()
    dark = value(
        page,
        "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)",
    )
    assert (max(dark) < 100) == (scheme == "dark")
    for name in TABS:
        panel = tab(page, name)
        if name == "Surprise":
            button(panel, "Show the surprise").click()
        if name in PICTURES:
            panel.locator(PICTURES[name]).first.wait_for()
        assert serious(axe, page) == [], name
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(150)  # pictures are drawn anew
        assert value(page, "document.documentElement.scrollWidth") <= 390, name
        page.set_viewport_size({"width": 1200, "height": 900})
    button(page, "Keys").click()
    assert serious(axe, page) == []


# --- attacks

FORBIDDEN = "img script style base meta iframe object embed x-owned #owned a:not(.skip) [srcdoc]"
BAD = f"""() => [...document.querySelectorAll('body *')].filter((e) =>
  e.matches('{", ".join(FORBIDDEN.split())}')
  || [...e.attributes].some((a) => /^on/.test(a.name))
  || /^javascript:/i.test(e.getAttribute('href') ?? e.getAttribute('src') ?? ''))
  .map((e) => e.outerHTML.slice(0, 120))"""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls and marks of direction, which are shown as escapes."""


def harmless(page: Any) -> None:
    assert page.evaluate(BAD) == []
    assert not RAW.search(value(page, "document.body.innerText"))
    assert page.title() == "tinygpt playground"


def test_attacks_as_prompts(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + "#a=pieces&b=learned&n=4", forced=f"{REFUSED}.* 400")
    for attack in ATTACKS:
        prompt(page).fill(attack)
        prompt(page).press("Enter")
        wrote(page, "a")
        settled(page)
        page.locator(".tokens.a .token").first.wait_for()
        harmless(page)
    for attack in ATTACKS[::6]:  # by way of the address, and to the other tabs
        prompt(page).fill(attack * 3 + "\nTo be, or not to be\n" + attack)
        page.wait_for_timeout(100)
        panel = tab(page, "Surprise")
        button(panel, "the prompt").click()
        panel.locator(".panels").wait_for()
        panel.locator(".panel pre span").first.hover()
        harmless(page)
        tab(page, "Write")


def test_attacks_as_what_a_model_writes(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + "#t=0&n=1000&b=pieces")
    page.get_by_label("Model A").select_option(HOSTILE)
    write(page, "ab")
    settled(page)
    written = "".join(new(page, "a").all_text_contents())
    assert len(written) >= 1000
    for attack in ATTACKS:
        plain = RAW.split(attack.replace("\r", "\x00").replace("\b", "\x00"))
        assert all(part in written for part in plain), attack
    assert "\\x1b" in written
    assert "\\u202e" in written
    harmless(page)
    for n in (3, 11, 17):
        new(page, "a").nth(n).click()
        page.locator("#body-a .bars li").first.wait_for()
        harmless(page)
    panel = tab(page, "Surprise")
    button(panel, "what A wrote").click()
    panel.locator(".panels").wait_for()
    panel.locator(".panel pre span").nth(4).hover()
    harmless(page)


def test_attacks_as_names_of_models_and_runs(
    playground: Playground, visit: Callable[..., Any]
) -> None:
    page = visit(playground.url + "#a=learned", forced=f"{REFUSED}.* 404")
    page.get_by_label("Model B").select_option(HOSTILE)
    assert HOSTILE in page.locator("#title-b").text_content()
    for name in TABS[1:]:
        panel = tab(page, name)
        if name == "Surprise":
            button(panel, "Show the surprise").click()
        panel.locator(PICTURES[name]).first.wait_for()
        harmless(page)
    panel = tab(page, "Training")
    panel.get_by_label("Run").select_option(HOSTILE)
    page.locator(f"#scrub[max='{len(ATTACKS) - 1}']").wait_for()
    panel.get_by_role("slider").focus()
    page.keyboard.press("Home")
    for _ in ATTACKS:
        harmless(page)
        page.keyboard.press("ArrowRight")
    given = json.loads(page.request.get(playground.url + "page/models").text())
    base = given["models"][0]
    listed = [
        {**base, "name": attack, "notes": [attack], "why_engine": attack, "device": attack}
        for attack in ATTACKS
    ]
    body = json.dumps({**given, "version": ATTACKS[4], "models": listed})
    page.route("**/page/models", lambda route: route.fulfill(status=200, body=body))
    page.goto(playground.url + "#b=")
    page.reload()
    prompt(page).wait_for()
    for i in range(len(ATTACKS)):
        page.get_by_label("Model A").select_option(index=i)
        harmless(page)


def test_attacks_as_errors(playground: Playground, visit: Callable[..., Any]) -> None:
    page = visit(playground.url + PAIR, forced=REFUSED)
    said = [""]

    def refuse(route: Any) -> None:
        error = dict.fromkeys(("message", "type", "param", "code"), said[0])
        body = json.dumps({"error": error})
        route.fulfill(status=400, content_type="application/json", body=body)

    prompt(page).wait_for()
    for path in ("v1/completions", "page/tokens", "page/next", "page/surprise", "page/report"):
        page.route(f"**/{path}", refuse)
    page.route("**/page/scale**", refuse)
    for i, said[0] in enumerate(ATTACKS):
        write(page, f"To be {i}")
        foot(page, "a").get_by_role("alert").wait_for()
        page.locator("#ribbon-notes .bad").wait_for()
        settled(page)
        harmless(page)
    for name, go in (("Surprise", "Show the surprise"), ("Report", "Make the report")):
        panel = tab(page, name)
        for said[0] in ATTACKS[::4]:
            button(panel, go).click()
            panel.locator(".failure").wait_for()
            harmless(page)
    tab(page, "Scale").get_by_role("alert").wait_for()
    harmless(page)
