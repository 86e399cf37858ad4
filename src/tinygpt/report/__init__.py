"""Draws results: a Comparison for the terminal, as Markdown, for notebooks. Measures nothing."""

from tinygpt.report.markdown import comparison_markdown
from tinygpt.report.notebook import comparison_fragment
from tinygpt.report.terminal import comparison_renderable

__all__ = ["comparison_fragment", "comparison_markdown", "comparison_renderable"]
