"""Axes that don't flatter: from values to places, with round ticks and units.

An axis is logarithmic where its values differ tenfold or more, and says so; an axis that bars grow
along begins at zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinygpt.report.charts.svg import line, text

__all__ = ["Scale", "bottom_axis", "left_axis", "scale_over", "short"]

LOG_FROM = 10
"""Largest / smallest value from which an axis is logarithmic, where it may be."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values between low and high, drawn between begin and end (pixels)."""

    low: float
    high: float
    begin: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)


def scale_over(
    values: Sequence[float],
    begin: float,
    end: float,
    *,
    zero: bool = False,
    may_be_log: bool = False,
    n_ticks: int = 5,
) -> Scale:
    """Return a scale on which all values lie.

    Args:
        values: at least one, finite; above 0 where `may_be_log`.
        begin, end: pixels of the lowest and the highest value.
        zero: begin at zero, unless the scale is logarithmic.
        may_be_log: be logarithmic from LOG_FROM on.
        n_ticks: about so many.
    """
    low, high = min(values), max(values)
    if may_be_log and high >= LOG_FROM * low:
        low, high = low / 1.8, high * 1.8
        return Scale(low, high, begin, end, True, _log_ticks(low, high, n_ticks))
    if zero:
        low, high = min(0.0, low), high if high > 0 else 1.0
    elif low == high:
        low, high = low - abs(low) / 4 - 1e-9, high + abs(high) / 4 + 1e-9
    step = _round_step((high - low) / n_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(k * step for k in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], begin, end, False, ticks)


def bottom_axis(scale: Scale, top: float, y: float, words: str) -> list[str]:
    """Draw ticks below y, grid lines from there up to `top`, and what is measured."""
    parts = [line(scale.begin, y, scale.end, y, "axis")]
    for tick in scale.ticks:
        x = scale(tick)
        parts += [
            line(x, top, x, y, "grid"),
            text(x, y + 16, _tick(tick, scale), anchor="middle"),
        ]
    middle = (scale.begin + scale.end) / 2
    named = f"{words} (log scale)" if scale.log else words
    return [*parts, text(middle, y + 34, named, "label", anchor="middle")]


def left_axis(scale: Scale, x: float, right: float, words: str) -> list[str]:
    """Draw ticks left of x, grid lines from there to `right`; what is measured stands on top."""
    parts = []
    for tick in scale.ticks:
        y = scale(tick)
        parts += [
            line(x, y, right, y, "grid"),
            text(x - 6, y + 4, _tick(tick, scale), anchor="end"),
        ]
    return [*parts, text(2, 14, words, "label")]


def short(value: float) -> str:
    """Write a number with at most three digits and k, M, G or T."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g}"


def _tick(value: float, scale: Scale) -> str:
    if scale.log or abs(value) >= 1000:
        return short(value)
    step = scale.ticks[1] - scale.ticks[0] if len(scale.ticks) > 1 else value
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    return f"{value:.{digits}f}"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(k for k in (1, 2, 5, 10) if k >= rough / power - 1e-9)


def _log_ticks(low: float, high: float, n_ticks: int) -> tuple[float, ...]:
    """Return 1, 2, 5 of each power of ten, or less of them, until there are not too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [d * 10.0**e for e in exponents for d in digits if low <= d * 10.0**e <= high]
        if len(ticks) <= n_ticks + 1:
            return tuple(ticks)
    every = math.ceil(len(ticks) / n_ticks)
    return tuple(ticks[::every])
