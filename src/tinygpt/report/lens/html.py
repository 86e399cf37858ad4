"""A Lens as one self-contained HTML file.

The page asks nothing of the network and says so to the browser (Content-Security-Policy); its one
script, named there by its hash, adds what hovering and the arrow keys show. Without it the coloured
text stands. jinja2 escapes every text; the numbers are embedded as JSON.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from tinygpt.comparison.lens_result import Lens, Stretch, Token
from tinygpt.escape import visible
from tinygpt.report.charts.page import file_text, policy, template
from tinygpt.report.lens.cells import (
    DIFFERENCE_BOUNDS,
    LETTERS,
    SURPRISE_BOUNDS,
    Cell,
    bounds_text,
    difference_cells,
    glyph,
    notes,
    spaced,
    surprise_cells,
    telling,
)
from tinygpt.report.lens.colours import style_rules

__all__ = ["lens_numbers", "lens_page"]


def lens_page(lens: Lens) -> str:
    """Return the page that `tinygpt lens --html` writes."""
    style, script = (
        file_text("charts/base.css") + file_text("lens/lens.css") + style_rules(),
        file_text("lens/lens.js"),
    )
    return template("lens/lens.html").render(
        **_content(lens),
        style=style,
        script=script,
        policy=policy(style, script),
        numbers=lens_numbers(lens),
    )


def _content(lens: Lens) -> dict[str, Any]:
    """Return what the template draws."""
    places = telling(lens)
    panels: list[dict[str, Any]] = [
        {
            "id": letter.lower(),
            "letter": letter,
            "title": visible(view.name),
            "cells": [_cell(cell, "l") for cell in surprise_cells(lens, view)],
        }
        for letter, view in zip(LETTERS, lens.views, strict=False)
    ]
    if len(lens.views) > 1:
        cells = [_cell(cell, "d") for cell in difference_cells(lens)]
        panels.append({"id": "d", "letter": "±", "title": "the difference", "cells": cells})
    linked = {str(stretch.begin) for stretch in places}
    for panel in panels:  # only the last one is linked to
        cells = panel["cells"] if panel is panels[-1] else []
        panel["linked"] = {i for i, cell in enumerate(cells) if cell["begin"] in linked}
    names = [visible(view.name) for view in lens.views]
    return {
        "title": f"Where {' and '.join(names)} {'is' if len(names) == 1 else 'are'} surprised",
        "panels": panels,
        "views": list(zip(LETTERS, names, lens.views, strict=False)),
        "n_bytes": len(lens.text.encode()),
        "surprise": bounds_text(SURPRISE_BOUNDS),
        "difference": bounds_text(DIFFERENCE_BOUNDS),
        "telling": _telling(lens, places),
        "notes": notes(lens),
    }


def _cell(cell: Cell, kind: str) -> dict[str, str]:
    return {
        "begin": str(cell.stretch.begin),
        "level": f"{kind}{cell.level}",
        "shown": "".join("⏎\n" if c == "\n" else glyph(c) for c in cell.stretch.text),
    }


def _telling(lens: Lens, places: Iterable[Stretch]) -> list[dict[str, Any]]:
    text = lens.text.encode()
    return [
        {
            "begin": stretch.begin,
            "before": spaced(text[: stretch.begin].decode()[-12:]),
            "text": spaced(stretch.text),
            "after": spaced(text[stretch.end :].decode()[:8]),
            "bits": stretch.bits,
        }
        for stretch in places
    ]


def lens_numbers(lens: Lens) -> dict[str, Any]:
    """Return what a script looks up, as short as it can be said.

    words: every text of a token, once; the others name it by its place here. views: per cell its
    last character + 1 and its tokens; difference: per stretch the last character + 1 and both
    models' bits.
    """
    views, words = [], dict[str, int]()
    for view in lens.views:
        tokens, end = iter(view.tokens), 0
        cells: list[list[Any]] = []
        for stretch in lens.stretches(view):
            end += len(stretch.text)
            cells.append([end, _tokens_until(tokens, stretch.end, words)])
        views.append({"name": visible(view.name), "cells": cells})
    end = 0
    difference: list[list[Any]] = []
    if len(lens.views) > 1:
        for stretch in lens.stretches():
            end += len(stretch.text)
            difference.append([end, *(round(bits, 3) for bits in stretch.bits)])
    shown = [glyph(c) if c != " " else "␣" for c in lens.text]
    return {"glyphs": shown, "words": list(words), "views": views, "difference": difference}


def _tokens_until(
    tokens: Iterator[Token], end: int, words: dict[str, int]
) -> list[list[float | None]]:
    """Take tokens up to a byte: text, bits, rank, then each of the likeliest and its probability.

    Texts by their place in `words`, which grows; probabilities in whole thousandths, 0 for less
    than one: the page shows no more of them.
    """
    taken: list[list[float | None]] = []
    for token in tokens:
        name = words.setdefault(spaced(token.token), len(words))
        said = [name, round(token.bits, 3), token.rank]
        for other in token.alternatives:
            said.append(words.setdefault(spaced(other.token), len(words)))
            said.append(round(1000 * other.probability) if other.probability >= 0.001 else 0)
        taken.append(said)
        if token.end == end:
            break
    return taken
