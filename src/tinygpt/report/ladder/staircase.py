"""The staircase of a ladder: a bar from zero for each rung, and below it what the step changed.

What was measured is a filled bar. A rung without a quality has a dashed box across the picture
instead, whose length says nothing, with why it is empty and in italics what is only estimated.
"""

from collections.abc import Sequence

from tinygpt.report.charts.axes import Scale
from tinygpt.report.charts.palette import Mark
from tinygpt.report.charts.svg import (
    CHARACTER,
    WIDTH,
    chip,
    element,
    line,
    picture,
    shortened,
    text,
    wrapped,
)
from tinygpt.report.ladder.stairs import Stair

__all__ = ["rung_mark", "staircase"]

LEFT, END = 30.0, WIDTH - 96
"""Where bars begin and where the longest ends: its figure and the step from the last need room."""

BAR, HEAD, LINE, SMALL, GAP = 15.0, 18.0, 14.0, 13.0, 8.0


def rung_mark(number: int, name: str) -> Mark:
    """Return how pictures call a rung: by its number; all rungs share one colour, of no model."""
    return Mark(str(number), "rung", name)


def staircase(stairs: Sequence[Stair]) -> str:
    """Draw the rungs, the first on top; at least one."""
    scale = Scale(
        0.0, max((s.high or 0.0 for s in stairs), default=1.0) or 1.0, LEFT, END, False, ()
    )
    parts: list[str] = []
    y = 4.0
    last: tuple[float, float] | None = None
    for number, stair in enumerate(stairs, 1):
        bar = y + HEAD
        step = None
        if stair.bits is not None:
            if last is not None:  # from the end of the last bar down to this one: the step
                step = stair.bits - last[0]
                parts.append(line(scale(last[0]), last[1], scale(last[0]), bar + BAR, "riser"))
            last = (stair.bits, bar + BAR)
        drawn, y = _rung(number, stair, step, scale, y)
        parts += drawn
    told = ". ".join(
        f"{stair.label}: "
        + ("no quality, " + str(stair.missing) if stair.bits is None else stair.value)
        + f"; {stair.change}"
        for stair in stairs
    )
    return picture(WIDTH, y, f"A staircase, bits per byte, lower is better. {told}.", parts)


def _rung(
    number: int, stair: Stair, step: float | None, scale: Scale, y: float
) -> tuple[list[str], float]:
    parts = [chip(13, y + 9, rung_mark(number, stair.name))]
    name = shortened(stair.name, 0.9 * (WIDTH - LEFT))  # in bold
    parts.append(text(LEFT, y + 13, name, "label", title=stair.name))
    draw = _empty if stair.bits is None else _bar
    drawn, y = draw(stair, step, scale, y + HEAD)
    parts += drawn
    for row in wrapped(stair.change, (WIDTH - LEFT) * 12 / 11):  # in 11 px
        y += SMALL
        parts.append(text(LEFT, y, row, "change"))
    return parts, y + GAP


def _bar(stair: Stair, step: float | None, scale: Scale, y: float) -> tuple[list[str], float]:
    bits, low, high = (value or 0.0 for value in (stair.bits, stair.low, stair.high))
    box = {"x": LEFT, "y": y, "height": BAR, "rx": 2, "width": scale(bits) - LEFT}
    parts = [element("rect", {**box, "class": "bar rung"})]
    if low != high:  # several seeds: their range
        parts.append(line(scale(low), y + BAR / 2, scale(high), y + BAR / 2, "range"))
        parts += [line(x, y + 4, x, y + BAR - 4, "range") for x in (scale(low), scale(high))]
    x = scale(max(bits, high)) + 6
    parts.append(text(x, y + 12, f"{bits:.3f}", "value"))
    if step is not None:
        parts.append(text(x + 6 * CHARACTER, y + 12, f"{step:+.3f}", "note"))
    return parts, y + BAR


def _empty(stair: Stair, _step: float | None, _scale: Scale, y: float) -> tuple[list[str], float]:
    rows = [(row, "value") for row in wrapped(stair.why or "", WIDTH - LEFT - 12)]
    rows += [(row, "guess") for row in wrapped(stair.estimate or "", WIDTH - LEFT - 12)]
    height = LINE * len(rows) + 6
    box = {"x": LEFT, "y": y, "height": height, "rx": 2, "width": WIDTH - LEFT - 2}
    parts = [element("rect", {**box, "class": "missing"})]
    for i, (row, css) in enumerate(rows, 1):
        parts.append(text(LEFT + 6, y + LINE * i, row, css))
    return parts, y + height
