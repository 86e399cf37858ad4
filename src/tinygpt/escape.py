"""Makes text from models, files and users safe to show: it may hold anything."""

import unicodedata

__all__ = ["markdown", "printable", "visible"]

_KEPT = "\n\t"
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;"}
    | {mark: f"\\{mark}" for mark in "\\*_[]#~"}
)


def printable(text: str) -> str:
    r"""Write control and bidi characters as escapes, so that no terminal obeys them.

    Newline and tab stay.

    Example:
        >>> print(printable("a\x1b[31mb"))
        a\x1b[31mb
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in _KEPT and (unicodedata.category(c) in ("Cc", "Cs") or c in _BIDI)
        else c
        for c in text
    )


def visible(text: str) -> str:
    """Write a short text on one line: newline as ⏎, tab as →, the rest as `printable`."""
    return printable(text.replace("\n", "⏎").replace("\t", "→"))


def markdown(text: str) -> str:
    """Escape one line for a Markdown table cell: no markup, no HTML, no column border."""
    return visible(text).translate(_MARKDOWN)
