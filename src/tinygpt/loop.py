"""The training loop: evaluate, save, step, until the budget is spent; then the final figures.

Every event is logged to metrics.jsonl before it is yielded. Stopping is asked for before every
micro-batch and between the windows of an evaluation; a stopped run saves and ends.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinygpt.budget import Budget
from tinygpt.card import model_card
from tinygpt.checkpoint import write_file
from tinygpt.data import Data, evaluation_windows, spread
from tinygpt.errors import ConfigError
from tinygpt.evaluate import WindowLoss, evaluate, n_windows, val_loss
from tinygpt.events import Evaluated, Event, Saved, Step, to_line
from tinygpt.learner import Learner
from tinygpt.run_folder import Metrics, Recipe, save_run
from tinygpt.tokenizer import Tokenizer

__all__ = ["SCORED_BYTES", "Run", "run_loop", "save_checkpoint"]

SCORED_BYTES = 32 * 1024
"""How much of the held-out part the final bits per byte are measured on."""

_MAX_LOGITS = 2**25  # held at once in an evaluation: 128 MiB
_PROBE_WINDOWS = 8
_GRACE = 0.02  # of the minutes, by which bits per byte may be late
_PREFIX_CHARACTERS = 8  # per position: more than a context holds, so that the prefix fills it


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Leaves an evaluation half way."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run holds while it goes."""

    folder: Path
    recipe: Recipe
    data: Data
    tokenizer: Tokenizer
    learner: Learner
    budget: Budget
    stop: Callable[[], bool]
    n_eval_windows: int = 0
    """Size of the held-out sample on the way; 0 until it is chosen."""
    step: int = 0
    n_evals_done: int = 0
    saved_step: int = 0
    """Step of the last checkpoint."""
    saved_s: float = 0.0
    """Its time."""
    was_stopped: bool = False

    def stopped(self) -> bool:
        """Ask whether to stop; once yes, always yes."""
        self.was_stopped = self.was_stopped or self.stop()
        return self.was_stopped

    @property
    def n_windows(self) -> int:
        """Disjoint windows of the held-out part."""
        return n_windows(len(self.data.held_out), self.recipe.train.block_size)


def run_loop(run: Run, first: Event, n_metrics_lines: int) -> Iterator[Event]:
    """Train until the budget is spent or the run is stopped.

    Args:
        run: where it stands.
        first: the event that led here.
        n_metrics_lines: lines of metrics.jsonl that hold; later ones are written again.
    """
    metrics = Metrics(run.folder, n_metrics_lines)
    try:
        metrics.write(to_line(first))
        yield first
        _prepare_evaluation(run)
        for event in _events(run, metrics):
            metrics.write(to_line(event))
            yield event
    finally:
        metrics.close()


def save_checkpoint(
    folder: Path, run: Run, metrics: Metrics | None = None, *, finished: bool = False
) -> None:
    """Save where the run stands; what it takes is noted for the end of the budget.

    Raises:
        MachineError: the disk refused; the last checkpoint is still whole.
    """
    if metrics is not None:
        metrics.sync()
    before_s = run.budget.elapsed_s
    state = {
        "elapsed_s": before_s,
        "began_s": run.budget.began_s,
        "n_evals_done": run.n_evals_done,
        "n_eval_windows": run.n_eval_windows,
        "n_metrics_lines": metrics.n_lines if metrics is not None else 0,
        "finished": finished,
    }
    model, optimizer = run.learner.arrays()
    save_run(folder, run.step, model=model, optimizer=optimizer, state=state)
    run.saved_step, run.saved_s = run.step, run.budget.elapsed_s
    run.budget.save_s = run.saved_s - before_s


def _events(run: Run, metrics: Metrics) -> Iterator[Event]:
    """Yield the events of `run_loop`."""
    while not run.budget.spent(run.step):
        n_due = run.budget.n_due(run.step, run.recipe.train.n_evals)
        if n_due > run.n_evals_done:
            evaluated = _evaluate(run)
            if run.was_stopped:
                break
            run.n_evals_done = n_due
            yield evaluated
        if _save_due(run):
            save_checkpoint(run.folder, run, metrics)
            yield _saved(run, "scheduled")
        step = _step(run)
        if step is None:
            break
        yield step
    if not run.was_stopped:
        final = _evaluate_finally(run)
        if final is not None:
            yield final
            card = model_card(run.folder, run.learner.model.config, run.recipe, final)
            write_file(run.folder / "README.md", card.encode())
    finished = not run.was_stopped
    save_checkpoint(run.folder, run, metrics, finished=finished)
    reason = "end" if finished else "interrupted"
    yield _saved(run, reason)


