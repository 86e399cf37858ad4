"""One letter and one colour per model, the same in every picture of a page.

Any two colours stay apart for colour-blind people (a test simulates it); the letter says the same
without colour.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from tinygpt.comparison.result import ModelReport
from tinygpt.escape import visible

__all__ = ["DARK", "LIGHT", "Mark", "marks", "style_rules"]

LIGHT = ("#1746d1", "#a84a00", "#2e778a", "#61054f", "#07883b", "#532e8a")
"""On white; at least 4.5 : 1 against it (WCAG 2.2, 1.4.3)."""

DARK = ("#7a8cff", "#f97a1c", "#0dc4f2", "#e0609a", "#c4f20d", "#ebdead")
"""At night, on near black."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How pictures call a model."""

    letter: str
    """A, B, C ..."""
    css: str
    """Class of its colour: m0, m1 ..."""
    name: str


def marks(models: Sequence[ModelReport]) -> list[Mark]:
    """Return a mark per model; above six the colours begin again, the letters do not."""
    letters = [*string.ascii_uppercase, *map(str, range(27, len(models) + 1))]
    return [
        Mark(letter, f"m{i % len(LIGHT)}", visible(model.name))
        for i, (letter, model) in enumerate(zip(letters, models, strict=False))
    ]


def style_rules() -> str:
    """Return the CSS that gives each class its colour, by day, at night and on paper."""
    classes = "".join(f".m{i} {{ --c: var(--m{i}) }}\n" for i in range(len(LIGHT)))
    return (
        f":root {{ {_variables(LIGHT)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
        f"{classes}"
    )


def _variables(colours: Sequence[str]) -> str:
    return "; ".join(f"--m{i}: {colour}" for i, colour in enumerate(colours))
