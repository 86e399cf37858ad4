"""How a run of minutes paces itself: CPU threads and batch, measured before its first step.

A neighbour on one of two cores makes two threads slower than one, and how many windows a step
should have depends on how many tokens the minutes allow. A run of steps leaves both alone: it
repeats bit for bit, and its settings alone decide what it does.
"""

import math
from collections.abc import Callable, Sequence

import torch

__all__ = ["batch_for", "fastest", "thread_counts"]

_TRIALS = 3  # of each thread count, the quickest counts
_WORTH_IT = 1.03  # a smaller count must be so much faster than a larger one
_HOPELESS = 1.4  # so much slower than the best so far, and it is not tried again

_FEW_TOKENS, _FEW_WINDOWS = 220_000, 4  # of 128 tokens, where a step's fixed cost counts too
_MOST_TOKENS_PER_STEP = 2**16


def thread_counts(n: int) -> list[int]:
    """Return the numbers of threads worth trying where torch would take n, the largest first."""
    return sorted({n, *(n // 2**i for i in range(1, n.bit_length()))}, reverse=True)


def fastest(
    counts: Sequence[int],
    work: Callable[[], None],
    clock: Callable[[], float],
    most_s: float,
) -> tuple[int, dict[int, float]]:
    """Try numbers of threads and leave torch with the fastest.

    Args:
        counts: the largest first.
        work: what is timed.
        clock: seconds.
        most_s: once so many are spent, no other count is tried.

    Returns:
        The count, and the seconds that `work` took with each count tried.
    """
    began_s = clock()
    took: dict[int, float] = {}
    for count in counts:
        torch.set_num_threads(count)
        if not took:
            work()  # warms up
        trials = []
        for _ in range(_TRIALS):
            trial_s = clock()
            work()
            trials.append(clock() - trial_s)
            slow = took and min(trials) > _HOPELESS * min(took.values())
            if slow or clock() - began_s > most_s:
                break
        took[count] = min(trials)
        if clock() - began_s > most_s:
            break
    best = counts[0]
    for count, seconds in took.items():
        if seconds * _WORTH_IT < took[best]:
            best = count
    torch.set_num_threads(best)
    return best, took


def batch_for(n_tokens: float, block_size: int) -> int:
    """Return how many windows a step should have if a run can train on so many tokens.

    The best batch grows with the square root of the tokens; powers of two, at least one window.
    """
    tokens_per_step = _FEW_WINDOWS * 128 * math.sqrt(max(n_tokens, 1.0) / _FEW_TOKENS)
    windows = min(tokens_per_step, _MOST_TOKENS_PER_STEP) / block_size
    return int(2 ** max(0, round(math.log2(windows)))) if windows > 0 else 1