def _saved(run: Run, reason: str) -> Saved:
    return Saved(
        step=run.step,
        elapsed_s=run.budget.elapsed_s,
        path=run.folder,
        final=reason == "end",
        reason=reason,
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
        tokens=run.step * train.tokens_per_step,
        elapsed_s=elapsed_s,
        loss=done.loss,
        learning_rate=done.learning_rate,
        grad_norm=done.grad_norm,
        progress=budget.share(run.step),
        bits_per_byte=done.loss / math.log(2) / bytes_per_token,
        bytes_per_s=n_bytes / budget.step_s if budget.step_s else 0.0,
        eta_s=budget.left_s(run.step),
    )


def _save_due(run: Run) -> bool:
    if run.step == run.saved_step:
        return False
    every = run.recipe.train.save_every
    if every is not None:
        return run.step % every == 0
    return run.budget.save_due(run.budget.elapsed_s - run.saved_s)


def _prepare_evaluation(run: Run) -> None:
    """Fix the size of the sample on the way; with minutes, by what it may cost."""
    train, n = run.recipe.train, run.n_windows
    if train.minutes is not None:
        for n_probe in (1, _PROBE_WINDOWS):  # the first call warms up
            _score(run, evaluation_windows(n, n_probe), lambda: False)
    if not run.n_eval_windows:
        affordable = run.budget.affordable_tokens(train.n_evals) / train.block_size
        wanted = math.ceil(train.eval_tokens / train.block_size)
        run.n_eval_windows = max(1, int(min(n, wanted, affordable)))
    if run.step == 0:
        run.budget.began_s = run.budget.elapsed_s


def _score(run: Run, windows: Sequence[int] | None, over: Callable[[], bool]) -> WindowLoss:
    """Measure val_loss on some windows, and what it takes."""
    model, block_size = run.learner.model, run.recipe.train.block_size
    began_s = run.budget.elapsed_s
    found = val_loss(
        model,
        run.data.held_out,
        block_size,
        windows=windows,
        batch_size=max(1, min(32, _MAX_LOGITS // (block_size * model.config.vocab_size))),
        deadline=over,
    )
    if not math.isfinite(found.loss):
        raise ConfigError(
            f"step {run.step}: val_loss ({found.loss}) is not finite; lower learning_rate "
            f"(now {run.recipe.optim.learning_rate:g})"
        )
    run.budget.note_forward(found.n_tokens, run.budget.elapsed_s - began_s)
    # Bits per byte: every token is scored once but read twice, the stride being half the context.
    n_read = 2 * min(SCORED_BYTES, len(run.data.held_out_text)) / run.data.bytes_per_token
    run.budget.plan_end(len(run.data.held_out), int(n_read))
    return found


def _evaluate(run: Run) -> Evaluated:
    """Measure val_loss on the fixed sample."""
    windows = evaluation_windows(run.n_windows, run.n_eval_windows)
    return _evaluated(run, _score(run, windows, run.stopped), None, final=False)


def _evaluate_finally(run: Run) -> Evaluated | None:
    """Measure val_loss on all windows, as far as the minutes go, and bits per byte.

    Returns:
        None if the run was stopped.
    """
    budget = run.budget
    limited = budget.total_s is not None
    windows = spread(run.n_windows) if limited else None
    found = _score(run, windows, lambda: run.stopped() or budget.over(leave_s=budget.bits_s or 0))
    bits = None
    if not run.was_stopped and budget.bits_s is not None and not budget.over():
        bits = _bits_per_byte(run)
    return None if run.was_stopped else _evaluated(run, found, bits, final=True)


def _bits_per_byte(run: Run) -> float | None:
    """Score the beginning of the held-out part; None if stopped or out of time."""

    def check(_: float) -> None:
        if run.stopped() or run.budget.over(leave_s=-_GRACE * (run.budget.total_s or 0.0)):
            raise _Stopped

    text = run.data.held_out_text.encode()[:SCORED_BYTES].decode("utf-8", "ignore")
    model = run.learner.model
    before = run.data.train_text[-_PREFIX_CHARACTERS * model.config.n_positions :]
    try:
        found = evaluate(model, run.tokenizer, text, prefix=before, progress=check)
    except _Stopped:
        model.train()
        return None
    return found.bits_per_byte


def _evaluated(run: Run, found: WindowLoss, bits: float | None, *, final: bool) -> Evaluated:
    return Evaluated(
        step=run.step,
        tokens=run.step * run.recipe.train.tokens_per_step,
        elapsed_s=run.budget.elapsed_s,
        val_loss=found.loss,
        n_tokens=found.n_tokens,
        n_total=len(run.data.held_out) - 1,
        bits_per_byte=bits,
        final=final,
    )
