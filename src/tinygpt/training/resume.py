"""Resume a run: its files, its text and its newest whole checkpoint, then the loop (loop.py).

What went on from a checkpoint and what was never interrupted end in the same weights, bit for bit,
for a budget of steps in the same environment; where that differs, the first event says so.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tinygpt.data.batches import prepare, with_monitor
from tinygpt.data.corpora import Corpus, load_corpus
from tinygpt.errors import ConfigError, DataError
from tinygpt.formats.model_folder import read_config
from tinygpt.inference.device import differences, environment, pick_as_recorded
from tinygpt.progress import Tell
from tinygpt.runs.checkpoint import load_newest
from tinygpt.runs.events import Event, Resumed
from tinygpt.runs.folder import CHECKPOINTS, Recipe, read_environment, read_recipe
from tinygpt.runs.lock import locked, refuse_held
from tinygpt.storage.files import clear_leftovers
from tinygpt.tokenizers.padding import open_tokenizer
from tinygpt.training.budget import Budget
from tinygpt.training.learner import Learner
from tinygpt.training.loop import run_loop
from tinygpt.training.native_step import engine_as_recorded
from tinygpt.training.state import Run, check_settings, read_position, settings_of

__all__ = ["resume"]


def resume(
    run: Path | str,
    *,
    corpus: Corpus | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    engine: str = "auto",
    clock: Callable[[], float] = time.monotonic,
    started_s: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Tell | None = None,
) -> Iterator[Event]:
    """Go on with a run from its newest checkpoint that is whole.

    A run of minutes spends what is left of them.

    Args:
        run: the run folder.
        corpus: the text, where it is not one that `load_corpus` finds again by its name.
        device, dtype, threads: as `pick_device`; "auto" and 0 take what the run began with.
        engine: what computes the steps; "auto" goes on with what the run began with.
        clock, started_s, stop, progress: as `train`.

    Yields:
        Resumed, then as `train`.

    Raises:
        CheckpointError: no run folder, or another process trains it; with the first event: no
            whole checkpoint, or one that was made with other settings.
        ConfigError: with the first event: the run is complete.
        DataError: the text has changed.
    """
    begun_s = clock() if started_s is None else started_s
    run = Path(run)
    recipe = read_recipe(run)
    refuse_held(run)
    config, _ = read_config(run)
    tokenizer, _ = open_tokenizer(run, config)
    if corpus is None:
        corpus = _recorded_corpus(run, recipe, progress)
    elif corpus.sha256 != recipe.corpus.sha256:
        raise DataError(
            f"the run was trained on a text with sha256 {recipe.corpus.sha256}, this one has "
            f"{corpus.sha256}; give the same text"
        )
    data = prepare(corpus, tokenizer, recipe.train.block_size, progress)
    if recipe.train.monitored:
        data = with_monitor(data, recipe.train.block_size)
    recorded = read_environment(run)
    picked = pick_as_recorded(recorded, device, dtype, threads)

    def begin(killed: str | None) -> tuple[Run, Resumed]:
        clear_leftovers(run)
        clear_leftovers(run / CHECKPOINTS)
        checkpoint, notes = load_newest(run / CHECKPOINTS)
        state = checkpoint.state
        now = settings_of(config, recipe, tokenizer)
        check_settings(run, now, state, checkpoint.path.name)
        if state["finished"]:
            raise ConfigError(
                f"{run} is complete ({checkpoint.step} steps), there is nothing to resume; "
                f"`tinygpt train --config {run}` repeats it, `--from {run}` trains its model "
                "further"
            )
        budget = Budget(
            recipe.train, clock, begun_s, earlier_s=state["elapsed_s"], began_s=state["began_s"]
        )
        resumed = Run(
            folder=run,
            recipe=recipe,
            data=data,
            tokenizer=tokenizer,
            learner=Learner.restore(
                checkpoint,
                config,
                optim=recipe.optim,
                device=picked,
                train=recipe.train,
                engine=engine_as_recorded(recorded, engine),
            ),
            budget=budget,
            stop=stop,
            position=read_position(state, str(checkpoint.path)),
            step=checkpoint.step,
            saved_step=checkpoint.step,
            saved_s=budget.elapsed_s,
        )
        warnings = [
            *([killed] if killed else []),
            *notes,
            *differences(recorded, environment(picked) | {"engine": resumed.learner.engine}),
        ]
        return resumed, Resumed(
            step=checkpoint.step,
            tokens=resumed.tokens,
            elapsed_s=budget.elapsed_s,
            path=run,
            warning="; ".join(warnings) or None,
        )

    return _go_on(run, begin)


def _recorded_corpus(run: Path, recipe: Recipe, progress: Tell | None) -> Corpus:
    try:
        return load_corpus(recipe.corpus.corpus, sha256=recipe.corpus.sha256, progress=progress)
    except DataError as error:
        raise DataError(
            f"{error}; where the same text lies elsewhere now: `tinygpt resume {run} --corpus FILE`"
        ) from None


def _go_on(folder: Path, begin: Callable[[str | None], tuple[Run, Resumed]]) -> Iterator[Event]:
    """Resume with the run held: nobody else moves its checkpoints from here on."""
    with locked(folder) as killed:
        run, event = begin(killed)
        yield from run_loop(run, event)
