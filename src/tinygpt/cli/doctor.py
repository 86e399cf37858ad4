"""`tinygpt doctor FILE`: label the keys of a mixed config, name contradictions, split it."""

from pathlib import Path
from typing import Any

import click

from tinygpt.cli import console, options
from tinygpt.config_split import NO_SIZES
from tinygpt.doctor import Diagnosis, examine, read_flat_config, write_split
from tinygpt.errors import ConfigError

__all__ = ["command"]

WIDE = 100
"""Columns from which the five columns of the table are readable."""

_STYLES = {
    "architecture": "cyan",
    "tokenizer": "blue",
    "data": "green",
    "training": "magenta",
    "generation": "yellow",
    "runtime": "dim",
    "dead": "red",
}


@click.command(cls=options.Verb)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write config.json, generation_config.json and training.json into a new folder.",
)
@options.common("json", "quiet")
def command(file: Path, folder: Path | None, as_json: bool, quiet: bool) -> None:
    """Say where each key of a config (a JSON file) belongs, what contradicts what, and split it."""
    diagnosis = examine(read_flat_config(file))
    written: list[Path] = []
    if folder is not None:
        split = diagnosis.split()
        broken = {r for reasons in split.reasons.values() for r in reasons if r != NO_SIZES}
        if broken:  # a contradiction that stops no file is shown, and the rest is written
            raise ConfigError(f"{file} is not split: {'; '.join(sorted(broken))}")
        written = write_split(split, folder)
    if as_json:
        paths = [str(path) for path in written]
        console.json_document({"file": str(file), **diagnosis.to_dict(), "written": paths})
    else:
        console.show(*_renderables(file, diagnosis))
    for path in written:
        console.say(f"wrote {path}", quiet=quiet)
    if folder is None and not diagnosis.split().reasons:
        target = console.word(str(file.with_suffix("")))
        again = f"tinygpt doctor {console.word(str(file))} --write {target}"
        console.next_commands(again, quiet=quiet)
    elif folder is not None and (folder / "config.json").exists():
        console.next_commands(f"tinygpt inspect {console.word(str(folder))}", quiet=quiet)


def _renderables(file: Path, diagnosis: Diagnosis) -> list[Any]:
    from rich.text import Text

    title = Text(console.printable(str(file)), style="bold")
    keys = _table(diagnosis) if console.width() >= WIDE else _list(diagnosis)
    return [
        title,
        keys,
        *_section("Contradictions", list(diagnosis.contradictions), "red"),
        *_section("Notes", list(diagnosis.notes), "yellow"),
        *_section("The split", _split_lines(diagnosis), "cyan"),
    ]


def _split_lines(diagnosis: Diagnosis) -> list[str]:
    """Say what goes into which file: the settings that the config gives, and how many it leaves."""
    split = diagnosis.split()
    given = {
        place.partition(".")[2] for key in diagnosis.keys for place in (key.ours or "").split(", ")
    }
    lines = []
    for name, content in split.files().items():
        own = [
            field
            for key, value in content.items()
            for field in (value if isinstance(value, dict) else (key,))
        ]
        named = [field for field in own if field in given]
        rest = len(own) - len(named)
        lines.append(f"{name}: {', '.join(named) or 'nothing of it'} (and {rest} defaults)")
    for name, reasons in split.reasons.items():
        others = [reason for reason in reasons if reason not in diagnosis.contradictions]
        lines.append(f"{name}: can't be made: {'; '.join(others) or 'see the contradictions'}")
    if split.left_over:
        lines.append(f"in no file: {', '.join(split.left_over)}")
    return lines


def _section(title: str, lines: list[str], style: str) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    if not lines:
        return []
    grid = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        grid.add_row(" -", Text(console.printable(line)))
    return ["", Text(title, style=f"bold {style}"), grid]


def _table(diagnosis: Diagnosis) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("key", "value", "is", "HF's name", "meaning"):
        table.add_column(column, overflow="fold")
    for key in diagnosis.keys:
        labels = Text("\n").join(Text(label, style=_STYLES[label]) for label in key.labels)
        table.add_row(
            Text(console.printable(key.key)),
            Text(console.short_json(key.value)),
            labels,
            Text((key.hf_name or "-").replace(", ", "\n")),
            Text(console.printable(key.meaning)),
        )
    return table


def _list(diagnosis: Diagnosis) -> Any:
    """Draw the same on a narrow terminal: two lines for a key."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[Any] = []
    for key in diagnosis.keys:
        head = Text(f"{console.printable(key.key)} {console.short_json(key.value)}", style="bold")
        for label in key.labels:
            head.append(f"  {label}", style=f"not bold {_STYLES[label]}")
        if key.hf_name:
            head.append(f"  HF: {key.hf_name}", style="not bold")
        parts += [head, Padding(Text(console.printable(key.meaning), style="dim"), (0, 0, 0, 4))]
    return Group(*parts)
