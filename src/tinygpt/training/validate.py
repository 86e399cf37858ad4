"""What a run measures of itself: val_loss, monitor_loss, bits per byte, and samples.

On the way on a fixed sample of windows, in the end on all of them; with a budget of minutes as far
as the minutes go. Whatever takes long asks between its windows or tokens whether to stop.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.limits import SCORED_BYTES
from tinygpt.data.batches import Ids, evaluation_windows, spread
from tinygpt.errors import ConfigError, TokenizerError
from tinygpt.evaluation.bits_per_byte import evaluate
from tinygpt.inference.generate import generate_ids, prompt_ids
from tinygpt.inference.torch_session import TorchSession
from tinygpt.runs.events import Evaluated, Sampled
from tinygpt.training.state import Run
from tinygpt.training.val_loss import WindowLoss, n_windows, val_loss

__all__ = [
    "evaluate_finally",
    "evaluate_on_the_way",
    "monitor_loss",
    "prepare",
    "prompts",
    "sample",
]

_MAX_LOGITS = 2**25  # held at once in an evaluation: 128 MiB
_PROBE_WINDOWS, _PROBE_TOKENS = 8, 4
_FINAL_TOKENS = 2**20  # measured in the end of a run of steps, at most
_GRACE = 0.02  # of the minutes, by which bits per byte may be late
_TEMPERATURE, _SEED = 0.8, 0  # of the samples
_PREFIX_CHARACTERS = 8  # per position: more than a context holds, so that the prefix fills it


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Leaves an evaluation half way."""


def prepare(run: Run) -> None:
    """Fix the size of the samples on the way; with minutes, by what they may cost."""
    train, n = run.recipe.train, run.n_windows
    if train.minutes is not None:
        for n_probe in (1, _PROBE_WINDOWS):  # the first call warms up
            _score(run, run.data.held_out, evaluation_windows(n, n_probe), lambda: False)
        for n_tokens in (1, _PROBE_TOKENS):
            began_s = run.budget.elapsed_s
            _continuation(run, _prompts(run)[0][1], n_tokens)
            run.budget.token_s = (run.budget.elapsed_s - began_s) / n_tokens
    if not run.position.n_eval_windows:
        n_evals = train.n_evals * (2 if train.monitored else 1)
        affordable = run.budget.affordable_tokens(n_evals) / train.block_size
        wanted = math.ceil(train.eval_tokens / train.block_size)
        run.position.n_eval_windows = max(1, int(min(n, wanted, affordable)))
    if run.step == 0:
        run.budget.began_s = run.budget.elapsed_s


def evaluate_on_the_way(run: Run) -> Evaluated:
    """Measure val_loss on the fixed sample, and monitor_loss where the run has a monitor slice."""
    windows = evaluation_windows(run.n_windows, run.position.n_eval_windows)
    found = _score(run, run.data.held_out, windows, run.stopped)
    return _evaluated(run, found, monitor=monitor_loss(run))


def monitor_loss(run: Run) -> float | None:
    """Measure nats per token on a fixed sample of the monitor slice; None where there is none."""
    ids, train = run.data.monitor, run.recipe.train
    if ids is None:
        return None
    windows = evaluation_windows(n_windows(len(ids), train.block_size), run.position.n_eval_windows)
    return _score(run, ids, windows, run.stopped).loss


def evaluate_finally(
    run: Run, monitor: float | None, warning: str | None = None
) -> Evaluated | None:
    """Measure val_loss and bits per byte: with minutes as far as they go, else on all windows.

    Of a held-out part of more than a million tokens so many are measured, evenly spread.

    Returns:
        None if the run was stopped.
    """
    budget = run.budget
    if budget.total_s is None:
        n = math.ceil(_FINAL_TOKENS / run.recipe.train.block_size)
        windows = evaluation_windows(run.n_windows, n)
    else:
        windows = spread(run.n_windows)
    late = (budget.bits_s or 0.0) + budget.samples_s
    found = _score(
        run, run.data.held_out, windows, lambda: run.stopped() or budget.over(leave_s=late)
    )
    bits = None
    if not run.was_stopped and budget.bits_s is not None and not budget.over():
        bits = _bits_per_byte(run)
    if run.was_stopped:
        return None
    last = _evaluated(run, found, monitor=monitor, bits=bits, final=True)
    return replace(last, warning=warning)


