"""Draws results: a Comparison, a Ladder or a Lens for the terminal, as a file, for notebooks.

Measures nothing.
"""

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
