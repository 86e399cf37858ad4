"""A Comparison as Markdown that reads well on a forge."""

from tinygpt.comparison.config_diff import ConfigKey
from tinygpt.comparison.result import Comparison
from tinygpt.escape import markdown, printable
from tinygpt.report.comparison.notes import footnotes, verdicts
from tinygpt.report.comparison.rows import sections, sentences, title

__all__ = ["comparison_markdown"]


def comparison_markdown(comparison: Comparison) -> str:
    """Return comparison.md: the table, what it is worth, samples, configs, the rules applied."""
    machine = ", ".join(f"{key} {markdown(str(v))}" for key, v in comparison.machine.items())
    first = markdown(comparison.texts[0].name)
    lines = [f"# {markdown(title(comparison))}", "", _comparison_table(comparison)]
    lines += _list(f"Verdict on {first}", verdicts(comparison))
    lines += ["", "## What it rests on", "", *(f"- {markdown(n)}" for n in footnotes(comparison))]
    lines += [
        f"- Measured {comparison.created} with tinygpt {comparison.tinygpt_version}: {machine}"
    ]
    lines += _list("The same words, cut into tokens", sentences(comparison))
    lines += _samples(comparison)
    lines += _keys(comparison)
    rules = [markdown(rule) for rule in comparison.rules]
    lines += ["", "## Rules that were applied", "", *(f"- {rule}" for rule in rules), ""]
    return "\n".join(lines)


def _list(head: str, found: list[tuple[str, str]]) -> list[str]:
    """Return what is said of each model as a section, or nothing."""
    if not found:
        return []
    said = [f"- **{markdown(name)}**: {markdown(text)}" for name, text in found]
    return ["", f"## {head}", "", *said]


def _samples(comparison: Comparison) -> list[str]:
    lines = []
    for model in comparison.models:
        for sample in model.samples:
            if sample.text is not None:
                head = f"{model.name}, seed {sample.seed}, temperature {sample.temperature}"
                body = printable(sample.prompt + sample.text).split("\n")
                lines += ["", f"**{markdown(head)}**", "", *(f"    {line}" for line in body)]
    return ["", "## Samples", *lines] if lines else []


def _keys(comparison: Comparison) -> list[str]:
    """Return every key of the configs with the doctor's labels, the differing ones first."""
    names = [markdown(model.name) for model in comparison.models]

    def row(key: ConfigKey) -> str:
        values = [markdown("-" if value is None else value) for value in key.values]
        mark = "**" if key.differs else ""
        cells = [f"{mark}{markdown(key.key)}{mark}", *values, ", ".join(key.labels), key.file]
        return "| " + " | ".join([*cells, markdown(key.meaning)]) + " |"

    columns = ["key", *names, "label", "file", "meaning"]
    head = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    about = "Every key of every file, labelled by the doctor; those that differ first, in bold."
    return ["", "## Config, key by key", "", about, "", *head, *map(row, comparison.config_keys)]


def _comparison_table(comparison: Comparison) -> str:
    """Return the table alone."""
    names = [markdown(model.name) for model in comparison.models]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]
    for section in sections(comparison):
        lines.append(f"| **{markdown(section.title)}** |" + " |" * len(names))
        for row in section.rows:
            cells = [markdown(cell) for cell in (row.label, *row.values)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
