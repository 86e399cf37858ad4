"""Log probabilities of tokens, and the likeliest ones beside them."""

from collections.abc import Sequence

import numpy as np

from tinygpt.inference.sampling import Logits, Scores, finite_scores
from tinygpt.serve.batching.jobs import SampledToken

__all__ = ["spelled"]


def spelled(
    token_bytes: Sequence[bytes], token_id: int, logits: Logits | None, n_top: int
) -> SampledToken:
    """Return a token with its text and what the model gave it.

    Args:
        token_bytes: of each id.
        logits: (V,) what it was sampled from or stands after; None leaves its probability out.
        n_top: how many of the likeliest tokens to name.

    Raises:
        CheckpointError: the logits are no numbers.
    """
    text = _text(token_bytes, token_id)
    if logits is None:
        return SampledToken(id=token_id, text=text)
    scores = _log_softmax(logits)
    return SampledToken(
        id=token_id,
        text=text,
        logprob=float(scores[token_id]),
        top=tuple((_text(token_bytes, i), float(scores[i])) for i in _largest(scores, n_top)),
    )


def _text(token_bytes: Sequence[bytes], token_id: int) -> str:
    return token_bytes[token_id].decode("utf-8", "backslashreplace")


def _log_softmax(logits: Logits) -> Scores:
    """Return the (V,) float64 log probabilities."""
    scores = finite_scores(logits)
    scores -= scores.max()
    scores -= np.log(np.exp(scores).sum())
    return scores


def _largest(scores: Scores, n: int) -> list[int]:
    """Return the ids of the n largest scores, best first, the smaller id where two tie."""
    n = min(n, scores.size)
    if n == 0:
        return []
    least = np.partition(scores, -n)[-n]
    ids = np.flatnonzero(scores >= least)
    order = np.argsort(-scores[ids], kind="stable")
    return [int(i) for i in ids[order][:n]]
