"""A Comparison for the terminal."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tinygpt.comparison.result import Comparison
from tinygpt.escape import printable, visible
from tinygpt.report.comparison.notes import footnotes, verdicts
from tinygpt.report.comparison.rows import config_rows, sections, sentences, title
from tinygpt.report.comparison.table import Section

__all__ = ["comparison_renderable"]

MODEL_STYLES = ("cyan", "yellow", "green", "magenta", "blue")
"""One colour per model, in order, throughout."""


def comparison_renderable(comparison: Comparison) -> RenderableType:
    """Return the table, verdict, notes and samples, for a rich console."""
    table = Table(title=title(comparison), title_style="bold", show_lines=False, expand=False)
    table.add_column("", style="bold", no_wrap=False, min_width=16)
    for i, model in enumerate(comparison.models):
        style = MODEL_STYLES[i % len(MODEL_STYLES)]
        table.add_column(Text(visible(model.name)), style=style, overflow="fold")
    keys = Section("Config keys that differ, by the doctor's label", config_rows(comparison))
    for section in [*sections(comparison), *([keys] if keys.rows else [])]:
        table.add_section()
        table.add_row(Text(section.title, style="dim italic"))
        for row in section.rows:
            table.add_row(Text(row.label), *(Text(value) for value in row.values))
    parts: list[RenderableType] = [table]
    parts += _paragraphs(f"Verdict on {visible(comparison.texts[0].name)}", verdicts(comparison))
    parts += _paragraphs("The same words, cut into tokens", sentences(comparison))
    parts.append(Text("\nNotes", style="bold"))
    parts += [Text(f"- {note}", style="dim") for note in footnotes(comparison)]
    for i, model in enumerate(comparison.models):
        style = MODEL_STYLES[i % len(MODEL_STYLES)]
        for sample in model.samples:
            if sample.text is None:
                continue
            head = f"\n{visible(model.name)}, seed {sample.seed}, temperature {sample.temperature}"
            parts.append(Text(head, style=f"bold {style}"))
            shown = Text(printable(sample.prompt), style="dim") + Text(printable(sample.text))
            parts.append(Padding(shown, (0, 0, 0, 2)))
    return Group(*parts)


def _paragraphs(head: str, found: list[tuple[str, str]]) -> list[RenderableType]:
    """Return what is said of each model below a heading, or nothing."""
    if not found:
        return []
    lines = [Text.assemble((f"{name}: ", "bold"), said) for name, said in found]
    return [Text(f"\n{head}", style="bold"), *(Padding(line, (0, 0, 0, 2)) for line in lines)]
