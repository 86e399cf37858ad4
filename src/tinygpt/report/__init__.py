"""Draws results: a Comparison as a terminal table or as Markdown. Measures nothing."""

from tinygpt.report.markdown import comparison_markdown
from tinygpt.report.terminal import comparison_renderable

__all__ = ["comparison_markdown", "comparison_renderable"]
