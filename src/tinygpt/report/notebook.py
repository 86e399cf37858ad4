"""A Comparison for notebooks: the table and its notes as a piece of HTML, every text escaped."""

import html

from tinygpt.comparison import Comparison
from tinygpt.notebook import table_html
from tinygpt.report.notes import footnotes
from tinygpt.report.rows import sections, title

__all__ = ["comparison_fragment"]


def comparison_fragment(comparison: Comparison) -> str:
    """Return one table per section, the first with the models' names, and the notes below."""
    names = ("", *(model.name for model in comparison.models))
    tables = [
        table_html(section.title, [(row.label, *row.values) for row in section.rows], head=names)
        for section in sections(comparison)
    ]
    notes = [f"<li>{html.escape(note)}</li>" for note in footnotes(comparison)]
    heading = f"<p><b>{html.escape(title(comparison))}</b></p>"
    return "\n".join([heading, *tables, "<ul>", *notes, "</ul>"])
