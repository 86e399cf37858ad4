"""A Ladder as one self-contained HTML file, and as a section of the page about a Comparison.

The same frame, styles and rules as that page: no script, nothing from the network, every text
escaped, the numbers embedded as JSON.
"""

from collections.abc import Callable
from typing import Any

from tinygpt.ladder.results import Ladder, RungResult
from tinygpt.report.charts.bars import Bar, Group, bar_chart
from tinygpt.report.charts.page import Figure, embedded, page_style, policy, template
from tinygpt.report.ladder.rows import COLUMNS, cells, ladder_notes, ladder_title
from tinygpt.report.ladder.staircase import rung_mark, staircase
from tinygpt.report.ladder.stairs import ladder_verdict, stairs

__all__ = ["ladder_page", "ladder_section"]


def ladder_page(ladder: Ladder) -> str:
    """Return the page that `tinygpt ladder --html` writes."""
    style = page_style()
    return template("ladder/ladder.html").render(
        style=style,
        policy=policy(style),
        title=ladder_title(ladder),
        ladder=ladder_section(ladder),
    )


def ladder_section(ladder: Ladder) -> dict[str, Any]:
    """Return what the template of the section draws."""
    steps = stairs(ladder)
    rows = [
        {"cells": cells(rung, number), "change": stair.change, "missing": stair.missing}
        for number, (rung, stair) in enumerate(zip(ladder.rungs, steps, strict=True), 1)
    ]
    return {
        "title": ladder_title(ladder),
        "verdict": ladder_verdict(ladder),
        "figures": _figures(ladder),
        "columns": [*(title.replace("\n", " ") for title in COLUMNS), "what changed"],
        "rows": rows,
        "notes": ladder_notes(ladder),
        "numbers": embedded(ladder.to_dict()),
    }


def _figures(ladder: Ladder) -> list[Figure]:
    """Return the staircase, then what each rung costs; none before a rung is done."""
    if not ladder.rungs:
        return []
    caption = (
        "Bits per byte of the same text after the same budget, from zero; lower is better. Beside "
        "it the step from the last measured rung, below it what was changed. A dashed box has no "
        "quality, its length means nothing; what is in italics is an estimate."
    )
    drawn = [Figure("The staircase", staircase(stairs(ladder)), caption)]
    wanted: tuple[tuple[str, int, Callable[[RungResult], float | None], str], ...] = (
        ("Parameters", 1, lambda r: r.cost.n_params, "Distinct values; tied matrices count once."),
        (
            "FLOPs per byte",
            2,
            lambda r: r.cost.flops_per_byte,
            "What one more byte of text costs to compute, after a full context.",
        ),
        (
            "Training memory",
            3,
            lambda r: r.cost.training_memory_bytes,
            "Of one step, in float32, by the config; a rung that is only measured has none.",
        ),
        (
            "Training speed, bytes per second",
            5,
            lambda r: r.pace.bytes_per_s if r.pace else None,
            "From a few timed steps on the machine named below; longer is faster.",
        ),
        (
            "Writing speed, bytes per second",
            6,
            lambda r: r.decode.bytes_per_s if r.decode else None,
            "Batch 1, on the machine named below; longer is faster.",
        ),
    )
    for heading, column, pick, meaning in wanted:
        bars = [_bar(rung, i, column, pick(rung)) for i, rung in enumerate(ladder.rungs, 1)]
        if any(bar.value for bar in bars):
            group = Group("by number of the rung", bars)
            drawn.append(Figure(heading, bar_chart([group], heading.lower()), meaning))
    return drawn


def _bar(rung: RungResult, number: int, column: int, value: float | None) -> Bar:
    words = "not measured" if value is None else cells(rung, number)[column]
    return Bar(rung_mark(number, rung.name), value, words)
