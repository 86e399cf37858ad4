"""How fast a model reads (prefill) and writes (decode), measured on the same bytes for everyone.

Speed is in bytes of text per second, because a token of one model is not a token of another. Every
model reads the same first half of a short text and then steps through the second half one token at
a time, choosing the most likely next id after each as generation does. The ids that are fed come
from the text, so that random weights, which cost the same arithmetic, can be timed too. Models are
measured in turn, several times over; the figure is the median with its range.
"""

import time
from collections.abc import Callable, Sequence

from tinygpt.errors import DataError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.session import DecodeSession
from tinygpt.profiling.result import Speed, Spread

__all__ = ["measure_speeds", "time_loads"]

_WARM_UP_STEPS = 8
_ENOUGH_ROUNDS, _PATIENCE_S = 3, 10.0  # of large models fewer rounds are timed


def time_loads(
    reopen: Callable[[], object], n: int, clock: Callable[[], float] = time.perf_counter
) -> Spread:
    """Open a model again, n times; the seconds that takes, its files warm."""
    seconds = []
    for _ in range(n):
        began_s = clock()
        reopen()
        seconds.append(clock() - began_s)
    return Spread.of(seconds)


def measure_speeds(
    models: Sequence[LanguageModel],
    text: str,
    *,
    n_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Speed]:
    """Time every model in turn on the same bytes, after a warm-up that is not counted.

    The warm-up reads the whole prompt and steps a few times: it touches every weight.

    Args:
        text: at least 32 characters that all tokenizers know; only as much is used as the
            smallest context holds.
        n_repeats: counted rounds; once they have taken 10 s, no more than 3.

    Raises:
        DataError: the text is too short.
    """
    prompt, continuation = _halves(models, text)
    work = []
    for lm in models:
        ids = [int(i) for i in lm.tokenizer.encode(prompt)]
        work.append((lm.session(), ids, lm.tokenizer.encode(continuation).tolist()))
    seconds: list[list[tuple[float, float]]] = [[] for _ in models]
    for session, prompt_ids, new_ids in work:
        _run(session, prompt_ids, new_ids[:_WARM_UP_STEPS], clock)
    for n_done in range(n_repeats):
        spent_s = sum(prefill + decode for times in seconds for prefill, decode in times)
        if n_done >= _ENOUGH_ROUNDS and spent_s > _PATIENCE_S:
            break
        for times, (session, prompt_ids, new_ids) in zip(seconds, work, strict=True):
            times.append(_run(session, prompt_ids, new_ids, clock))
    n_prompt, n_new = len(prompt.encode()), len(continuation.encode())
    return [
        Speed(
            prefill_bytes_per_s=Spread.of([n_prompt / prefill for prefill, _ in times]),
            prefill_tok_per_s=Spread.of([len(prompt_ids) / prefill for prefill, _ in times]),
            decode_bytes_per_s=Spread.of([n_new / decode for _, decode in times]),
            decode_tok_per_s=Spread.of([len(new_ids) / decode for _, decode in times]),
            prompt_bytes=n_prompt,
            prompt_tokens=len(prompt_ids),
            decoded_bytes=n_new,
            decoded_tokens=len(new_ids),
            engine=lm.engine.name,
            device=lm.engine.device,
            precision=session.precision,
            threads=lm.engine.threads,
            isa=lm.engine.isa,
            random_weights=lm.missing_weights is not None,
        )
        for lm, times, (session, prompt_ids, new_ids) in zip(models, seconds, work, strict=True)
    ]


def _run(
    session: DecodeSession, prompt_ids: list[int], new_ids: list[int], clock: Callable[[], float]
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
