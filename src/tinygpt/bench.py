"""How fast a model reads (prefill) and writes (decode), measured on the same bytes for everyone.

Speed is in bytes of text per second, because a token of one model is not a token of another. Every
model reads the same first half of a short text and then steps through the second half one token at
a time, choosing the most likely next id after each as generation does. The ids that are fed come
from the text, so that random weights, which cost the same arithmetic, can be timed too. Models are
measured in turn, several times over; the figure is the median with its range.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tinygpt.errors import DataError
from tinygpt.language_model import LanguageModel
from tinygpt.torch_session import TorchSession

__all__ = ["Speed", "Spread", "measure_speeds"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise the measurements."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Prefill and decode speed of one model on one machine, batch 1."""

    prefill_bytes_per_s: Spread
    """Bytes of the prompt / time from an empty cache to the logits of the next token."""
    decode_bytes_per_s: Spread
    """Bytes of the continuation / time to feed it token by token."""
    decode_tok_per_s: Spread
    """The same in tokens, for readers who know the tokenizer."""
    prompt_bytes: int
    prompt_tokens: int
    decoded_bytes: int
    decoded_tokens: int
    engine: str
    device: str
    precision: str
    threads: int
    random_weights: bool
    """True where the weights were drawn at random: the time is real, the text would not be."""


def measure_speeds(
    models: Sequence[LanguageModel],
    text: str,
    *,
    n_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Speed]:
    """Time every model in turn on the same bytes, after one warm-up round that is not counted.

    Args:
        text: at least 32 characters that all tokenizers know; only as much is used as the
            smallest context holds.
        n_repeats: counted rounds.

    Raises:
        DataError: the text is too short.
    """
    prompt, continuation = _halves(models, text)
    work = []
    for lm in models:
        ids = [int(i) for i in lm.tokenizer.encode(prompt)]
        work.append((TorchSession(lm.model), ids, lm.tokenizer.encode(continuation).tolist()))
    seconds: list[list[tuple[float, float]]] = [[] for _ in models]
    for repeat in range(n_repeats + 1):
        for times, (session, prompt_ids, new_ids) in zip(seconds, work, strict=True):
            pair = _run(session, prompt_ids, new_ids, clock)
            if repeat:
                times.append(pair)
    n_prompt, n_new = len(prompt.encode()), len(continuation.encode())
    return [
        Speed(
            prefill_bytes_per_s=Spread.of([n_prompt / prefill for prefill, _ in times]),
            decode_bytes_per_s=Spread.of([n_new / decode for _, decode in times]),
            decode_tok_per_s=Spread.of([len(new_ids) / decode for _, decode in times]),
            prompt_bytes=n_prompt,
            prompt_tokens=len(prompt_ids),
            decoded_bytes=n_new,
            decoded_tokens=len(new_ids),
            engine="torch",
            device=lm.model.lm_head.weight.device.type,
            precision=session.precision,
            threads=torch.get_num_threads(),
            random_weights=lm.missing_weights is not None,
        )
        for lm, times, (session, prompt_ids, new_ids) in zip(models, seconds, work, strict=True)
    ]


def _run(
    session: TorchSession, prompt_ids: list[int], new_ids: list[int], clock: Callable[[], float]
) -> tuple[float, float]:
    """Return the seconds of one prefill and of the steps after it."""
    session.free(0)
    started_s = clock()
    session.prefill(0, prompt_ids)
    session.argmax([0])  # waits for the device too
    prefilled_s = clock()
    for new in new_ids:
        session.step([0], [new])
        session.argmax([0])
    return prefilled_s - started_s, clock() - prefilled_s


def _halves(models: Sequence[LanguageModel], text: str) -> tuple[str, str]:
    """Return two texts of equal length that together fit into every model's context."""
    for n in (512, 256, 128, 64, 32, 16):
        if len(text) < 2 * n:
            continue
        halves = text[:n], text[n : 2 * n]
        if all(
            sum(len(lm.tokenizer.encode(half)) for half in halves) <= lm.config.n_positions
            for lm in models
        ):
            return halves
    n_positions = min(lm.config.n_positions for lm in models)
    raise DataError(
        f"{len(text)} characters that every model knows, in a context of {n_positions:,} tokens, "
        "are too few to time on: at least 32 that fit into it"
    )
