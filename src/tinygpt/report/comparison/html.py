"""A Comparison as one self-contained HTML file: works offline, printed, at night, on a phone.

No script is needed and none is there; the page asks nothing of the network and says so to the
browser (Content-Security-Policy). Every text is escaped by jinja2, control and bidi characters are
written out, and the numbers stand in the page as JSON.
"""

from itertools import groupby
from operator import attrgetter
from typing import Any

from tinygpt.comparison.result import Comparison
from tinygpt.escape import printable, visible
from tinygpt.ladder.results import Ladder
from tinygpt.report.charts.page import embedded, page_style, policy, template
from tinygpt.report.charts.palette import marks
from tinygpt.report.comparison import figures
from tinygpt.report.comparison.headline import headline
from tinygpt.report.comparison.notes import footnotes
from tinygpt.report.comparison.rows import sections, title
from tinygpt.report.ladder.html import ladder_section

__all__ = ["comparison_page"]

_differs = attrgetter("differs")


def comparison_page(comparison: Comparison, ladder: Ladder | None = None) -> str:
    """Return the page that `tinygpt compare --html` writes; a ladder becomes a section of it."""
    notes = footnotes(comparison)
    style = page_style()
    return template("comparison/comparison.html").render(
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
        ladder=None if ladder is None else ladder_section(ladder),
        numbers=embedded(comparison.to_dict()),
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
