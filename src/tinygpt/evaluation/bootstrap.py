"""Whether one model is better than another on a text, or the difference is the luck of the text.

Costs are paired: both models scored the same blocks of the same bytes, and what is resampled is
their difference per block. Source: Miller 2024, "Adding Error Bars to Evals", arXiv 2411.00640
(paired differences); Efron and Tibshirani 1993, chapter 12.5 (the bootstrap-t interval).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygpt.errors import ConfigError, DataError

__all__ = ["BLOCK_BYTES", "Blocks", "Difference", "cut_into_blocks", "paired_differences"]

BLOCK_BYTES = 1024
"""Of a block: longer than most contexts, so that blocks are about independent; 32 in 32 KiB."""

MIN_BLOCKS = 8
"""With fewer the bootstrap has nothing to draw from."""

LEVEL = 0.05
"""Share of pairs without a true difference for which one is reported all the same."""

N_RESAMPLES = 10_000

_Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """What one model paid for each block of a text."""

    nats: _Floats
    """(n,) float64."""
    n_bytes: _Floats
    """(n,) UTF-8 bytes of each block, as floats; the same for every model of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One model against another on the same bytes, in bits per byte."""

    first: str
    second: str
    bits_per_byte: float
    """The first one's figure less the second one's: below 0 the first is better."""
    low: float
    high: float
    """Both: the 95% interval of the difference, for this pair alone."""
    p: float
    """Share of resamples at least as far off if there were no difference; Holm's correction in."""
    n_compared: int
    """Pairs that the correction is for; 1 needs none."""
    n_blocks: int
    detected: bool
    """Whether there is a difference, as far as this text can tell: p below 5%."""

    def __str__(self) -> str:
        """Say it in one line."""
        interval = f"95% interval {self.low:+.4f} to {self.high:+.4f} bits per byte"
        many = f", Holm's correction for {self.n_compared} pairs" if self.n_compared > 1 else ""
        if not self.detected:
            names = f"{self.first} and {self.second}"
            return f"no difference detected between {names} ({interval}{many})"
        better, worse = (self.first, self.second)[:: 1 if self.bits_per_byte < 0 else -1]
        return (
            f"{better} is better than {worse} ({self.first} minus {self.second}: {interval}{many})"
        )


def cut_into_blocks(
    nats: _Floats, n_bytes: Sequence[int] | _Floats, block_bytes: int = BLOCK_BYTES
) -> Blocks:
    """Sum what each token cost into blocks of equal bytes; the last one is shorter.

    A token that lies across the border of two blocks pays into both, by its bytes, so that models
    with different tokens are compared on the same bytes and no nat is lost.

    Args:
        nats: (n,) of each token or character, in the order of the text.
        n_bytes: (n,) its UTF-8 bytes, at least 1.
        block_bytes: at least the context in bytes, better more.

    Raises:
        ConfigError: block_bytes below 1.
    """
    if block_bytes < 1:
        raise ConfigError(f"block_bytes={block_bytes} is not allowed: at least 1")
    ends = np.concatenate([[0.0], np.cumsum(n_bytes, dtype=np.float64)])
    spent = np.concatenate([[0.0], np.cumsum(nats, dtype=np.float64)])
    borders = np.append(np.arange(0.0, ends[-1], block_bytes), ends[-1])
    return Blocks(nats=np.diff(np.interp(borders, ends, spent)), n_bytes=np.diff(borders))


def paired_differences(
    models: Mapping[str, Blocks], *, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> tuple[Difference, ...]:
    """Compare every two of several models; above two models Holm's correction is applied.

    Args:
        models: name -> blocks, two models at least, all on the same blocks.
        seed: of the resampling; the same one gives the same answer.
        n_resamples: of each pair.

    Raises:
        ConfigError: fewer than two models.
        DataError: other blocks, or fewer than 8.
    """
    if len(models) < 2:
        raise ConfigError(f"{len(models)} model(s) to compare: give at least 2")
    name, blocks = next(iter(models.items()))
    n = len(blocks.nats)
    if n < MIN_BLOCKS:
        raise DataError(
            f"{n} block(s) of text are too few for an interval, at least {MIN_BLOCKS} are needed; "
            "score more bytes"
        )
    for other, found in models.items():
        if not np.array_equal(found.n_bytes, blocks.n_bytes):
            raise DataError(f"{name} and {other} were not scored on the same blocks of bytes")
    pairs = list(itertools.combinations(models.items(), 2))
    tested = [_bootstrap(a, b, seed, n_resamples) for (_, a), (_, b) in pairs]
    corrected = _holm([p for *_, p in tested])
    return tuple(
        Difference(
            first=first,
            second=second,
            bits_per_byte=difference,
            low=difference - reach,
            high=difference + reach,
            p=p,
            n_compared=len(pairs),
            n_blocks=n,
            detected=p < LEVEL,
        )
        for ((first, _), (second, _)), (difference, reach, _), p in zip(
            pairs, tested, corrected, strict=True
        )
    )


def _bootstrap(a: Blocks, b: Blocks, seed: int, n_resamples: int) -> tuple[float, float, float]:
    """Return the difference in bits per byte, how far its interval reaches, and p.

    The symmetric bootstrap-t: each resample's distance from the difference is measured in its own
    standard errors. A plain percentile interval is too short on the 32 blocks of 32 KiB, because
    it knows the spread of few blocks too well. The interval spans 0 exactly if p >= 5%.
    """
    bits = (a.nats - b.nats) / math.log(2)  # (n,)
    difference, error = _ratio(bits[None], a.n_bytes[None])
    key = np.array([seed, 0], dtype=np.uint64)
    rng, n = np.random.Generator(np.random.Philox(key=key)), len(bits)
    distances = []
    rows = max(1, 2**20 // n)
    for done in range(0, n_resamples, rows):
        drawn = rng.integers(0, n, (min(rows, n_resamples - done), n))
        found, errors = _ratio(bits[drawn], a.n_bytes[drawn])
        distances.append(_in_errors(found - difference, errors))
    far = np.sort(np.concatenate(distances))[::-1]
    k = max(1, math.ceil(LEVEL * (n_resamples + 1) - 1))  # p < 5% if fewer than k are as far off
    own = _in_errors(difference, error)[0]
    p = (1 + int((far >= own).sum())) / (n_resamples + 1)
    reach = float(far[k - 1] * error[0]) if error[0] else 0.0
    return float(difference[0]), reach, p


def _ratio(bits: _Floats, n_bytes: _Floats) -> tuple[_Floats, _Floats]:
    """Return bits per byte of each row of blocks, and its standard error."""
    total = n_bytes.sum(1)
    ratio = bits.sum(1) / total
    left = bits - ratio[:, None] * n_bytes
    n = bits.shape[1]
    return ratio, np.sqrt((left * left).sum(1) * n / (n - 1)) / total


def _in_errors(distance: _Floats, error: _Floats) -> _Floats:
    """Return |distance| / error; without any error 0 for no distance, else infinite."""
    out = np.where(distance == 0, 0.0, np.inf)
    return np.divide(np.abs(distance), error, out=out, where=error > 0)


def _holm(p: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    corrected = [0.0] * len(p)
    worst = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = worst
    return corrected
