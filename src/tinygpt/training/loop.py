"""The training loop: evaluate, sample, save, step, until the budget is spent; then the last word.

Every event is logged before it is yielded. Stopping is asked for before every micro-batch, between
the windows of an evaluation and the tokens of a sample; a stopped run saves and ends.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tinygpt.errors import CheckpointError
from tinygpt.inference.device import without_denormals
from tinygpt.model.gpt import GPT
from tinygpt.runs.checkpoint import load_step
from tinygpt.runs.events import Event, Resumed, Sampled, Saved, Step, to_line
from tinygpt.runs.folder import CHECKPOINTS, save_run
from tinygpt.runs.log import METRICS, SAMPLES, Lines
from tinygpt.runs.model_card import model_card
from tinygpt.storage.files import write_file
from tinygpt.training.learner import model_of
from tinygpt.training.state import Run
from tinygpt.training.validate import (
    evaluate_finally,
    evaluate_on_the_way,
    monitor_loss,
    prepare,
    sample,
)

__all__ = ["run_loop", "save_checkpoint"]


def run_loop(run: Run, first: Event) -> Iterator[Event]:
    """Train until the budget is spent, early stopping ends it, or the run is stopped.

    Args:
        run: where it stands; lines of its logs beyond those that it counts are cut off.
        first: the event that led here.
    """
    metrics = Lines(run.folder / METRICS, run.position.n_metrics_lines)
    samples = Lines(run.folder / SAMPLES, run.position.n_samples_lines)
    logs = (metrics, samples)
    if isinstance(first, Resumed):
        lost = [f"{log.name} lacks {log.n_missing} line(s)" for log in logs if log.n_missing]
        warning = "; ".join(part for part in (first.warning, *lost) if part)
        first = replace(first, warning=warning or None)
    try:
        with without_denormals():
            for event in _with_first(run, first, logs):
                (samples if isinstance(event, Sampled) else metrics).write(to_line(event))
                yield event
    finally:
        metrics.close()
        samples.close()


def save_checkpoint(
    folder: Path, run: Run, logs: tuple[Lines, Lines] | None = None, *, finished: bool = False
) -> tuple[str, ...]:
    """Save where the run stands; what it takes is noted for the end of the budget.

    Args:
        folder: of the run, which may still bear another name.
        run: the run.
        logs: metrics.jsonl and samples.jsonl; None before they are open.
        finished: whether the run is complete.

    Returns:
        A line for each older checkpoint that turned out to be damaged.

    Raises:
        MachineError: the disk refused; the last checkpoint is still whole.
    """
    if logs is not None:
        for log in logs:
            log.sync()
        run.position.n_metrics_lines, run.position.n_samples_lines = (log.n_lines for log in logs)
    before_s = run.budget.elapsed_s
    model, optimizer = run.learner.arrays(run.kept)
    notes = save_run(
        folder,
        run.step,
        model=model,
        optimizer=optimizer,
        state=run.state(finished=finished),
        spare=run.position.best_step if run.recipe.train.keep_best else None,
    )
    run.saved_step, run.saved_s = run.step, run.budget.elapsed_s
    run.budget.save_s = run.saved_s - before_s
    return notes


def _with_first(run: Run, first: Event, logs: tuple[Lines, Lines]) -> Iterator[Event]:
    yield first
    prepare(run)
    yield from _train(run, logs)
    reason = "early stopping" if run.gave_up and not run.budget.spent(run.step) else "end"
    if not run.was_stopped:
        yield from _finish(run)
    finished = not run.was_stopped
    if not finished:
        run.kept = None  # the training goes on with its own weights
    notes = save_checkpoint(run.folder, run, logs, finished=finished)
    yield _saved(run, reason if finished else "interrupted", notes)


def _train(run: Run, logs: tuple[Lines, Lines]) -> Iterator[Event]:
    """Yield the events up to the end of the training, or until the run is stopped."""
    train, budget, position = run.recipe.train, run.budget, run.position
    while not (budget.spent(run.step) or run.gave_up):
        n_due = budget.n_due(run.step, train.n_evals)
        if n_due > position.n_evals_done:
            evaluated = evaluate_on_the_way(run)
            samples = sample(run) if train.sample_prompts else []
            if run.was_stopped or samples is None:
                return
            position.n_evals_done = n_due
            loss = evaluated.monitor_loss
            is_best = loss is not None and position.note(run.step, loss)
            yield evaluated
            yield from samples
            if is_best and train.keep_best:
                notes = save_checkpoint(run.folder, run, logs)
                yield _saved(run, "best", notes)
            continue  # early stopping may end it here
        if _save_due(run):
            notes = save_checkpoint(run.folder, run, logs)
            yield _saved(run, "scheduled", notes)
        step = _step(run)
        if step is None:
            return
        yield step


def _finish(run: Run) -> Iterator[Event]:
    """Choose the weights, measure them, sample them and write the card; stopped: nothing counts."""
    monitor = monitor_loss(run)
    if run.was_stopped:
        return
    best = run.position.best_loss
    warning = None
    if run.recipe.train.keep_best and monitor is not None and best is not None and best < monitor:
        try:
            run.kept, monitor = _best_weights(run), best
        except CheckpointError as error:  # what was trained since is not lost for it
            warning = f"{error}; so the last weights are kept, not the best ones"
    final = evaluate_finally(run, monitor, warning)
    if final is None:
        return
    samples = [] if run.budget.over() else sample(run)
    if samples is None:
        return
    yield final
    yield from samples
    card = model_card(run.folder, run.learner.model.config, run.recipe, final)
    write_file(run.folder / "README.md", card.encode())


def _best_weights(run: Run) -> GPT:
    step = run.position.best_step
    assert step is not None
    checkpoint = load_step(run.folder / CHECKPOINTS, step)
    model = model_of(checkpoint, run.learner.model.config)
    return model.to(run.learner.device.device).eval()


def _saved(run: Run, reason: str, notes: tuple[str, ...]) -> Saved:
    return Saved(
        step=run.step,
        tokens=run.tokens,
        elapsed_s=run.budget.elapsed_s,
        path=run.folder,
        final=reason in ("end", "early stopping"),
        reason=reason,
        warning="; ".join(notes) or None,
    )


def _step(run: Run) -> Step | None:
    """Take one optimizer step; None if the run was stopped in it."""
    train, budget, bytes_per_token = run.recipe.train, run.budget, run.data.bytes_per_token
    began_s = budget.elapsed_s
    done = run.learner.update(run.data.train, train, run.step, budget.share(run.step), run.stopped)
    if done is None:
        return None
    run.step += 1
    elapsed_s = budget.elapsed_s
    budget.note_step(elapsed_s - began_s)
    n_bytes = train.tokens_per_step * bytes_per_token
    return Step(
        step=run.step,
        tokens=run.tokens,
        elapsed_s=elapsed_s,
        loss=done.loss,
        learning_rate=done.learning_rate,
        grad_norm=done.grad_norm,
        progress=budget.share(run.step),
        train_bits_per_byte=done.loss / math.log(2) / bytes_per_token,
        bytes_per_s=n_bytes / budget.step_s if budget.step_s else 0.0,
        eta_s=budget.left_s(run.step),
        last=budget.spent(run.step),
    )


def _save_due(run: Run) -> bool:
    if run.step == run.saved_step:
        return False
    every = run.recipe.train.save_every
    if every is not None:
        return run.step % every == 0
    return run.budget.save_due(run.budget.elapsed_s - run.saved_s)
