"""From logits to the next id, in numpy, so that every engine draws the same samples.

Order as in HF: temperature, top-k, top-p. Randomness is a Philox stream keyed by (seed, sample
index): the same seed gives the same draws on every machine and engine, and samples of one call do
not depend on how many there are.
"""

from typing import Any

import numpy as np

from tinygpt.run_config import GenerationConfig

__all__ = ["generator", "next_id", "probabilities"]

Logits = np.ndarray[Any, np.dtype[np.float32]]


def generator(seed: int, sample_index: int = 0) -> np.random.Generator:
    """Return the random stream of one sample."""
    key = np.array([seed % 2**64, sample_index], dtype=np.uint64)  # a list would become floats
    return np.random.Generator(np.random.Philox(key=key))


def next_id(logits: Logits, settings: GenerationConfig, rng: np.random.Generator) -> int:
    """Choose the next id; temperature 0 takes the most likely one and draws nothing.

    Args:
        logits: (V,) float32.
    """
    if settings.temperature == 0:
        return int(logits.argmax())
    cumulative = probabilities(logits, settings).cumsum()
    # random() is at most 1 - 2**-53, so the product stays below cumulative[-1] after rounding too.
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def probabilities(
    logits: Logits, settings: GenerationConfig
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the (V,) float64 distribution that `next_id` draws from.

    Top-k keeps every token that ties with the k-th. Top-p keeps the smallest set of most likely
    tokens whose probabilities sum to at least p (Holtzman et al. 2020, section 3.1).
    """
    scores = logits.astype(np.float64)
    if settings.temperature == 0:
        greedy = np.zeros(scores.size)
        greedy[scores.argmax()] = 1
        return greedy
    if settings.top_k is not None and settings.top_k < scores.size:  # temperature keeps the order
        scores[logits < np.partition(logits, -settings.top_k)[-settings.top_k]] = -np.inf
    scores -= scores.max()
    with np.errstate(over="ignore"):  # a tiny temperature: everything below the best is -inf
        scores /= settings.temperature
    p = np.exp(scores)
    p /= p.sum()
    if settings.top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = p[order].cumsum() - p[order]  # mass of the more likely tokens
        p[order[before >= settings.top_p]] = 0
        p /= p.sum()
    return p
