"""Make the README's pictures of the playground from a server that runs: by day and at night.

    tinygpt serve runs/demo distilgpt2
    python -m benchmarks.page_pictures http://127.0.0.1:8000/ docs

Both columns write with a fixed seed, and a token of each is clicked. Needs playwright and chromium.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

PROMPT = "First Citizen:\nBefore we proceed any further, hear me speak.\n"
STATE = "#t=0.7&n=160&seed=7"
SIZE = {"width": 1120, "height": 700}
CLICKED = 23
"""Which written token is clicked: the same in both columns."""

PATIENCE_MS = 300_000
QUIET = "--no-sandbox --headless --disable-gpu --disable-background-networking --no-first-run"


def picture(page: Any, url: str, target: Path) -> None:
    """Let both models write, open the bars, and take the whole page."""
    page.goto(url + STATE)
    page.fill("#prompt", PROMPT)
    page.wait_for_selector("#ribbons .token")
    page.press("#prompt", "Enter")
    page.wait_for_selector("#stop:not([disabled])")
    page.wait_for_selector("#stop[disabled]", timeout=PATIENCE_MS)
    for side in "ab":
        written = page.locator(f"#body-{side} .t.new")
        if written.count() > CLICKED:
            written.nth(CLICKED).click()
            page.wait_for_selector(f"#body-{side} .bars li")
    if page.locator("#column-b").is_visible():  # both figures stand in both columns
        page.wait_for_selector("#foot-b .figures-line .chip.a", timeout=PATIENCE_MS)
        page.wait_for_selector("#foot-a .figures-line .chip.b", timeout=PATIENCE_MS)
    page.locator("h1").click()  # no focus ring, no text marked
    page.wait_for_timeout(300)
    page.screenshot(path=target, full_page=True)


def main() -> None:
    """Take both pictures."""
    url, folder = sys.argv[1].rstrip("/") + "/", Path(sys.argv[2])
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=QUIET.split())
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            picture(page, url, folder / f"playground-{scheme}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
