"""`tinygpt resume RUN`: go on with a run from its newest checkpoint."""

import click

from tinygpt.cli import console, options, shared_options

__all__ = ["command"]


@click.command(cls=options.Verb)
@click.argument("run", type=options.PLACE)
@click.option(
    "--corpus",
    "corpus_name",
    metavar="FILE|FOLDER",
    help="Where the run's text lies now, if it was moved; its SHA-256 is checked.",
)
@shared_options.options("engine", "device", "dtype", "threads", "quiet")
@click.pass_obj
def command(
    started_s: float | None,
    run: str,
    corpus_name: str | None,
    engine: str,
    device: str,
    dtype: str,
    threads: int,
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

    picked = pick_as_recorded(read_environment(folder), device, dtype, threads)

    def announce() -> None:
        console.say(f"run     {folder}, on {recipe.corpus.corpus}", quiet=quiet)
        console.say(f"device  {picked.why}", quiet=quiet)

    ended = follow(
        lambda stop, tell: resume(
            folder,
            corpus=load_corpus(corpus_name, progress=tell) if corpus_name else None,
            device=device,
            dtype=dtype,
            threads=threads,
            engine=engine,
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
