"""Draws results: a Comparison, a Ladder or a Lens for the terminal, as a file, for notebooks.

In: results, which are plain data. Out: texts and pages; nothing is measured here. What draws is
imported when it is first used: it knows what it draws, and that knows torch, which whoever only
wants the style sheet should not wait for. Open comparison/rows.py first; charts/ is what all share.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygpt.report.comparison.html import comparison_fragment, comparison_page
    from tinygpt.report.comparison.markdown import comparison_markdown
    from tinygpt.report.comparison.terminal import comparison_renderable
    from tinygpt.report.ladder.html import ladder_page
    from tinygpt.report.lens.html import lens_fragment, lens_page
    from tinygpt.report.lens.terminal import LensPicture

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
    "LensPicture": "lens.terminal",
    "comparison_fragment": "comparison.html",
    "comparison_markdown": "comparison.markdown",
    "comparison_page": "comparison.html",
    "comparison_renderable": "comparison.terminal",
    "ladder_page": "ladder.html",
    "lens_fragment": "lens.html",
    "lens_page": "lens.html",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tinygpt.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tinygpt.report.{_HOMES[name]}"), name)
