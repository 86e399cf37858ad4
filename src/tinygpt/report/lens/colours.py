"""The colours of the lens, by level, as (background, text): on paper, at night, on a terminal.

Each ramp grows steadily darker, or at night brighter, so that it is read without telling hues
apart; the two sides of a difference are teal and purple, which colour-blind people tell apart.
Level 0 has no colour. Text keeps a contrast of 4.5 or more (WCAG 2.2, 1.4.3), which a test checks.
"""

__all__ = ["DARK", "LIGHT", "TERMINAL", "style_rules"]

_BLACK, _WHITE = "#000000", "#ffffff"

LIGHT = {
    "l1": ("#fff3cf", _BLACK),
    "l2": ("#fee391", _BLACK),
    "l3": ("#fec44f", _BLACK),
    "l4": ("#fe9929", _BLACK),
    "l5": ("#ec7014", _BLACK),
    "l6": ("#c24a02", _WHITE),
    "l7": ("#8f3104", _WHITE),
    "l8": ("#571d04", _WHITE),
    "d-4": ("#01564f", _WHITE),
    "d-3": ("#35978f", _BLACK),
    "d-2": ("#80cdc1", _BLACK),
    "d-1": ("#d0eeea", _BLACK),
    "d1": ("#ecdcf0", _BLACK),
    "d2": ("#c9addb", _BLACK),
    "d3": ("#a480bd", _BLACK),
    "d4": ("#6a1f78", _WHITE),
}
"""By class of a cell: l1 to l8 for surprise, d-4 to d4 for a difference (below 0: A pays less)."""

DARK = {
    "l1": ("#2b2618", _WHITE),
    "l2": ("#413512", _WHITE),
    "l3": ("#5c470b", _WHITE),
    "l4": ("#7c5c04", _WHITE),
    "l5": ("#b08210", _BLACK),
    "l6": ("#d9a32b", _BLACK),
    "l7": ("#f7cd66", _BLACK),
    "l8": ("#fff4cc", _BLACK),
    "d-4": ("#9af5e6", _BLACK),
    "d-3": ("#3fa89e", _BLACK),
    "d-2": ("#1d625a", _WHITE),
    "d-1": ("#143733", _WHITE),
    "d1": ("#38233f", _WHITE),
    "d2": ("#674078", _WHITE),
    "d3": ("#b488cb", _BLACK),
    "d4": ("#f0d2fa", _BLACK),
}

TERMINAL = {
    "l2": ("#66644e", _WHITE),
    "l3": ("#87712a", _WHITE),
    "l4": ("#c69026", _BLACK),
    "l5": ("#f0a030", _BLACK),
    "l6": ("#ff7840", _BLACK),
    "l7": ("#d7263d", _WHITE),
    "l8": ("#a01a7d", _WHITE),
    "d-4": ("#007a6c", _WHITE),
    "d-3": ("#1a9c8e", _BLACK),
    "d-2": ("#5d8a85", _BLACK),
    "d2": ("#8b7296", _BLACK),
    "d3": ("#ac62cc", _BLACK),
    "d4": ("#7d1fa8", _WHITE),
}
"""For a background that may be black or white: from grey to vivid; level 1 has no colour either."""


def style_rules() -> str:
    """Return the CSS rules of all levels, in the light and in the dark."""
    return f"{_rules(LIGHT)}@media screen and (prefers-color-scheme: dark) {{\n{_rules(DARK)}}}\n"


def _rules(colours: dict[str, tuple[str, str]]) -> str:
    return "".join(
        f".{level} {{ background: {back}; color: {text} }}\n"
        for level, (back, text) in colours.items()
    )
