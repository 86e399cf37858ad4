"""`tinygpt compare`: models side by side, in the same units and on the same bytes."""

from pathlib import Path

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import ConfigError

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=options.MODEL)
@click.option(
    "--text",
    "text_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A text to score; several may be given. Its first line (at most 256 bytes) is the "
    "unscored prefix.  [default: the held-out part of the first run's corpus, and python-docs]",
)
@click.option(
    "--unknown",
    type=click.Choice(["escape", "refuse"]),
    default="escape",
    show_default=True,
    help="Characters that a character model lacks: pay for them by the escape code, or refuse.",
)
@click.option(
    "--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Also write Markdown."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write one self-contained page with pictures; it works offline.",
)
@click.option(
    "--ladder",
    "ladder_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="What `tinygpt ladder` wrote: its staircase becomes a section of the page (--html).",
)
@shared_options.options("bytes")
@shared_options.engine("engine", "precision", "device", "threads", "allow_pickle")
@shared_options.options("json", "quiet")
def command(
    models: tuple[str, ...],
    text_files: tuple[Path, ...],
    n_bytes: int | None,
    unknown: str,
    markdown: Path | None,
    html: Path | None,
    ladder_folder: Path | None,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put MODELs side by side: what they are, what they cost, how well they predict.

    A MODEL is a run folder, a Hugging Face folder or a hub name such as distilgpt2.
    """
    from tinygpt.cli.progress import working
    from tinygpt.comparison.compare import compare, default_texts
    from tinygpt.evaluation.eval_texts import text_file
    from tinygpt.inference.load import open_model
    from tinygpt.ladder.results import read_ladder
    from tinygpt.report import comparison_page, to_markdown, to_terminal

    console.refuse_unwritable(markdown, html)
    if ladder_folder is not None and html is None:
        raise ConfigError("--ladder is drawn on the page alone; add --html comparison.html")
    ladder = None if ladder_folder is None else read_ladder(ladder_folder)
    texts = [text_file(path, n_bytes) for path in text_files]
    with working(quiet) as tell:
        opened = []
        for name in models:
            tell(f"opening {name}", 0.0)
            opened.append(open_model(name, engine_options))
        comparison = compare(
            opened,
            texts or default_texts(opened, n_bytes),
            escape_unknown=unknown == "escape",
            progress=tell,
        )
    for model in opened:
        for note in getattr(model, "notes", ()):
            console.say(f"note: {note}", quiet=quiet)
    if markdown is not None:
        console.write_file(markdown, to_markdown(comparison))
        console.say(f"written: {markdown}", quiet=quiet)
    if html is not None:
        console.write_file(html, comparison_page(comparison, ladder))
        console.say(f"written: {html}", quiet=quiet)
    if as_json:
        console.json_document(comparison.to_dict())
    else:
        console.show(to_terminal(comparison))
    page = f"tinygpt compare {' '.join(map(console.word, models))} --html comparison.html"
    inspect = f"tinygpt inspect {console.word(models[0])}"
    console.next_commands(page if html is None else inspect, quiet=quiet)
