"""A Lens for the terminal: text coloured by surprise, or with the bits written below it.

Line by line, one row for each model and one for their difference, character under character. Where
there are no colours (a pipe, NO_COLOR) the rows hold numbers instead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tinygpt.comparison.lens_result import Lens, Stretch
from tinygpt.escape import visible
from tinygpt.report.lens.cells import (
    DIFFERENCE_BOUNDS,
    LETTERS,
    SURPRISE_BOUNDS,
    Cell,
    bounds_text,
    difference_cells,
    glyph,
    notes,
    spaced,
    surprise_cells,
    telling,
)
from tinygpt.report.lens.colours import TERMINAL

__all__ = ["LensPicture"]

_MODELS = ("bold #35978f", "bold #9970ab")
_MARGIN = 3
_BEFORE = 10  # characters shown before a telling place


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the picture: its label and, per character, the style or the sign below it."""

    label: str
    styles: Sequence[str]
    signs: Sequence[str]


class LensPicture:
    """What a rich console shows of a Lens."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield totals, legend, the text line by line, the most telling places, notes."""
        lens, plain = self._lens, console.no_color or console.color_system is None
        yield _totals(lens)
        yield ""
        yield from _plain_legend(lens) if plain else _legend(lens)
        yield ""
        glyphs = [_narrow(c) if plain else glyph(c) for c in lens.text]
        rows = _rows(lens, glyphs)
        for begin, end in _lines(lens.text, glyphs, max(8, options.max_width - _MARGIN)):
            yield from _line(glyphs, rows, begin, end, plain)
        yield ""
        yield _telling_table(lens)
        for note in notes(lens):
            yield Text(f"- {note}", style="dim")


def _totals(lens: Lens) -> Table:
    title = Text(f"Where {_whose(lens)} surprised", style="bold")
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("bits per byte", "bits", "tokens", "context"):
        table.add_column(name, justify="right")
    for letter, style, view in zip(LETTERS, _MODELS, lens.views, strict=False):
        e = view.evaluation
        table.add_row(
            Text(f"{letter}  {visible(view.name)}", style=style),
            f"{e.bits_per_byte:.4f}",
            f"{view.bits:,.1f}",
            f"{e.n_tokens:,}",
            f"{e.context:,}, stride {e.stride:,}",
        )
    if len(lens.views) > 1:
        a, b = lens.views
        n = a.evaluation.n_bytes
        table.add_row("B - A", f"{(b.bits - a.bits) / n:+.4f}", f"{b.bits - a.bits:+,.1f}")
    return table


def _whose(lens: Lens) -> str:
    names = [visible(view.name) for view in lens.views]
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {names[1]} are"


def _legend(lens: Lens) -> Iterator[Text]:
    line = Text.assemble(("bits per character  ", "bold"))
    for level, words in enumerate(bounds_text(SURPRISE_BOUNDS)):
        line.append(f" {words} ", _style(f"l{level}"))
    yield line
    if len(lens.views) > 1:
        ranges = bounds_text(DIFFERENCE_BOUNDS)
        line = Text.assemble(("±  A pays less      ", "bold"))
        for level in range(-4, 5):
            line.append(f" {ranges[abs(level)]} ", _style(f"d{level}"))
        line.append("  B pays less", "bold")
        yield line
    yield Text("a token's bits are spread evenly over its characters", style="dim")


def _plain_legend(lens: Lens) -> Iterator[Text]:
    yield Text("below each character: bits of the token that begins there, rounded;")
    yield Text("a dot goes on with the token, + is a number with no room")
    if len(lens.views) > 1:
        yield Text("row ±: the model that pays at least one bit less for what stands above")


