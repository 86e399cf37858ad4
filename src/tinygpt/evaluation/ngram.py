"""An n-gram model over bytes: what counting the last few bytes predicts, without any network.

Interpolated modified Kneser-Ney smoothing down to uniform bytes, so that every text has a finite
cost. An n-gram of at most 8 bytes is one 64-bit integer: the counts are sorted arrays, exact.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["MAX_ORDER", "choose_order", "ngram_nats"]

MAX_ORDER = 8
"""Longest n-gram in bytes, the predicted one included."""

MONITOR_SHARE = 50
"""One part in so many, at the end of the training text, is what the order is chosen on."""

_FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where a count of counts is 0 and they can't be estimated."""

_Keys = np.ndarray[Any, np.dtype[np.uint64]]
_Counts = np.ndarray[Any, np.dtype[np.int64]]
_Floats = np.ndarray[Any, np.dtype[np.float64]]

_BYTE = np.uint64(8)


def ngram_nats(train: bytes, prefix: bytes, text: bytes, order: int) -> _Floats:
    """Return what each byte of a text costs, given the order - 1 bytes before it.

    Args:
        train: what is counted; may be short or empty.
        prefix: stands before the text, unscored; newlines stand in for what it lacks.
        order: length of the n-grams, 1 to MAX_ORDER.

    Returns:
        (n,) float64 nats.

    Source: Chen and Goodman 1999, "An empirical study of smoothing techniques for language
    modeling": modified Kneser-Ney, interpolated.
    """
    assert 1 <= order <= MAX_ORDER
    *_, last = _every_order(train, prefix, text, order)
    return -np.log(last)


@lru_cache(maxsize=2)  # several texts are compared after one training text
def choose_order(train: bytes) -> int:
    """Return the order, 2 or more, that predicts a training text's last 2% best from its rest."""
    n = len(train) - len(train) // MONITOR_SHARE
    probabilities = _every_order(train[:n], train[:n], train[n:], MAX_ORDER)
    costs = [-np.log(p).sum() for p in probabilities]
    return 2 + int(np.argmin(costs[1:]))


def _every_order(train: bytes, prefix: bytes, text: bytes, top: int) -> Iterator[_Floats]:
    """Yield the probability of each byte of the text under the models of order 1 to top.

    The highest order of a model counts how often an n-gram stands in the text; the orders below it
    count how many different bytes stand before it.
    """
    before = (b"\n" * top + prefix)[-top:]
    counted = _tables(train, top)
    lower = np.full(len(text), 1 / 256)
    for k in range(1, top + 1):
        asked = _ngrams((before + text)[top + 1 - k :], k)
        found, left = _discounted(*counted[k - 1], asked)
        yield found + left * lower
        if k < top:
            last_k_bytes = np.uint64(2 ** (8 * k) - 1)
            kinds = _counted(counted[k][0] & last_k_bytes)
            found, left = _discounted(*kinds, asked)
            lower = found + left * lower


@lru_cache(maxsize=1)  # several texts are compared after one training text
def _tables(train: bytes, top: int) -> tuple[tuple[_Keys, _Counts], ...]:
    """Return the distinct n-grams of each order up to top, sorted, and how often each is there."""
    codes = _ngrams(train, 1)
    keys, found = codes, [_counted(codes)]
    for k in range(2, top + 1):
        keys = (keys[:-1] << _BYTE) | codes[k - 1 :]
        found.append(_counted(keys))
    return tuple(found)


def _ngrams(data: bytes, k: int) -> _Keys:
    """Return every k bytes in a row as one integer, the first byte highest."""
    codes = np.frombuffer(data, np.uint8).astype(np.uint64)
    n = max(0, len(codes) - k + 1)
    keys = np.zeros(n, np.uint64)
    for j in range(k):
        keys = (keys << _BYTE) | codes[j : j + n]
    return keys


def _counted(keys: _Keys) -> tuple[_Keys, _Counts]:
    """Return the distinct keys, sorted, and how often each is there."""
    distinct, counts = np.unique(keys, return_counts=True)
    return distinct, counts


def _discounted(keys: _Keys, counts: _Counts, asked: _Keys) -> tuple[_Floats, _Floats]:
    """Return the discounted share of each asked n-gram after its context, and what is left over.

    Args:
        keys: (m,) the distinct n-grams, sorted; they lie together by context.
        counts: (m,) of each.
        asked: (n,) n-grams; an unknown context leaves everything to the lower order.
    """
    if not len(keys):
        return np.zeros(len(asked)), np.ones(len(asked))
    discounts = _discounts(counts)
    contexts = keys >> _BYTE
    starts = np.flatnonzero(np.concatenate([[True], contexts[1:] != contexts[:-1]]))
    totals = np.add.reduceat(counts, starts)
    freed = np.add.reduceat(discounts[np.minimum(counts, 3)], starts)
    group, known = _look_up(contexts[starts], asked >> _BYTE)
    entry, seen = _look_up(keys, asked)
    own = np.where(seen, counts[entry], 0)
    kept = own - discounts[np.minimum(own, 3)]
    return (
        np.where(seen, kept / totals[group], 0.0),
        np.where(known, freed[group] / totals[group], 1.0),
    )


def _discounts(counts: _Counts) -> _Floats:
    """Return what is taken off a count of 0, 1, 2 and 3 or more.

    Source: Chen and Goodman 1999, the estimates D1, D2 and D3+ from the counts of counts; where
    they are not defined or not between 0 and the count, as for the few n-grams of order 1, fixed.
    """
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    estimated: tuple[float, ...] = _FALLBACK
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        estimated = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    usable = all(0 < d < c for c, d in enumerate(estimated, 1))
    return np.array([0.0, *(estimated if usable else _FALLBACK)])


def _look_up(keys: _Keys, asked: _Keys) -> tuple[_Counts, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return where each asked key stands among the sorted keys, and whether it does."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return at, keys[at] == asked
