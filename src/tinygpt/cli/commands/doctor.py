"""`tinygpt doctor FILE`: label the keys of a mixed config, name contradictions, split it."""

import sys
from pathlib import Path
from typing import Any

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.doctor.build import NO_SIZES
from tinygpt.doctor.diagnose import Diagnosis, KeyReport, diagnose
from tinygpt.doctor.fields import Computed, placed
from tinygpt.doctor.file import MAX_BYTES, ConfigFile, parse_config, read_config_file
from tinygpt.doctor.split import Split
from tinygpt.doctor.write import write_split
from tinygpt.errors import ConfigError
from tinygpt.escape import visible

__all__ = ["command"]

MEANING_COLUMNS = 36
"""What must be left for the last column of the table; a narrower terminal gets a list."""

VALUE_COLUMNS, KEY_COLUMNS = 30, 28
"""Columns of the table's values, and of the list's keys, at most."""

_OF_A_MODEL = ("training.json", "model.safetensors", "tokenizer.json")
"""Beside one of these no split is made: the folder is a model's."""

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
@click.argument("file", metavar="FILE|-", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write config.json, generation_config.json and training.json (without a vocab_size: "
    "run.toml) into a new folder, from which `tinygpt train --config` trains.",
)
@shared_options.options("json", "quiet")
def command(file: Path, folder: Path | None, as_json: bool, quiet: bool) -> None:
    """Say where each key of a config belongs, what contradicts what, and split it.

    FILE is JSON (an HF config.json, TrainingArguments, a run's training.json ...), Python (nanoGPT
    and minGPT settings, dicts, config classes; read, never run), TOML or YAML, flat or with tables
    in tables. - reads it from stdin, also out of a ``` block.
    """
    source = _from_stdin() if str(file) == "-" else read_config_file(file)
    diagnosis = diagnose(source)
    split = diagnosis.split()
    written: list[Path] = []
    if folder is not None:
        broken = {r for reasons in split.reasons.values() for r in reasons if r != NO_SIZES}
        if broken:  # a contradiction that stops no file is shown, and the rest is written
            others = [fault for fault in diagnosis.contradictions if fault not in broken]
            every = "; ".join([*sorted(broken), *others])
            raise ConfigError(f"{source.name} is not split: {every}")
        written = write_split(split, folder)
    if as_json:
        head = {"file": source.name, "language": source.language}
        paths = [str(path) for path in written]
        console.json_document({**head, **diagnosis.to_dict(), "written": paths})
    else:
        console.show(*_renderables(source, diagnosis, split))
    for path in written:
        console.say(f"wrote {path}", quiet=quiet)
    if folder is not None:
        console.next_commands(_training(folder, split), quiet=quiet)
    elif not split.reasons:
        console.next_commands(_writing(file), quiet=quiet)


def _from_stdin() -> ConfigFile:
    return parse_config(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin")


def _writing(file: Path) -> str:
    """Return the call that writes the split of a file into a folder that does not exist yet."""
    target = Path("split") if str(file) == "-" else file.with_suffix("")
    home = file.parent
    if str(file) != "-" and any((home / name).exists() for name in _OF_A_MODEL):
        beside = Path("..") if home.resolve() == Path.cwd() else Path()
        target = beside / f"{home.resolve().name}-split"
    if target.exists():
        target = target.with_name(f"{target.name}-split")
    return f"tinygpt doctor {console.word(str(file))} --write {console.word(str(target))}"


def _training(folder: Path, split: Split) -> str:
    """Return the call that trains what was written."""
    from tinygpt.data.corpora import NAMED

    corpus = "" if split.corpus_config is None else split.corpus_config.corpus
    there = corpus in NAMED or Path(corpus).exists()
    more = "" if there else " --corpus FILE"
    return f"tinygpt train --config {console.word(str(folder))}{more}"


def _renderables(source: ConfigFile, diagnosis: Diagnosis, split: Split) -> list[Any]:
    from rich.text import Text

    title = Text(f"{visible(source.name)} ({source.language})", style="bold")
    keys = _list(diagnosis) if _is_narrow(diagnosis) else _table(diagnosis)
    return [
        title,
        keys,
        *_section("Contradictions", list(diagnosis.contradictions), "red"),
        *_section("Notes", list(diagnosis.notes), "yellow"),
        *_section("The split", _split_lines(diagnosis, split), "cyan"),
    ]


def _split_lines(diagnosis: Diagnosis, split: Split) -> list[str]:
    """Say what goes into which file: the settings that the config gives, and how many it leaves."""
    values, _ = placed({key.key: key.value for key in diagnosis.keys})
    given = {place.partition(".")[2] for place in values}
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
        grid.add_row(" -", Text(visible(line), overflow="fold"))
    return ["", Text(title, style=f"bold {style}"), grid]


def _is_narrow(diagnosis: Diagnosis) -> bool:
    """Say whether names and values would leave too little for the meaning beside them."""
    names = [
        max(map(len, column), default=0)
        for column in (
            [visible(key.key) for key in diagnosis.keys],
            [_value(key)[:VALUE_COLUMNS] for key in diagnosis.keys],
            [label for key in diagnosis.keys for label in key.labels],
            [name for key in diagnosis.keys for name in (key.hf_name or "").split(", ")],
        )
    ]
    borders = 3 * (len(names) + 1) + 1
    return sum(names) + borders + MEANING_COLUMNS > console.width()


def _table(diagnosis: Diagnosis) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("key", "value", "is", "HF's name", "meaning"):
        whole = column not in ("value", "meaning")
        most = VALUE_COLUMNS if column == "value" else None
        table.add_column(column, overflow="fold", no_wrap=whole, max_width=most)
    for key in diagnosis.keys:
        labels = Text("\n").join(Text(label, style=_STYLES[label]) for label in key.labels)
        hf_name = (key.hf_name or "-").replace(", ", "\n")
        table.add_row(
            Text(visible(key.key)),
            Text(_value(key)),
            labels,
            Text(console.printable(hf_name)),
            Text(visible(key.meaning)),
        )
    return table


def _list(diagnosis: Diagnosis) -> Any:
    """Draw the same on a narrow terminal: two lines for a key."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[Any] = []
    wide = min(KEY_COLUMNS, max(len(visible(key.key)) for key in diagnosis.keys))
    for key in diagnosis.keys:
        head = Text(f"{visible(key.key):{wide}} {_value(key)}", style="bold", overflow="fold")
        for label in key.labels:
            head.append(f"  {label}", style=f"not bold {_STYLES[label]}")
        if key.hf_name and key.hf_name != key.key:
            head.append(f"  HF: {visible(key.hf_name)}", style="not bold")
        parts += [head, Padding(Text(visible(key.meaning), style="dim"), (0, 0, 0, 4))]
    return Group(*parts)


def _value(key: KeyReport) -> str:
    """Write a value as JSON shows it, and what is computed without quotes."""
    if isinstance(key.value, Computed):
        return visible(str(key.value))
    return console.short_json(key.value)
