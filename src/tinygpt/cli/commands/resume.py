"""`tinygpt resume RUN`: go on with a run from its newest checkpoint."""

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.engine_options import EngineOptions

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("run", type=options.PLACE)
@click.option(
    "--corpus",
    "corpus_name",
    metavar="FILE|FOLDER",
    help="Where the run's text lies now, if it was moved; its SHA-256 is checked.",
)
@shared_options.engine("engine", "device", "dtype", "threads")
@shared_options.options("quiet")
@click.pass_obj
def command(
    started_s: float | None,
    run: str,
    corpus_name: str | None,
    engine_options: EngineOptions,
    quiet: bool,
) -> int:
    """Continue RUN (a run folder, or its name in runs/) exactly where it stopped.

    What it began with is kept; a run of minutes spends what is left of them.
    """
    from tinygpt.runs.folder import read_environment, read_recipe
    from tinygpt.runs.lock import refuse_held
    from tinygpt.runs.names import find_run

    folder = find_run(run)
    recipe = read_recipe(folder)
    refuse_held(folder)

    from tinygpt.cli.follow import follow  # and torch, which takes its second
    from tinygpt.data.corpora import load_corpus
    from tinygpt.inference.device import pick_as_recorded
    from tinygpt.training.resume import resume

    asked = engine_options
    recorded = read_environment(folder)
    picked = pick_as_recorded(recorded, asked.device, asked.dtype, asked.threads)

    def announce() -> None:
        console.say(f"run     {folder}, on {recipe.corpus.corpus}", quiet=quiet)
        console.say(f"device  {picked.why}", quiet=quiet)

    ended = follow(
        lambda stop, tell: resume(
            folder,
            corpus=load_corpus(corpus_name, progress=tell) if corpus_name else None,
            device=asked.device,
            dtype=asked.dtype,
            threads=asked.threads,
            engine=asked.engine,
            started_s=started_s,
            stop=stop,
            progress=tell,
        ),
        quiet,
        announce,
    )
    if ended.exit_code == 0:
        path = console.word(str(folder))
        console.next_commands(
            f"tinygpt sample {path}", f"tinygpt compare {path} distilgpt2", quiet=quiet
        )
    return ended.exit_code