def _rows(lens: Lens, glyphs: Sequence[str]) -> list[_Row]:
    rows = []
    for letter, view in zip(LETTERS, lens.views, strict=False):
        cells = surprise_cells(lens, view)
        signs = [f"{cell.stretch.bits[0]:.0f}" for cell in cells]
        rows.append(
            _row(letter, cells, [_style(f"l{cell.level}") for cell in cells], signs, glyphs)
        )
    if len(lens.views) > 1:
        cells = difference_cells(lens)
        signs = [_winner(cell.stretch) for cell in cells]
        styles = [_style(f"d{cell.level}") for cell in cells]
        rows.append(_row("±", cells, styles, signs, glyphs))
    return rows


def _row(
    label: str,
    cells: Sequence[Cell],
    styles: Sequence[str],
    signs: Sequence[str],
    glyphs: Sequence[str],
) -> _Row:
    """Spread style and sign of each cell over its characters."""
    by_character: list[str] = []
    below: list[str] = []
    for cell, style, sign in zip(cells, styles, signs, strict=True):
        widths = [cell_len(g) for g in glyphs[len(below) : len(below) + len(cell.stretch.text)]]
        line = (sign if len(sign) <= sum(widths) else "+").ljust(sum(widths), "." if sign else " ")
        for width in widths:
            below.append(line[:width])
            line = line[width:]
            by_character.append(style)
    return _Row(label, by_character, below)


def _style(level: str) -> str:
    back, text = TERMINAL.get(level, ("", ""))
    return f"{text} on {back}" if back else ""


def _winner(stretch: Stretch) -> str:
    first, second = stretch.bits
    return "" if abs(first - second) < 1 else LETTERS[first > second]


def _lines(text: str, glyphs: Sequence[str], width: int) -> Iterator[tuple[int, int]]:
    """Cut the characters into lines of at most `width` columns, also after newlines."""
    begin, used = 0, 0
    for i, shown in enumerate(glyphs):
        if used + cell_len(shown) > width and i > begin:
            yield begin, i
            begin, used = i, 0
        used += cell_len(shown)
        if text[i] == "\n" and text[i + 1 : i + 2] != "\n":
            yield begin, i + 1
            begin, used = i + 1, 0
    if begin < len(glyphs):
        yield begin, len(glyphs)


def _line(
    glyphs: Sequence[str], rows: Sequence[_Row], begin: int, end: int, plain: bool
) -> Iterator[Text]:
    """Yield one line of the text, once for each row; plain: once, and the rows' signs below."""
    if plain:
        yield Text(" " * _MARGIN + "".join(glyphs[begin:end]), no_wrap=True)
    for row in rows:
        line = Text(row.label.ljust(_MARGIN), style="", no_wrap=True)
        for i in range(begin, end):
            line.append(row.signs[i] if plain else glyphs[i], "" if plain else row.styles[i])
        yield line
    if plain or len(rows) > 1:
        yield Text("")


def _narrow(character: str) -> str:
    """Return a glyph that takes at least one column, so that what stands below it has a place."""
    shown = glyph(character)
    return shown if cell_len(shown) else character.encode("unicode_escape").decode()


def _telling_table(lens: Lens) -> Table:
    two = len(lens.views) > 1
    title = "Where they differ most" if two else "The greatest surprises"
    table = Table(title=title, title_style="bold", title_justify="left")
    for name in ("byte", "text", *(f"{x}: bits" for x in LETTERS[: len(lens.views)])):
        table.add_column(name, justify="left" if name == "text" else "right", overflow="fold")
    for letter in LETTERS[: len(lens.views)]:
        table.add_column(f"{letter} expected", overflow="fold")
    for stretch in telling(lens):
        before = lens.text.encode()[: stretch.begin].decode()[-_BEFORE:]
        expected = []
        for view in lens.views:
            token = next(token for token in view.tokens if token.end > stretch.begin)
            best = [f"{spaced(a.token)} {a.probability:.0%}" for a in token.alternatives[:3]]
            expected.append(Text("  ".join(best) or "-"))
        table.add_row(
            f"{stretch.begin:,}",
            Text(f"...{spaced(before)}", style="dim") + Text(f"[{spaced(stretch.text)}]"),
            *(f"{bits:.1f}" for bits in stretch.bits),
            *expected,
        )
    return table
