"""Draws results: a Comparison, a Ladder or a Lens for the terminal, as Markdown, as an HTML page.

In: results, which are plain data. Out: texts and pages; nothing is measured here, and nothing below
imports it. What draws is imported when it is first used: a server that only wants the style sheet
should not wait for rich. Open write.py first, then comparison/rows.py; charts/ is what all share.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygpt.report.comparison.html import comparison_page
    from tinygpt.report.write import to_html, to_markdown, to_terminal, write_html

__all__ = ["comparison_page", "to_html", "to_markdown", "to_terminal", "write_html"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tinygpt.report' has no attribute {name!r}")
    home = "comparison.html" if name == "comparison_page" else "write"
    return getattr(importlib.import_module(f"tinygpt.report.{home}"), name)
