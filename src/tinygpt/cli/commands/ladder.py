"""`tinygpt ladder`: from TinyGPT to distilgpt2, one change at a time, each rung measured."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions

if TYPE_CHECKING:
    from tinygpt.ladder.results import Ladder

__all__ = ["command"]

DEFAULT_MINUTES = 1.0


@click.command(cls=options.Verb)
@click.option(
    "--minutes",
    type=click.FLOAT,
    help="Budget of each rung's training; beside another budget the most it may take.  "
    f"[default: {DEFAULT_MINUTES:g}, without another budget]",
)
@click.option("--train-bytes", type=click.INT, help="Equal bytes of training text instead.")
@click.option("--flops", type=click.FLOAT, help="Equal training FLOPs instead, such as 1e13.")
@click.option("--max-steps", type=click.INT, help="Equal optimizer steps instead.")
@click.option(
    "--seeds",
    "n_seeds",
    type=click.INT,
    default=1,
    show_default=True,
    help="Training runs of each rung; their median and range are shown.",
)
@click.option(
    "--rungs",
    "rungs_file",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="A list of rungs of your own: [[rung]] tables with a name and the changed keys.",
)
@click.option(
    "--corpus",
    "corpus_name",
    metavar="NAME|FILE|FOLDER",
    help="What is trained on; its last 10% are scored.  [default: tinyshakespeare, else the next]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/ladder"),
    show_default=True,
    help="Folder of the runs and of ladder.json; a ladder that is there already is gone on with.",
)
@click.option(
    "--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Also write Markdown."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write one self-contained page with the staircase; it works offline.",
)
@shared_options.options("bytes")
@shared_options.engine("device", "threads")
@shared_options.options("json", "quiet")
def command(
    minutes: float | None,
    train_bytes: int | None,
    flops: float | None,
    max_steps: int | None,
    n_seeds: int,
    rungs_file: Path | None,
    corpus_name: str | None,
    out: Path,
    markdown: Path | None,
    html: Path | None,
    n_bytes: int | None,
    engine_options: EngineOptions,
    as_json: bool,
    quiet: bool,
) -> int:
    """Climb from TinyGPT to distilgpt2, one change at a time, under an equal budget.

    Every rung is an ordinary run. Interrupted, the same command goes on where it stopped.
    """
    from tinygpt.cli.progress import climbing, working
    from tinygpt.cli.signals import stoppable
    from tinygpt.data.corpora import load_corpus, load_default_corpus
    from tinygpt.ladder.changes import DEFAULT_RUNGS, read_rungs
    from tinygpt.ladder.climb import climb
    from tinygpt.ladder.cost import Allowance
    from tinygpt.report import to_html, to_markdown, to_terminal

    console.refuse_unwritable(markdown, html)
    if minutes is None and train_bytes is None and flops is None and max_steps is None:
        minutes = DEFAULT_MINUTES
    allowance = Allowance(
        minutes=minutes, max_steps=max_steps, train_bytes=train_bytes, flops=flops
    )
    changes = DEFAULT_RUNGS if rungs_file is None else read_rungs(rungs_file)
    with working(quiet) as read:
        corpus = (
            load_default_corpus()
            if corpus_name is None
            else load_corpus(corpus_name, progress=read)
        )
    if corpus.note:
        console.say(corpus.note, quiet=quiet)
    with stoppable() as stop, climbing(quiet) as tell:
        *_, ladder = climb(
            changes,
            corpus,
            allowance,
            engine_options,
            out=out,
            n_seeds=n_seeds,
            n_bytes=n_bytes,
            stop=stop,
            progress=tell,
        )
    for path, draw in ((markdown, to_markdown), (html, to_html)):
        if path is not None:
            console.write_file(path, draw(ladder))
            console.say(f"written: {path}", quiet=quiet)
    if as_json:
        console.json_document(ladder.to_dict())
    else:
        console.show(to_terminal(ladder))
    if stop():
        console.say(f"interrupted and saved in {out}; the same command goes on")
        return stop.exit_code
    _suggest(ladder, out, quiet)
    return 0


def _suggest(ladder: "Ladder", out: Path, quiet: bool) -> None:
    trained = [rung for rung in ladder.rungs if rung.runs and rung.quality]
    if not trained:
        return
    best = min(trained, key=lambda rung: rung.quality.bits_per_byte if rung.quality else 0.0)
    first, last = (console.word(str(out / rung.runs[0].folder)) for rung in (trained[0], best))
    commands = [f"tinygpt sample {last}"]
    if first != last:
        page = f"--ladder {console.word(str(out))} --html comparison.html"
        commands.append(f"tinygpt compare {first} {last} {page}")
    console.next_commands(*commands, quiet=quiet)
