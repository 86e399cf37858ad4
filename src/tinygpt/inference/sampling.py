"""From logits to the next id, in numpy, so that every engine draws the same samples.

Order as in HF: repetition penalty, temperature, top-k, top-p, min-p. Randomness is a Philox stream
keyed by (seed, sample index): the same seed gives the same draws on every machine and engine, and
samples of one call do not depend on how many there are.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.errors import CheckpointError

__all__ = [
    "Logits",
    "Scores",
    "finite_scores",
    "generator",
    "lowered",
    "next_id",
    "probabilities",
]

Logits = np.ndarray[Any, np.dtype[np.float32]]
Scores = np.ndarray[Any, np.dtype[np.float64]]


def generator(seed: int, sample_index: int = 0) -> np.random.Generator:
    """Return the random stream of one sample."""
    key = np.array([seed % 2**64, sample_index], dtype=np.uint64)  # a list would become floats
    return np.random.Generator(np.random.Philox(key=key))


def lowered(
    logits: Logits, counts: Mapping[int, int], *, presence: float, frequency: float
) -> Logits:
    """Return a (V,) float32 copy of the logits, those of ids that were written lowered.

    The logit of an id loses `presence`, and `frequency` for each time it was written; negative
    ones raise it. Prompts don't count. The other penalty works on the result.
    Source: OpenAI, API guide, "Frequency and presence penalties".

    Args:
        logits: (V,) float32.
        counts: how often each id was written.
    """
    out = logits.copy()
    ids = np.fromiter(counts, np.int64, len(counts))
    times = np.fromiter(counts.values(), np.float32, len(counts))
    out[ids] -= presence + frequency * times
    return out


def next_id(
    logits: Logits,
    settings: GenerationConfig,
    rng: np.random.Generator,
    seen: Collection[int] = (),
) -> int:
    """Choose the next id; temperature 0 takes the most likely one and draws nothing.

    Args:
        logits: (V,) float32.
        seen: ids of the prompt and of the text so far, which repetition_penalty applies to; the
            order and repeats do not matter.

    Raises:
        CheckpointError: the logits are no numbers.
    """
    if settings.temperature == 0:
        return int(_penalised(logits, settings, seen).argmax())
    cumulative = probabilities(logits, settings, seen).cumsum()
    # random() is at most 1 - 2**-53, so the product stays below cumulative[-1] after rounding too.
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def probabilities(logits: Logits, settings: GenerationConfig, seen: Collection[int] = ()) -> Scores:
    """Return the (V,) float64 distribution that `next_id` draws from; arguments as there.

    Top-k keeps every token that ties with the k-th. Top-p keeps the smallest set of most likely
    tokens whose probabilities sum to at least p (Holtzman et al. 2020, section 3.1). Min-p keeps
    tokens at least min_p times as likely as the most likely one (Nguyen et al. 2024, section 3).
    """
    scores = _penalised(logits, settings, seen)
    if settings.temperature == 0:
        greedy = np.zeros(scores.size)
        greedy[scores.argmax()] = 1
        return greedy
    if settings.top_k is not None and settings.top_k < scores.size:  # temperature keeps the order
        scores[scores < np.partition(scores, -settings.top_k)[-settings.top_k]] = -np.inf
    scores -= scores.max()
    with np.errstate(over="ignore"):  # a tiny temperature: everything below the best is -inf
        scores /= settings.temperature
    p = np.exp(scores)
    p /= p.sum()
    if settings.top_p < 1:
        p = _most_likely(p, settings.top_p)
    if settings.min_p > 0:
        p[p < settings.min_p * p.max()] = 0
    p /= p.sum()
    return p


def _most_likely(p: Scores, mass: float, n: int = 1024) -> Scores:
    """Return p without what comes after the most likely tokens whose sum is `mass`.

    Only about n tokens are sorted where that many are enough.
    """
    least = np.partition(p, -n)[-n] if n < p.size else 0.0
    ids = np.flatnonzero(p >= least)
    order = ids[np.argsort(-p[ids], kind="stable")]
    up_to = p[order].cumsum()
    if up_to[-1] < mass + 1e-9 and least > 0:  # more than rounding can add
        return _most_likely(p, mass, 8 * n)
    kept = order[up_to - p[order] < mass]  # what is more likely has less mass than that
    out = np.zeros_like(p)
    out[kept] = p[kept]
    return out


def finite_scores(logits: Logits) -> Scores:
    """Return a (V,) float64 copy of the logits; CheckpointError where they are no numbers."""
    scores = logits.astype(np.float64)
    if not np.isfinite(scores.max()):  # the greatest is NaN if one is
        raise CheckpointError(
            "the model's logits are no numbers: its weights compute nothing; take another "
            "checkpoint"
        )
    return scores


def _penalised(logits: Logits, settings: GenerationConfig, seen: Collection[int]) -> Scores:
    """Return a (V,) float64 copy of the logits, with those of seen ids made worse.

    Source: Keskar et al. 2019 (CTRL), section 4.1, which divides; a negative score is multiplied,
    as in HF, so that a penalty above 1 always lowers it.
    """
    scores = finite_scores(logits)
    if settings.repetition_penalty != 1 and seen:
        ids = np.fromiter(seen, np.int64, len(seen))
        old = scores[ids]
        penalty = settings.repetition_penalty
        scores[ids] = np.where(old < 0, old * penalty, old / penalty)
    return scores
