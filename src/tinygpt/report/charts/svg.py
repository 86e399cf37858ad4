"""Small pieces of inline SVG: elements, texts, the chip with a model's letter, the picture itself.

Colours come from the page's style sheet by class, so that a picture follows the night and the
printer. No style attribute anywhere: the page's policy forbids them.
"""

import html
import textwrap
from collections.abc import Iterable, Mapping

from tinygpt.escape import visible
from tinygpt.report.charts.palette import Mark

__all__ = [
    "CHARACTER",
    "WIDTH",
    "chip",
    "element",
    "line",
    "picture",
    "shortened",
    "text",
    "wrapped",
]

WIDTH = 370.0
"""Of every picture: at a phone's width its texts are still as large as they say."""

CHARACTER = 6.4
"""Width of a character of 12 px, about: enough to keep labels apart."""


def element(name: str, attributes: Mapping[str, object], *children: str) -> str:
    """Return an element; the attributes are escaped, the children are markup already."""
    written = "".join(f' {key}="{_shown(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(children)}</{name}>"


def text(
    x: float, y: float, words: str, css: str = "tick", *, anchor: str = "start", title: str = ""
) -> str:
    """Return one line of text with its baseline at y; anchor is start, middle or end."""
    told = [element("title", {}, html.escape(visible(title)))] if title else []
    attributes = {"x": x, "y": y, "class": css, "text-anchor": anchor}
    return element("text", attributes, *told, html.escape(visible(words)))


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Return a straight line."""
    return element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": css})


def chip(x: float, y: float, mark: Mark) -> str:
    """Return the letter of a model on its colour, centred at (x, y)."""
    width = 9 + 7 * len(mark.letter)
    box = {"x": x - width / 2, "y": y - 8, "width": width, "height": 16, "rx": 4, "class": "chip"}
    letter = {"x": x, "y": y + 4, "class": "letter", "text-anchor": "middle"}
    return element(
        "g", {"class": mark.css}, element("rect", box), element("text", letter, mark.letter)
    )


def picture(width: float, height: float, told: str, parts: Iterable[str]) -> str:
    """Return the whole picture; `told` says in words what it shows."""
    attributes = {
        "viewBox": f"0 0 {_shown(width)} {_shown(height)}",
        "role": "img",
        "aria-label": visible(told),
    }
    return element("svg", attributes, *parts)


def shortened(words: str, room: float) -> str:
    """Return one line that fits into so many pixels, cut visibly where it is longer."""
    words, n = visible(words), max(4, int(room / CHARACTER))
    return words if len(words) <= n else f"{words[: n - 3]}..."


def wrapped(words: str, room: float) -> list[str]:
    """Return all of the words in lines that fit into so many pixels."""
    return textwrap.wrap(visible(words), max(4, int(room / CHARACTER)))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return html.escape(str(value))
