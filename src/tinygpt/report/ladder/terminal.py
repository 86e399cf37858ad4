"""A Ladder for the terminal: the staircase, the table of costs, the notes."""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tinygpt.ladder.results import Ladder
from tinygpt.report.ladder.rows import COLUMNS, cells, ladder_notes, ladder_title
from tinygpt.report.ladder.stairs import Stair, stairs

__all__ = ["LadderPicture", "ladder_bar"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_MOST_BAR = 60  # columns


class LadderPicture:
    """What a rich console shows of a Ladder."""

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the staircase, as wide as the console, the table of costs, the notes."""
        yield Text(ladder_title(self._ladder), style="bold")
        yield Text()
        steps = stairs(self._ladder)
        if not steps:
            yield Text("no rung is done yet")
            return
        indent = max(len(step.label) for step in steps) + 2
        values = max(len(step.value) for step in steps) + 1
        most = max((step.bits for step in steps if step.bits is not None), default=0.0)
        width = min(_MOST_BAR, options.max_width - indent - values - 1)
        for step in steps:
            yield from _step(step, indent, values, most, width)
        yield from (Text(), _table(self._ladder), Text())
        yield from (Text(f"- {note}", style="dim") for note in ladder_notes(self._ladder))


def ladder_bar(bits: float, most: float, width: int) -> str:
    """Return a bar of so many bits per byte, `most` being as wide as it gets."""
    eighths = max(1, round(8 * max(1, width) * bits / most))
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _step(step: Stair, indent: int, values: int, most: float, width: int) -> list[RenderableType]:
    line = Text(f"{step.label:{indent}}", style="bold")
    line.append(f"{step.value:>{values - 1}} ", style="bold cyan")
    if step.bits is not None:
        line.append(ladder_bar(step.bits, most, width), style="cyan")
    else:
        line.append("no quality", style="yellow")
    below: list[RenderableType] = [Padding(Text(step.change, style="dim"), (0, 0, 0, indent))]
    if step.missing is not None:
        below.append(Padding(Text(step.missing, style="yellow"), (0, 0, 0, indent)))
    return [line, *below]


def _table(ladder: Ladder) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for i, title in enumerate(COLUMNS):
        table.add_column(title, justify="right" if i else "left", no_wrap=True)
    for number, rung in enumerate(ladder.rungs, 1):
        table.add_row(*(Text(cell) for cell in cells(rung, number)))
    return table
