"""A Comparison as Markdown that reads well on a forge."""

from tinygpt.comparison import Comparison
from tinygpt.escape import markdown, printable
from tinygpt.report.rows import footnotes, sections, title

__all__ = ["comparison_markdown", "comparison_table"]


def comparison_markdown(comparison: Comparison) -> str:
    """Return comparison.md: the table, what it rests on, samples, and the rules applied."""
    machine = ", ".join(f"{key} {markdown(str(v))}" for key, v in comparison.machine.items())
    lines = [f"# {markdown(title(comparison))}", "", comparison_table(comparison), ""]
    lines += [f"- {markdown(note)}" for note in footnotes(comparison)]
    lines += [
        f"- Measured {comparison.created} with tinygpt {comparison.tinygpt_version}: {machine}"
    ]
    samples = [
        (model, sample)
        for model in comparison.models
        for sample in model.samples
        if sample.text is not None
    ]
    if samples:
        lines += ["", "## Samples"]
    for model, sample in samples:
        head = f"{model.name}, seed {sample.seed}, temperature {sample.temperature}"
        body = printable(sample.prompt + (sample.text or ""))
        lines += ["", f"**{markdown(head)}**", "", *(f"    {line}" for line in body.split("\n"))]
    lines += ["", "## Rules that were applied", "", *(f"- {rule}" for rule in comparison.rules), ""]
    return "\n".join(lines)


def comparison_table(comparison: Comparison) -> str:
    """Return the table alone."""
    names = [markdown(model.name) for model in comparison.models]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for section in sections(comparison):
        lines.append(f"| **{markdown(section.title)}** |" + " |" * len(names))
        for row in section.rows:
            cells = [markdown(cell) for cell in (row.label, *row.values)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
