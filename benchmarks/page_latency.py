"""How long from Enter to the first character on the page, as a browser shows it.

    tinygpt serve runs/demo distilgpt2
    python -m benchmarks.page_latency http://127.0.0.1:8000/

The clock is the browser's: it starts at the key and stops at the frame that shows the first written
token of a column. 20 times, each with a prompt of its own; median and range for every column. Only
what the page shows counts: its script, the server and the model are all in it. Needs playwright and
chromium; a busy machine makes all of it longer.
"""

import argparse
import shutil
import statistics
from typing import Any

from playwright.sync_api import sync_playwright

ENTERS = 20
STATE = "#n=40&prompt="
SIZE = {"width": 1120, "height": 700}
QUIET = "--no-sandbox --headless --disable-gpu --disable-background-networking --no-first-run"

PATIENCE_MS = 60_000

WATCH = """() => {
  window.shownAfter = {};
  let began = 0;
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    began = performance.now();
    window.shownAfter = {};
  }, { capture: true });
  new MutationObserver(() => requestAnimationFrame(() => {
    for (const side of ["a", "b"]) {
      const written = document.querySelector(`#body-${side} .t.new`);
      if (written && began) window.shownAfter[side] ??= performance.now() - began;
    }
  })).observe(document.querySelector("main"), { childList: true, subtree: true });
}"""


def once(page: Any, text: str, sides: list[str]) -> dict[str, float]:
    """Press Enter; return the milliseconds until each column shows its first token."""
    page.fill("#prompt", text)
    page.wait_for_timeout(500)  # as someone who types would, the ribbons are drawn
    page.press("#prompt", "Enter")
    page.wait_for_function(
        "(n) => Object.keys(window.shownAfter).length === n", arg=len(sides), timeout=PATIENCE_MS
    )
    found: dict[str, float] = page.evaluate("window.shownAfter")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('.column.writing')", timeout=PATIENCE_MS)
    return found


def main() -> None:
    """Measure every column of a page that is served."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--enters", type=int, default=ENTERS)
    given = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=QUIET.split())
        page = browser.new_page(viewport=SIZE)
        page.goto(given.url.rstrip("/") + "/" + STATE)
        page.wait_for_selector("#prompt")
        page.evaluate(WATCH)
        sides = [side for side in "ab" if page.locator(f"#column-{side}").is_visible()]
        names = {side: page.locator(f"#pick-{side}").input_value() for side in sides}
        once(page, "First Citizen:\n", sides)  # the first one warms up
        found = [once(page, f"First Citizen{'!' * i}:\n", sides) for i in range(given.enters)]
        browser.close()
    for side in sides:
        times = [one[side] for one in found]
        print(
            f"{side.upper()}, {names[side]}: the first token {statistics.median(times):.0f} ms "
            f"after Enter ({min(times):.0f} to {max(times):.0f}, {len(times)} times)"
        )


if __name__ == "__main__":
    main()
