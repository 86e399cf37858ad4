"""Draws results: a Comparison, a Ladder or a Lens for the terminal, as a file, for notebooks.

Measures nothing. What draws is imported when it is first used: it knows what it draws, and that
knows torch, which whoever only wants the style sheet should not wait for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygpt.report.html import comparison_page
    from tinygpt.report.ladder_html import ladder_page
    from tinygpt.report.lens_html import lens_fragment, lens_page
    from tinygpt.report.lens_terminal import LensPicture
    from tinygpt.report.markdown import comparison_markdown
    from tinygpt.report.notebook import comparison_fragment
    from tinygpt.report.terminal import comparison_renderable

__all__ = [
    "LensPicture",
    "comparison_fragment",
    "comparison_markdown",
    "comparison_page",
    "comparison_renderable",
    "ladder_page",
    "lens_fragment",
    "lens_page",
]

_HOMES = {
    "LensPicture": "lens_terminal",
    "comparison_fragment": "notebook",
    "comparison_markdown": "markdown",
    "comparison_page": "html",
    "comparison_renderable": "terminal",
    "ladder_page": "ladder_html",
    "lens_fragment": "lens_html",
    "lens_page": "lens_html",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tinygpt.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tinygpt.report.{_HOMES[name]}"), name)
