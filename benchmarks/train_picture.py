"""The picture of the training race: held-out loss against seconds since the process was started."""

import statistics
from typing import Any

from benchmarks.readme_picture import STYLE
from tinygpt.escape import visible
from tinygpt.report.charts.palette import style_rules
from tinygpt.report.charts.svg import element, line, text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760.0, 400.0, 56.0, 532.0, 56.0, 350.0
LOW, HIGH = 1.5, 2.7
CURVES = (
    ("tinygpt, the time of block 64", "tinygpt"),
    ("Trainer, the time of block 64", "HF Trainer"),
    ("plain, block 64", "plain, block 64"),
    ("plain, block 128", "plain, block 128"),
)
"""Contenders with a curve, and what the picture calls them; tinygpt's other runs are dots."""
OWN_STYLE = """
.axis { stroke: var(--line) }
.curve { fill: none; stroke: var(--c); stroke-width: 2 }
.dot { fill: var(--c) }
.name { fill: var(--c); font-weight: 700 }
"""


def draw(rows: list[dict[str, Any]]) -> str:
    """Return an SVG file for light and dark pages; medians over the seeds where runs end."""
    present = [(name, words) for name, words in CURVES if any(r["name"] == name for r in rows)]
    shown = [row for row in rows if row["name"] != "pilot"]
    longest = max(row["wall_s"] for row in shown)

    def at(seconds: float, loss: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * seconds / longest
        return x, BOTTOM - (BOTTOM - TOP) * (min(loss, HIGH) - LOW) / (HIGH - LOW)

    parts = [text(20, 32, "Held-out loss by seconds since the start: lower is better", "model")]
    for tenths in range(16, 28, 2):
        _, y = at(0, tenths / 10)
        parts += [line(LEFT, y, RIGHT, y, "axis")]
        parts += [text(LEFT - 8, y + 4, f"{tenths / 10:.1f}", "soft", anchor="end")]
    for seconds in range(0, int(longest) + 1, 30 if longest < 240 else 60):
        x, _ = at(seconds, LOW)
        parts += [text(x, BOTTOM + 20, f"{seconds} s", "soft", anchor="middle")]
    ends: list[tuple[float, float, int, str]] = []
    told: list[str] = []
    for i, (name, words) in enumerate(present):
        for row in shown:
            if row["name"] == name:
                points = [at(p["elapsed_s"], p["val_loss"]) for p in row["curve"]]
                joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
                parts.append(element("polyline", {"points": joined, "class": f"curve m{i}"}))
        own = [row for row in shown if row["name"] == name]
        ended_s, loss = _middle(own, "wall_s"), _middle(own, "val_loss")
        ends.append((*at(ended_s, loss), i, f"{words}: {loss:.2f}"))
        told.append(f"{words}: {loss:.2f} after {ended_s:.0f} s")
    for row in shown:
        if row["name"].startswith("tinygpt") and row["name"].endswith("min"):
            x, y = at(row["wall_s"], row["val_loss"])
            parts.append(element("circle", {"cx": x, "cy": y, "r": 3.5, "class": "dot m0"}))
    floor = 0.0
    for x, y, i, words in sorted(ends, key=lambda end: end[1]):
        floor = max(y, floor + 16)  # names must not stand on each other
        parts.append(text(max(x + 8, RIGHT + 10), floor + 4, words, f"name m{i}"))
    caption = "dots: runs of tinygpt planned for a shorter time"
    parts.append(text(LEFT, HEIGHT - 10, caption, "soft"))
    card = {"x": 0.5, "y": 0.5, "width": WIDTH - 1, "height": HEIGHT - 1, "rx": 8, "class": "card"}
    whole = {"xmlns": "http://www.w3.org/2000/svg", "width": WIDTH, "height": HEIGHT}
    whole |= {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img"}
    return element(
        "svg",
        {**whole, "aria-label": visible(f"Held-out loss by seconds. {'; '.join(told)}.")},
        element("style", {}, style_rules() + STYLE + OWN_STYLE),
        element("rect", card),
        *parts,
    )


def _middle(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.median(row[key] for row in rows)
