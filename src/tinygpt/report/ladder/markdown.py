"""A Ladder as Markdown that reads well on a forge."""

from tinygpt.escape import markdown
from tinygpt.ladder.results import Ladder
from tinygpt.report.ladder.rows import COLUMNS, cells, ladder_notes, ladder_title
from tinygpt.report.ladder.stairs import stairs
from tinygpt.report.ladder.terminal import ladder_bar

__all__ = ["ladder_markdown"]

_BAR = 40  # characters


def ladder_markdown(ladder: Ladder) -> str:
    """Return the staircase, what changed on each step, the table of costs and the notes."""
    steps = stairs(ladder)
    most = max((step.bits for step in steps if step.bits is not None), default=0.0)
    labels = max((len(step.label) for step in steps), default=0)
    values = max((len(step.value) for step in steps), default=0)
    picture = [
        f"{step.label:{labels}}  {step.value:>{values}} "
        + ("no quality" if step.bits is None else ladder_bar(step.bits, most, _BAR))
        for step in steps
    ]
    lines = [f"# {markdown(ladder_title(ladder))}", "", "Bits per byte, less is better:", ""]
    lines += ["```text", *picture, "```", "", "| rung | what changed |", "|---|---|"]
    for step in steps:
        change = (
            step.change if step.missing is None else f"{step.change}; no quality: {step.missing}"
        )
        lines.append(f"| {markdown(step.label)} | {markdown(change)} |")
    titles = [title.replace("\n", " ") for title in COLUMNS]
    lines += ["", "| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    for number, rung in enumerate(ladder.rungs, 1):
        lines.append("| " + " | ".join(markdown(cell) for cell in cells(rung, number)) + " |")
    lines += ["", *(f"- {markdown(note)}" for note in ladder_notes(ladder)), ""]
    return "\n".join(lines)