def prompts(run: Run) -> list[str]:
    """Return the prompts that the run is sampled with.

    Raises:
        TokenizerError, ContextError: one that the model can't take.
    """
    return [prompt for prompt, _ in _prompts(run)]


def sample(run: Run) -> list[Sampled] | None:
    """Continue each prompt; None if the run was stopped."""
    found = []
    for prompt, ids in _prompts(run):
        new = _continuation(run, ids, run.recipe.train.sample_tokens)
        if run.was_stopped:
            return None
        found.append(
            Sampled(
                step=run.step,
                tokens=run.tokens,
                elapsed_s=run.budget.elapsed_s,
                prompt=prompt,
                text=run.tokenizer.decode(new),
                temperature=_TEMPERATURE,
                seed=_SEED,
            )
        )
    return found


def _prompts(run: Run) -> list[tuple[str, list[int]]]:
    """Return prompts and their ids; where none was asked for, what an empty prompt means.

    That is a newline or the end of a text, and in a model that has neither the first training
    token.
    """
    tokenizer, n_positions = run.tokenizer, run.model.config.n_positions
    asked = run.recipe.train.sample_prompts
    if asked:
        return [(prompt, prompt_ids(tokenizer, prompt, n_positions)) for prompt in asked]
    try:
        return [("", prompt_ids(tokenizer, "", n_positions))]
    except TokenizerError:
        ids = [int(run.data.train[0])]
        return [(tokenizer.decode(ids), ids)]


def _continuation(run: Run, ids: list[int], n_tokens: int) -> list[int]:
    """Sample at most n_tokens ids after a prompt; fewer if the run is stopped."""
    model = run.model
    was_training = model.training
    settings = GenerationConfig(
        temperature=_TEMPERATURE, max_new_tokens=n_tokens, eos_token_id=model.config.eos_token_id
    )
    new: list[int] = []
    for token_id in generate_ids(TorchSession(model), ids, settings, seed=_SEED):
        new.append(token_id)
        if run.stopped():
            break
    model.train(was_training)
    return new


def _score(
    run: Run, ids: Ids, windows: Sequence[int] | None, over: Callable[[], bool]
) -> WindowLoss:
    """Measure the loss on some windows, and what it takes.

    Raises:
        ConfigError: the loss is not finite.
    """
    model, block_size = run.model, run.recipe.train.block_size
    began_s = run.budget.elapsed_s
    found = val_loss(
        model,
        ids,
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
    n_monitor = run.position.n_eval_windows * block_size if run.data.monitor is not None else 0
    n_sampled = run.recipe.train.sample_tokens * max(1, len(run.recipe.train.sample_prompts))
    n_final = len(run.data.held_out)
    if run.budget.total_s is None:
        n_final = min(n_final, _FINAL_TOKENS)
    run.budget.plan_end(n_final + n_monitor, int(n_read), n_sampled)
    return found


def _bits_per_byte(run: Run) -> float | None:
    """Score the beginning of the held-out part; None if stopped or out of time."""
    budget = run.budget

    def check(_: float) -> None:
        if run.stopped() or budget.over(leave_s=-_GRACE * (budget.total_s or 0.0)):
            raise _Stopped

    text = run.data.held_out_text.encode()[:SCORED_BYTES].decode("utf-8", "ignore")
    model = run.model
    before = run.data.train_text[-_PREFIX_CHARACTERS * model.config.n_positions :]
    try:
        found = evaluate(model, run.tokenizer, text, prefix=before, progress=check)
    except _Stopped:
        return None
    return found.bits_per_byte


def _evaluated(
    run: Run,
    found: WindowLoss,
    *,
    monitor: float | None,
    bits: float | None = None,
    final: bool = False,
) -> Evaluated:
    return Evaluated(
        step=run.step,
        tokens=run.tokens,
        elapsed_s=run.budget.elapsed_s,
        val_loss=found.loss,
        n_tokens=found.n_tokens,
        n_total=len(run.data.held_out) - 1,
        monitor_loss=monitor,
        kept_step=run.position.best_step if run.kept is not None else None,
        bits_per_byte=bits,
        final=final,
    )
