"""One model alone on this machine, by one engine: start, memory, speed in every way, and quality.

Nothing here imports torch where the native engine runs the model, so that start and memory are the
engine's own; only its quality, scored at the end, needs it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.evaluation.eval_texts import Text, known_to_all
from tinygpt.inference.generate import generate_batch
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.external_config import account_of
from tinygpt.profiling.memory_bandwidth import bytes_per_step, peak_memory_bytes, read_bytes_per_s
from tinygpt.profiling.result import Speed, Spread
from tinygpt.profiling.speed import measure_speeds, time_loads

if TYPE_CHECKING:
    from tinygpt.evaluation.result import Evaluation

__all__ = ["GenerationSpeed", "Measured", "measure"]

BATCH_SIZES = (1, 8)
N_WRITTEN = 64
"""Tokens that each sequence of a batch is continued by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSpeed:
    """How fast text is written as `generate` writes it, several sequences at once."""

    batch_size: int
    """Sequences."""
    tok_per_s: Spread
    """New tokens of all of them / time from the first one of each to the last."""
    new_tokens: int
    """Of each sequence, the most likely ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model alone on one machine: `tinygpt bench`."""

    speed: Speed
    start_up_s: float
    """From the start of the process to the model: Python, torch where it runs the model, and its
    files (or random weights where there are none)."""
    load_s: Spread | None
    """Opening the model again, its files warm; None where there are no weights to open."""
    peak_memory_bytes: int | None
    """Most memory the process held until prefill and decode were timed; None if unknown."""
    peak_device_bytes: int | None
    """Most memory torch held on a CUDA device; None elsewhere."""
    weights_bytes: int
    """Of the weights, by the config (model/costs.py), in float32."""
    kv_cache_bytes: int | None
    """Of keys and values of a full context, by the config, in float32; None if unknown."""
    writing: tuple[GenerationSpeed, ...]
    """Batch 1 and 8."""
    step_bytes: int | None
    """What one step of `speed` reads on average, weights, keys and values; None if unknown."""
    read_bytes_per_s: float | None
    """How fast as many bytes are read here with as many threads; None beside the CPU."""
    memory_share: float | None
    """Decode speed in `speed` / the speed at which the memory gives these bytes."""
    evaluation: "Evaluation | None"
    """Quality of this engine in this precision; None on random weights."""


def measure(
    lm: LanguageModel,
    text: str,
    *,
    start_up_s: float,
    reopen: Callable[[], object],
    scored: Text | None = None,
    n_loads: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Measure one model: its speeds, its memory, and what opening it takes.

    Args:
        lm: opened for the first time in this process.
        text: as for `measure_speeds`.
        start_up_s: measured by the caller, who knows when the process began.
        reopen: opens the same model again.
        scored: what the model is scored on by the engine that is timed; None leaves it out.
        n_loads: how many times that is done.

    Raises:
        DataError: the text is too short.
    """
    (speed,) = measure_speeds([lm], text, clock=clock)
    peak = peak_memory_bytes()  # of one text, and before the model is opened again beside itself
    writing = tuple(_measure_generation(lm, text, size, clock) for size in BATCH_SIZES)
    step_bytes, limit = _memory_limit(lm, speed, clock)
    costs = account_of(lm.config)
    is_real = lm.missing_weights is None
    return Measured(
        speed=speed,
        start_up_s=start_up_s,
        load_s=time_loads(reopen, n_loads, clock) if is_real else None,
        peak_memory_bytes=peak,
        peak_device_bytes=_peak_device_bytes() if lm.engine.device == "cuda" else None,
        weights_bytes=costs.weights_bytes,
        kv_cache_bytes=costs.kv_cache_bytes,
        writing=writing,
        step_bytes=step_bytes,
        read_bytes_per_s=limit,
        memory_share=step_bytes * speed.decode_tok_per_s.median / limit
        if step_bytes and limit
        else None,
        evaluation=_score(lm, scored) if scored is not None and is_real else None,
    )


def _measure_generation(
    lm: LanguageModel, text: str, batch_size: int, clock: Callable[[], float], n_rounds: int = 3
) -> GenerationSpeed:
    """Time greedy generation, after one round that is not counted."""
    n = lm.config.n_positions
    ids = lm.tokenizer.encode(text).tolist()[: max(1, n // 2)][:32]
    n_new = min(N_WRITTEN, n - len(ids))
    settings = GenerationConfig(temperature=0.0, max_new_tokens=n_new)
    session, rates = lm.session(batch_size), []
    for _ in range(1 + n_rounds):
        written = generate_batch(session, [ids] * batch_size, settings)
        next(written)  # by now each sequence has its first id
        began_s = clock()
        for _ in written:
            pass
        rates.append(batch_size * (n_new - 1) / (clock() - began_s))
    return GenerationSpeed(batch_size=batch_size, tok_per_s=Spread.of(rates[1:]), new_tokens=n_new)


def _memory_limit(
    lm: LanguageModel, speed: Speed, clock: Callable[[], float]
) -> tuple[int | None, float | None]:
    """Return the bytes of a step and how fast they are read, where both are known."""
    if lm.engine.device != "cpu":
        return None, None
    n_context = speed.prompt_tokens + speed.decoded_tokens // 2
    step_bytes = bytes_per_step(lm.config, speed.precision, n_context)
    if step_bytes is None:
        return None, None
    return step_bytes, read_bytes_per_s(step_bytes, speed.threads, clock=clock)


def _peak_device_bytes() -> int:
    import torch

    return torch.cuda.max_memory_allocated()


def _score(lm: LanguageModel, text: Text) -> "Evaluation":
    from tinygpt.evaluation.bits_per_byte import evaluate
    from tinygpt.evaluation.token_nll import Scorer

    own = lm.engine.name != "torch"
    scorer = Scorer(lm.session(), lm.config, lm.engine.name) if own else lm.model
    known = (known_to_all(part, [lm.tokenizer]) for part in (text.text, text.prefix))
    return evaluate(scorer, lm.tokenizer, next(known), prefix=next(known))
