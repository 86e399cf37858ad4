"""A Lens cut into coloured cells, once, for every way of drawing it: levels, glyphs, places."""

import itertools
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from tinygpt.comparison.lens_result import Lens, Stretch, View
from tinygpt.escape import printable

__all__ = [
    "DIFFERENCE_BOUNDS",
    "LETTERS",
    "SURPRISE_BOUNDS",
    "Cell",
    "bounds_text",
    "difference_cells",
    "glyph",
    "notes",
    "spaced",
    "surprise_cells",
    "telling",
]

LETTERS = ("A", "B")
"""What pictures call the models, in order."""

SURPRISE_BOUNDS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0)
"""Bits per character at which the next level begins; the same for every text."""

DIFFERENCE_BOUNDS = (0.25, 1.0, 2.0, 4.0)
"""The same for the difference of two models, either way."""

N_TELLING = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """A stretch and the level of its colour."""

    stretch: Stretch
    level: int
    """0 to 8 for surprise; -4 to 4 for a difference, below 0 where the first model pays less."""


def surprise_cells(lens: Lens, view: View) -> list[Cell]:
    """Return the tokens of one model (those that share a character as one), by bits a character."""
    return [
        Cell(stretch, bisect_right(SURPRISE_BOUNDS, stretch.bits[0] / len(stretch.text)))
        for stretch in lens.stretches(view)
    ]


def difference_cells(lens: Lens) -> list[Cell]:
    """Return the stretches that both models cut out, by the difference in bits a character."""
    cells = []
    for stretch in lens.stretches():
        first, second = stretch.bits
        level = bisect_right(DIFFERENCE_BOUNDS, abs(second - first) / len(stretch.text))
        cells.append(Cell(stretch, level if first > second else -level))
    return cells


def telling(lens: Lens) -> list[Stretch]:
    """Return where two models differ most, or where one is most surprised; the largest first."""
    return sorted(lens.stretches(), key=lambda s: abs(s.bits[0] - sum(s.bits[1:])), reverse=True)[
        :N_TELLING
    ]


@lru_cache(maxsize=2**12)
def glyph(character: str) -> str:
    """Return what stands for a character: newline and tab as signs, controls as escapes."""
    return {"\n": "⏎", "\t": "→"}.get(character) or printable(character)


@lru_cache(maxsize=2**16)  # the same few tokens are likely nearly everywhere
def spaced(text: str) -> str:
    """Write a token on one line, its spaces visible."""
    return "".join(map(glyph, text)).replace(" ", "␣")


def notes(lens: Lens) -> list[str]:
    """Return what must be said of the figures: bytes, prefix, windows, unknown characters."""
    first = lens.views[0].evaluation
    lines = [
        f"{printable(lens.name)}: {first.n_bytes:,} bytes, sha256 {first.sha256[:16]}..., after "
        f"{lens.prefix_bytes:,} unscored bytes; {printable(lens.source)}"
    ]
    if not lens.common_border:
        lines.append("no token of every model begins where the text does: one pays a little more")
    for letter, view in zip(LETTERS, lens.views, strict=False):
        e = view.evaluation
        if e.start:
            lines.append(f"{letter}: no prefix, before the first token stands {e.start}")
        if e.n_unknown:
            lines.append(
                f"{letter}: {e.n_unknown:,} of {e.n_characters:,} characters are outside its "
                f"vocabulary and cost {e.unknown_nats / e.total_nats:.0%} of the bits (escape code)"
            )
    return lines


def bounds_text(bounds: tuple[float, ...]) -> list[str]:
    """Return the ranges between bounds, the first one below them and the last one above."""
    inner = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(bounds)]
    return [f"< {bounds[0]:g}", *inner, f"{bounds[-1]:g}+"]
