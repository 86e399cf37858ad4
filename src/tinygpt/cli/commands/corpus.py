"""`tinygpt corpus show NAME`: fetch a named corpus and say what is in it."""

from typing import Any

import click

from tinygpt.cli import console, options, shared_options

__all__ = ["command"]

FIRST_CHARACTERS = 240


@click.group()
def command() -> None:
    """Fetch and describe a named corpus."""


@command.command(cls=options.Verb, short_help="Fetch a corpus and describe it.")
@click.argument("name", type=options.TEXTS)
@shared_options.options("json", "quiet")
def show(name: str, as_json: bool, quiet: bool) -> None:
    """Fetch NAME (a named corpus, or a file or folder of .txt) and describe it.

    The named ones are tinyshakespeare, shakespeare and python-docs.
    """
    from tinygpt.cli.progress import working
    from tinygpt.data.corpora import load_corpus

    with working(quiet) as tell:
        corpus = load_corpus(name, progress=tell)
    if corpus.note:
        console.say(corpus.note, quiet=quiet)
    description = {
        "name": corpus.name,
        "n_characters": len(corpus.text),
        "n_bytes": corpus.n_bytes,
        "n_distinct": len(corpus.characters),
        "sha256": corpus.sha256,
        "source": corpus.source,
        "begins": corpus.part(0, FIRST_CHARACTERS),
    }
    if as_json:
        console.json_document(description)
    else:
        console.show(*_renderables(description, corpus.characters))
    console.next_commands(f"tinygpt train --corpus {console.word(name)}", quiet=quiet)


def _renderables(description: dict[str, Any], characters: str) -> list[Any]:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    n_characters, n_bytes = description["n_characters"], description["n_bytes"]
    shown = console.printable(characters.replace("\n", "⏎").replace("\t", "→").replace(" ", "␠"))
    rows = {
        "source": str(description["source"]),
        "characters": f"{n_characters:,}",
        "bytes (UTF-8)": f"{n_bytes:,}",
        "distinct": f"{description['n_distinct']:,}  {shown[:200]}",
        "sha256": str(description["sha256"]),
    }
    table = Table(
        title=Text(console.printable(str(description["name"])), style="bold"),
        title_justify="left",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(console.printable(value)))
    begins = Text(console.printable(str(description["begins"])).rstrip("\n"))
    return [table, Text("begins", style="dim"), Padding(begins, (0, 0, 0, 2))]
