"""A Comparison as one self-contained HTML file: works offline, printed, at night, on a phone.

No script is needed and none is there; the page asks nothing of the network and says so to the
browser (Content-Security-Policy). Every text is escaped by jinja2, control and bidi characters are
written out, and the numbers stand in the page as JSON.
"""

import json
from itertools import groupby
from operator import attrgetter
from typing import Any

from tinygpt.comparison import Comparison
from tinygpt.escape import printable, visible
from tinygpt.report import figures
from tinygpt.report.headline import headline
from tinygpt.report.notes import footnotes
from tinygpt.report.page import file_text, policy, template
from tinygpt.report.palette import marks, style_rules
from tinygpt.report.rows import sections, title

__all__ = ["comparison_page"]

_differs = attrgetter("differs")


def comparison_page(comparison: Comparison) -> str:
    """Return the page that `tinygpt compare --html` writes."""
    notes = footnotes(comparison)
    style = file_text("base.css") + style_rules() + file_text("comparison.css")
    return template("comparison.html").render(
        style=style,
        policy=policy(style),
        title=title(comparison),
        comparison=comparison,
        headline=headline(comparison),
        marks=marks(comparison.models),
        pictures=_pictures(comparison),
        ribbons=_ribbons(comparison),
        samples=_samples(comparison),
        sections=sections(comparison),
        keys=[list(group) for _, group in groupby(comparison.config_keys, _differs)],
        notes=notes,
        warnings=[note for note in notes if note.startswith("WARNING")],
        numbers=_numbers(comparison),
    )


def _pictures(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the sections that hold pictures; an empty one is left out."""
    found = (
        ("quality", "How well they predict", figures.quality(comparison)),
        ("size", "What they are made of", figures.size(comparison)),
        ("learning", "How they learned, what context is worth", figures.learning(comparison)),
    )
    return [{"id": i, "title": words, "figures": drawn} for i, words, drawn in found if drawn]


def _ribbons(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the same words as each tokenizer cuts them."""
    return [
        {
            "mark": mark,
            "tokens": [visible(token).replace(" ", "␣") for token in model.sentence_tokens],
            "longest": [visible(token).replace(" ", "␣") for token in model.longest_tokens or ()],
            "bytes_per_token": model.bytes_per_token,
            "tokenization": model.tokenization,
        }
        for mark, model in zip(marks(comparison.models), comparison.models, strict=True)
        if model.sentence_tokens
    ]


def _samples(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the samples by seed, each with what every model wrote; none without any text."""
    rounds = []
    for drawn in zip(*(model.samples for model in comparison.models), strict=True):
        if any(sample.text is not None for sample in drawn):
            first = drawn[0]
            rounds.append(
                {
                    "seed": first.seed,
                    "temperature": first.temperature,
                    "prompt": printable(first.prompt),
                    "written": list(zip(marks(comparison.models), drawn, strict=True)),
                }
            )
    return rounds


def _numbers(comparison: Comparison) -> str:
    r"""Return comparison.json for a script element: no character in it can end the element.

    All that is not ASCII is written as \u escapes, so that bidi characters rearrange no source.
    """
    written = json.dumps(comparison.to_dict(), allow_nan=False)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written
