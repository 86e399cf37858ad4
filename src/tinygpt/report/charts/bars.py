"""Horizontal bars from zero, a group of them for each thing that all models have."""

from collections.abc import Sequence
from dataclasses import dataclass

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
)

__all__ = ["Bar", "Group", "bar_chart"]

LEFT = 26.0
BAR, ROW, HEAD, GAP, LABEL = 15.0, 22.0, 24.0, 10.0, 15.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One model's figure, as a number and as it is written; None where there is none."""

    mark: Mark
    value: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Group:
    """Bars under one heading, and dashed lines across them: (name, value)."""

    name: str
    bars: Sequence[Bar]
    yardsticks: Sequence[tuple[str, float]] = ()


def bar_chart(groups: Sequence[Group], words: str) -> str:
    """Draw the groups below each other on one scale; `words` says what is measured, and its unit.

    At least one value is known.
    """
    room = max(CHARACTER * len(b.words) for g in groups for b in g.bars if b.value is not None)
    values = [b.value for g in groups for b in g.bars if b.value is not None]
    values += [value for g in groups for _, value in g.yardsticks]
    scale = Scale(0.0, max(values) or 1.0, LEFT, WIDTH - room - 10, False, ())
    parts, y = [], 4.0
    for group in groups:
        drawn, y = _group(group, scale, y)
        parts += drawn
        y += GAP
    told = ". ".join(
        f"{g.name}: "
        + "; ".join(f"{b.mark.letter} {b.mark.name}: {b.words}" for b in g.bars)
        + "".join(f"; {name}: {value:.3f}" for name, value in g.yardsticks)
        for g in groups
    )
    return picture(WIDTH, y, f"Bars, {words}. {told}.", parts)


def _group(group: Group, scale: Scale, y: float) -> tuple[list[str], float]:
    name = shortened(group.name, 0.9 * WIDTH)  # in bold
    parts = [text(2, y + 12, name, "label", title=group.name)]
    y += HEAD
    top = y
    names = []  # last, so that no line crosses them
    for bar in group.bars:
        middle = y + BAR / 2
        parts.append(chip(12, middle, bar.mark))
        if bar.value is None:
            names.append(text(LEFT + 6, middle + 4, bar.words, "note"))
        else:
            end = scale(bar.value)
            box = {"x": LEFT, "y": y, "width": max(end - LEFT, 1), "height": BAR, "rx": 2}
            parts.append(element("rect", {**box, "class": f"bar {bar.mark.css}"}))
            names.append(text(end + 6, middle + 4, bar.words, "value"))
        y += ROW
    parts.append(line(LEFT, top - 4, LEFT, y - 3, "axis"))
    for name, value in sorted(group.yardsticks, key=lambda pair: -pair[1]):
        # Each line goes down to a row of its own, where its name finds room.
        x, words = scale(value), f"{name} {value:.3f}"
        wide = CHARACTER * len(words)
        left = x + 6 + wide > WIDTH
        parts.append(line(x, top - 4, x, y + LABEL - 3, "level"))
        anchor, at = ("end", max(x - 5, wide)) if left else ("start", x + 5)
        names.append(text(at, y + LABEL - 4, words, "note", anchor=anchor))
        y += LABEL
    return parts + names, y
