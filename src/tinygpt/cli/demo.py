"""`tinygpt demo`: the main job, end to end, with nothing to decide."""

from pathlib import Path
from typing import Any

import click

from tinygpt.cli import console, options
from tinygpt.cli.signals import stoppable

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.option("--minutes", type=click.FLOAT, default=1.0, show_default=True, help="Training time.")
@click.option(
    "--corpus",
    help="A named corpus or a .txt file of your own.  [default: tinyshakespeare, else the next]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="The run folder; one that is there already is renamed aside.",
)
@options.common("device", "threads", "quiet")
def command(
    minutes: float, corpus: str | None, out: Path, device: str, threads: int, quiet: bool
) -> int:
    """Train TinyGPT for about a minute, sample from it, and put it beside distilgpt2.

    Leaves a run folder that Hugging Face transformers opens, with comparison.md and
    comparison.json in it.
    """
    from dataclasses import replace

    from tinygpt.comparison import DEFAULT_BYTES, compare
    from tinygpt.corpora import load_corpus, load_default_corpus
    from tinygpt.model_report import open_model
    from tinygpt.report import comparison_renderable
    from tinygpt.run_config import TrainConfig
    from tinygpt.texts import held_out_text

    settings = TrainConfig(minutes=minutes)  # refuses an impossible budget before any download
    text = load_default_corpus() if corpus is None else load_corpus(corpus)
    if text.note:
        console.say(text.note, quiet=quiet)
    console.say(
        f"corpus: {text.name}, {len(text.text):,} characters, {len(set(text.text))} distinct, "
        f"sha256 {text.sha256[:16]}... ({text.source})",
        quiet=quiet,
    )
    if aside := _rename_aside(out):
        console.say(f"the last run is now {aside}", quiet=quiet)
    ending = _train(text, settings, out, device, threads, quiet)
    if ending:
        return ending
    with console.working(quiet) as tell:
        tell("opening distilgpt2", 0.0)
        tiny, distil = (
            open_model(name, device=device, threads=threads) for name in (str(out), "distilgpt2")
        )
        models = [replace(tiny, name=f"TinyGPT ({out})"), distil]
        comparison = compare(models, [held_out_text(out, DEFAULT_BYTES)], progress=tell)
    paths = _write(comparison, out)
    console.show(comparison_renderable(comparison))
    console.say(f"\nwritten: {', '.join(map(str, paths))}", quiet=quiet)
    console.next_commands(
        f'tinygpt sample {out} "Once upon a time"',
        f"tinygpt compare {out} distilgpt2 --text FILE",
        f"tinygpt inspect {out}",
        "tinygpt train --corpus my.txt --minutes 1",
        quiet=quiet,
    )
    return 0


def _train(corpus: Any, settings: Any, out: Path, device: str, threads: int, quiet: bool) -> int:
    """Train TinyGPT into a folder; return the exit code if a signal stopped it, else 0."""
    from dataclasses import replace

    from tinygpt.account import n_params
    from tinygpt.model_config import PRESETS
    from tinygpt.tokenizer import CharTokenizer
    from tinygpt.training import train

    vocab_size = CharTokenizer.from_text(corpus.text).vocab_size
    config = replace(PRESETS["tinygpt"], vocab_size=vocab_size)
    console.say(
        f"training TinyGPT: {n_params(config):,} parameters, {vocab_size} characters, "
        f"{settings.minutes:g} min, into {out}",
        quiet=quiet,
    )
    with stoppable() as stop:
        events = train(config, settings, corpus, out=out, device=device, threads=threads, stop=stop)
        for _ in console.progress_for_training(events, quiet):
            pass
    if stop():
        console.say(f"stopped and saved; go on with: tinygpt resume {out}", quiet=quiet)
    return stop.exit_code


def _rename_aside(out: Path) -> Path | None:
    """Rename a folder to the first free NAME-1, NAME-2 ...; return its new name."""
    from tinygpt.errors import MachineError

    if not out.exists():
        return None
    number = 1
    while (aside := out.with_name(f"{out.name}-{number}")).exists():
        number += 1
    try:
        out.rename(aside)
    except OSError as error:
        raise MachineError(f"{out} can't be renamed to {aside}: {error.strerror}") from None
    return aside


def _write(comparison: Any, out: Path) -> list[Path]:
    from tinygpt.errors import MachineError
    from tinygpt.report import comparison_markdown

    paths = [out / "comparison.md", out / "comparison.json"]
    try:
        paths[0].write_text(comparison_markdown(comparison), "utf-8")
        paths[1].write_text(comparison.to_json(), "utf-8")
    except OSError as error:
        raise MachineError(f"the report can't be written into {out}: {error.strerror}") from None
    return paths
