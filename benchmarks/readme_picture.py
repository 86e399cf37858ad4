"""Draw the README's picture from the JSON of a comparison: models among their yardsticks.

    python -m benchmarks.readme_picture runs/demo/comparison.json docs/comparison.svg

`make readme-table` does so after its own demo.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tinygpt.escape import visible
from tinygpt.report.charts.palette import style_rules
from tinygpt.report.charts.svg import element, shortened, text

WIDTH, LEFT, END, ROW, TOP = 640.0, 226.0, 570.0, 25.0, 52.0
STYLE = """
:root { --card: #ffffff; --ink: #1c1d21; --soft: #5b606b; --line: #d5d8de; --grey: #9aa1ad }
@media (prefers-color-scheme: dark) {
  :root { --card: #14161a; --ink: #e8e9ec; --soft: #a3a8b3; --line: #363b45; --grey: #6c7382 }
}
svg { font: 13px system-ui, -apple-system, sans-serif }
text { fill: var(--ink) }
.card { fill: var(--card); stroke: var(--line) }
.soft { fill: var(--soft) }
.model { font-weight: 700 }
.bar { fill: var(--c) }
.yardstick { --c: var(--grey) }
"""


def draw(data: dict[str, Any]) -> str:
    """Return an SVG file for light and dark pages: bits per byte of the first text as bars.

    Models stand out in colour and in bold; one without a figure says what it needs.
    """
    scored = data["texts"][0]
    rows = [(y["name"], y["bits_per_byte"], "yardstick") for y in scored["yardsticks"]]
    for i, model in enumerate(data["models"]):
        found = model["quality"][0]["evaluation"]
        rows.append((model["name"], found and found["bits_per_byte"], f"model m{i % 6}"))
    rows.sort(key=lambda row: -(row[1] or 0.0))
    unit = (END - LEFT) / max(bits or 0.0 for _, bits, _ in rows)
    heading = f"Bits per byte of {scored['name']}: lower is better"
    parts = [text(20, 32, heading, "model")]
    for i, (name, bits, css) in enumerate(rows):
        y = TOP + ROW * i
        parts.append(text(LEFT - 10, y + 13, shortened(name, LEFT), css, anchor="end"))
        if bits is None:
            parts.append(text(LEFT, y + 13, "needs its weights (see below)", "soft"))
            continue
        box = {"x": LEFT, "y": y, "width": bits * unit, "height": 17.0, "rx": 2}
        parts.append(element("rect", {**box, "class": f"bar {css}"}))
        parts.append(text(LEFT + bits * unit + 8, y + 13, f"{bits:.3f}", css))
    high = TOP + ROW * len(rows) + 14
    told = "; ".join(f"{n}: {'not known' if b is None else format(b, '.3f')}" for n, b, _ in rows)
    card = {"x": 0.5, "y": 0.5, "width": WIDTH - 1, "height": high - 1, "rx": 8, "class": "card"}
    whole = {"xmlns": "http://www.w3.org/2000/svg", "width": WIDTH, "height": high}
    whole |= {"viewBox": f"0 0 {WIDTH:g} {high:g}", "role": "img"}
    style = element("style", {}, style_rules() + STYLE)
    return element(
        "svg",
        {**whole, "aria-label": visible(f"{heading}. {told}.")},
        *(style, element("rect", card), *parts),
    )


def main() -> None:
    """Read one file, write the other."""
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw(json.loads(source.read_text("utf-8"))) + "\n", "utf-8")


if __name__ == "__main__":
    main()
