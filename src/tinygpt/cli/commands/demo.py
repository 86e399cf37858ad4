"""`tinygpt demo`: the main job, end to end, with nothing to decide."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import MachineError

if TYPE_CHECKING:
    from tinygpt.cli.follow import Followed
    from tinygpt.comparison.result import Comparison
    from tinygpt.config.train_config import TrainConfig
    from tinygpt.data.corpora import Corpus

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.option(
    "--minutes",
    type=click.FLOAT,
    default=1.0,
    show_default=True,
    help="Training time; fetching the corpus and the comparison come on top.",
)
@click.option(
    "--corpus",
    "corpus_name",
    metavar="NAME|FILE|FOLDER",
    help="A named corpus, or a .txt file or a folder of them of your own.  "
    "[default: tinyshakespeare, else the next]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="The run folder; one that is there already is renamed aside.",
)
@shared_options.engine("device", "threads")
@shared_options.options("quiet")
def command(
    minutes: float,
    corpus_name: str | None,
    out: Path,
    engine_options: EngineOptions,
    quiet: bool,
) -> int:
    """Train TinyGPT for about a minute, sample from it, and put it beside distilgpt2.

    Leaves a run folder that Hugging Face transformers opens, with the report
    comparison.html, comparison.md and comparison.json in it.
    """
    from tinygpt.cli.progress import working
    from tinygpt.config.train_config import TrainConfig
    from tinygpt.data.corpora import load_corpus, load_default_corpus

    settings = TrainConfig(minutes=minutes)  # refuses an impossible budget before any download
    with working(quiet) as tell:
        corpus = (
            load_default_corpus()
            if corpus_name is None
            else load_corpus(corpus_name, progress=tell)
        )
    if corpus.note:
        console.say(corpus.note, quiet=quiet)
    console.say(
        f"corpus: {corpus.name}, {len(corpus.text):,} characters, {len(corpus.characters)} "
        f"distinct, sha256 {corpus.sha256[:16]}... ({corpus.source})",
        quiet=quiet,
    )
    if aside := _rename_aside(out):
        console.say(f"the last run is now {aside}", quiet=quiet)
    followed = _train(corpus, settings, out, engine_options, quiet)
    if followed.exit_code:
        return followed.exit_code
    comparison = _compare(out, engine_options, quiet)
    _show(comparison, out, quiet)
    return 0


def _train(
    corpus: "Corpus",
    settings: "TrainConfig",
    out: Path,
    engine_options: EngineOptions,
    quiet: bool,
) -> "Followed":
    from tinygpt.cli.follow import follow
    from tinygpt.config.model_config import PRESETS
    from tinygpt.inference.device import pick_device
    from tinygpt.model.costs import n_params
    from tinygpt.training.train import train

    device, threads = engine_options.device, engine_options.threads
    vocab_size = len(corpus.characters)
    config = replace(PRESETS["tinygpt"], vocab_size=vocab_size)
    console.say(
        f"model: TinyGPT, {n_params(config):,} parameters, {vocab_size} characters, "
        f"n_positions {config.n_positions}; {pick_device(device, 'auto', threads).why}",
        quiet=quiet,
    )
    console.say(f"training for {settings.minutes:g} min into {out}", quiet=quiet)
    return follow(
        lambda stop, tell: train(
            config,
            settings,
            corpus,
            out=out,
            device=device,
            threads=threads,
            stop=stop,
            progress=tell,
        ),
        quiet,
    )


def _compare(out: Path, engine_options: EngineOptions, quiet: bool) -> "Comparison":
    from tinygpt.cli.progress import working
    from tinygpt.comparison.compare import compare
    from tinygpt.config.limits import SCORED_BYTES
    from tinygpt.evaluation.eval_texts import held_out_text
    from tinygpt.inference.load import open_model

    with working(quiet) as tell:
        tell("opening distilgpt2", 0.0)
        tiny, distil = (open_model(name, engine_options) for name in (str(out), "distilgpt2"))
        models = [replace(tiny, name=f"TinyGPT ({out})"), distil]
        return compare(models, [held_out_text(out, SCORED_BYTES)], progress=tell)


def _show(comparison: "Comparison", out: Path, quiet: bool) -> None:
    from tinygpt.report import to_html, to_markdown, to_terminal

    page, text, data = (out / f"comparison.{kind}" for kind in ("html", "md", "json"))
    console.write_file(page, to_html(comparison))
    console.write_file(text, to_markdown(comparison))
    console.write_file(data, comparison.to_json())
    console.show(to_terminal(comparison))
    console.say(quiet=quiet)
    console.say(f"written: {text}, {data}", quiet=quiet)
    console.say(f"open in a browser: {page.absolute()}", quiet=quiet)
    run = console.word(str(out))
    both = comparison.models[1].missing_weights is None
    console.next_commands(
        f'tinygpt sample {run} "Once upon a time"',
        "tinygpt train --corpus my.txt --minutes 1 --out runs/mine",
        f"tinygpt compare runs/mine {run}",
        f"tinygpt serve {run} distilgpt2   # both in a browser, at one prompt"
        if both
        else f"tinygpt serve {run}   # in a browser",
        quiet=quiet,
    )


def _rename_aside(out: Path) -> Path | None:
    """Rename a folder to the first free NAME-1, NAME-2 ...; return its new name."""
    if not out.exists():
        return None
    number = 1
    while (aside := out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    try:
        out.rename(aside)
    except OSError as error:
        raise MachineError(
            f"{out} can't be renamed to {aside}: {error.strerror}; choose another --out"
        ) from None
    return aside
