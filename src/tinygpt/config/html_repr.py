"""HTML tables for notebooks: `_repr_html_` of configs, results and runs. Standard library only.

Every text is escaped: names and settings may come from files of anybody.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from tinygpt.config.schema import field_docs
from tinygpt.escape import visible

__all__ = ["fields_html", "table_html"]

_LONGEST = 200
"""Characters of a value that are shown."""


def fields_html(record: Any) -> str:
    """Return a dataclass instance as a table: field, value, and the docstring under the field."""
    cls: type = type(record)
    docs = field_docs(cls)
    rows = [
        (field.name, _shown(getattr(record, field.name)), docs.get(field.name, ""))
        for field in fields(record)
    ]
    return table_html(cls.__name__, rows, head=("field", "value", "meaning"))


def table_html(
    caption: str, rows: Iterable[Sequence[str]], *, head: Sequence[str] | None = None
) -> str:
    """Return a table of texts, left-aligned, escaped; the first cell of a row is its header."""
    lines = ["<table>", f"<caption>{_text(caption)}</caption>"]
    if head is not None:
        lines.append(_row(f"<th{_LEFT}>{_text(name)}</th>" for name in head))
    for first, *rest in rows:
        cells = [f"<td{_LEFT}>{_text(cell)}</td>" for cell in rest]
        lines.append(_row([f"<th{_LEFT}>{_text(first)}</th>", *cells]))
    return "\n".join([*lines, "</table>"])


_LEFT = ' style="text-align: left"'


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _text(text: str) -> str:
    return html.escape(visible(text))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
