"""What each token costs a model, in nats: ids in, arrays out; no text and no tokenizer here.

`score_tokens` slides a window over the ids, so that every target has a long context and is scored
exactly once; training/val_loss.py scores disjoint windows, which is quicker. Logits exist for a few
hundred targets at a time. They come from a GPT, or from another engine's session in its place
(`Scorer`).
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinygpt.errors import CheckpointError
from tinygpt.model.external_config import AnyConfig
from tinygpt.model.gpt import GPT
from tinygpt.model.session import DecodeSession

__all__ = [
    "Counts",
    "Ids",
    "Nats",
    "Scorer",
    "TokenScores",
    "engine_of",
    "score_tokens",
    "target_nats",
]

PIECE = 256
"""Targets whose logits exist at once: 50 MiB with 50,257 ids."""

MAX_TOKENS = 8192
"""Tokens of the windows that a GPT reads at once, at least one window."""

Ids = np.ndarray[Any, np.dtype[np.integer[Any]]]
Nats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A session that gives the logits in place of a GPT; works in its slot 0."""

    session: DecodeSession
    config: AnyConfig
    engine: str
    """Its name, e.g. "native"."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenScores:
    """NLL, context and rank of each of n ids, as arrays in the order of the ids."""

    nats: Nats
    """(n,) negative log-likelihood of each; ln V where nothing stands before it."""
    context: Counts
    """(n,) tokens that the model saw before each; 0 where nothing stands before it."""
    ranks: Counts
    """(n,) 1 if no id was likelier, 2 if one was ...; 0 where nothing stands before it."""
    best_ids: Counts
    """(n, n_best) the likeliest ids, best first."""
    best_probabilities: Nats
    """(n, n_best) their probabilities."""


def engine_of(model: GPT | Scorer) -> str:
    """Return what gives the logits: "torch float32", "native int8" ..."""
    if isinstance(model, Scorer):
        return f"{model.engine} {model.session.precision}"
    return str(model.lm_head.weight.dtype).replace(".", " ")


@torch.inference_mode()
def score_tokens(
    model: GPT | Scorer,
    prefix_ids: Ids,
    ids: Ids,
    context: int,
    strides: Sequence[int],
    *,
    n_best: int = 0,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
) -> tuple[TokenScores, ...]:
    """Return what each id costs given what stands before it, once for each stride.

    The window holds at most `context` input tokens and moves on by the stride; a target is scored
    by the first window that holds its predecessor, so all but the first ones see at least
    context - stride tokens. A window that two strides share is computed once: with strides of half
    the context and of all of it the second one takes only a few more logits.

    Args:
        prefix_ids: (m,) unscored; without any, the first id has no predecessor and costs ln V.
        ids: (n,) the targets.
        strides: at least one, each 1 to context.
        n_best: likeliest ids to return with each target, V at most; 0 also leaves out the ranks.
        batch_size: windows that a GPT reads at once, as far as MAX_TOKENS goes.
        progress: called with the share done, 0 to 1.

    Raises:
        CheckpointError: the model gives a target no probability.
    """
    sequence = np.concatenate([prefix_ids, ids]).astype(np.int64)
    first, at = max(1, len(prefix_ids)), len(prefix_ids)
    found = tuple(_unscored(len(ids), model.config.vocab_size, n_best) for _ in strides)
    windows = _windows(len(sequence), first, context, strides)
    if isinstance(model, Scorer):
        batch_size = 1  # a session reads window by window
    batch_size = max(1, min(batch_size, MAX_TOKENS // context))
    trained = model if isinstance(model, GPT) and model.training else None
    if trained is not None:
        trained.eval()
    try:
        for _, alike in itertools.groupby(windows, key=lambda w: w[1] - w[0]):
            same = list(alike)  # all but the first
            for batch in (same[i : i + batch_size] for i in range(0, len(same), batch_size)):
                rows = np.stack([sequence[begin : end + 1] for begin, end, _ in batch])
                n_scored = [end + 1 - min(firsts) for _, end, firsts in batch]
                pieces = [_costs(*piece, n_best) for piece in _logits(model, rows, n_scored)]
                columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
                done = 0
                for (begin, end, firsts), n in zip(batch, n_scored, strict=True):
                    for scores, start in zip(found, firsts, strict=True):
                        _fill(scores, columns, done + n, start - at, end + 1 - at, start - begin)
                    done += n
                if progress is not None:
                    progress(min(1.0, (batch[-1][1] + 1 - at) / len(ids)))
    finally:
        if trained is not None:
            trained.train()
    for scores in found:
        if bad := int((~np.isfinite(scores.nats)).sum()):
            raise CheckpointError(
                f"the model gives {bad:,} of {len(ids):,} tokens no probability: its weights are "
                "finite, its logits are NaN or infinite; take another checkpoint"
            )
    return found


def _sliding_windows(n: int, first: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """Return the sliding windows over n ids, of which those from `first` on are targets.

    Returns:
        (begin, end, first target) of each: its inputs are begin..end-1, its targets go up to the
        index `end`.
    """
    plan: list[tuple[int, int, int]] = []
    while first < n:
        # The first window scores all that fits behind the prefix, the later ones `stride` targets.
        end = min(n - 1, max(first, context) if not plan else first + stride - 1)
        plan.append((max(0, end - context), end, first))
        first = end + 1
    return plan


def target_nats(model: GPT, rows: np.ndarray[Any, Any]) -> Tensor:
    """Return what the targets of windows cost, rows (B, T + 1): (B * T,) float64, row after row."""
    every = _logits(model, rows, [rows.shape[1] - 1] * len(rows))
    return torch.cat([_nats(logits, targets) for logits, targets in every])


def _windows(
    n: int, first: int, context: int, strides: Sequence[int]
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return every window of the plans once: begin, end, and its first target in each plan.

    A plan without the window gets end + 1, so it scores no target there.
    """
    plans = [
        {(begin, end): start for begin, end, start in _sliding_windows(n, first, context, stride)}
        for stride in strides
    ]
    every = sorted(set().union(*plans))
    return [(b, e, tuple(plan.get((b, e), e + 1) for plan in plans)) for b, e in every]


def _unscored(n: int, vocab_size: int, n_best: int) -> TokenScores:
    """Return the scores of ids without context, ln V each; `_fill` overwrites them."""
    return TokenScores(
        nats=np.full(n, math.log(vocab_size)),
        context=np.zeros(n, np.int64),
        ranks=np.zeros(n, np.int64),
        best_ids=np.zeros((n, n_best), np.int64),
        best_probabilities=np.zeros((n, n_best)),
    )


def _fill(
    scores: TokenScores, columns: list[Any], to: int, begin: int, end: int, context: int
) -> None:
    """Write the scores of the ids begin..end-1, which lie in the columns before the row `to`.

    Args:
        context: tokens that stand before the first of them in its window.
    """
    rows, place = slice(to - (end - begin), to), slice(begin, end)
    scores.context[place] = np.arange(context, context + end - begin)
    fields = (scores.nats, scores.ranks, scores.best_ids, scores.best_probabilities)
    for array, column in zip(fields, columns, strict=False):  # nats alone without n_best
        array[place] = column[rows]


def _costs(logits: Tensor, targets: Tensor, n_best: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Return the nats of m targets, and with n_best their ranks and the likeliest ids there."""
    nats = _nats(logits, targets)
    if not n_best:
        return (nats.cpu().numpy(),)
    best, indices = logits.topk(n_best)  # (m, n_best)
    own = logits.gather(1, targets[:, None])  # (m, 1)
    ranks = (logits > own).sum(1) + 1
    # The target's nats say what all exponentials sum to: no second pass over the vocabulary.
    probabilities = (best.double() - own.double() - nats[:, None]).exp()
    return tuple(part.cpu().numpy() for part in (nats, ranks, indices, probabilities))


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none").double()


def _logits(
    model: GPT | Scorer, rows: np.ndarray[Any, Any], n_scored: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits of the last ids of each row, as many as asked of it, rows (B, T + 1).

    Yields:
        Logits (m, V) float32 and targets (m,), m at most PIECE, row after row.
    """
    idx = torch.from_numpy(rows.astype(np.int64))
    targets = torch.cat([row[-n:] for row, n in zip(idx, n_scored, strict=True)])
    if isinstance(model, Scorer):
        for row, n in zip(rows, n_scored, strict=True):
            for logits in _session_logits(model.session, row[:-1].tolist(), n):
                yield logits, targets[: len(logits)]
                targets = targets[len(logits) :]
        return
    idx, targets = (t.to(model.lm_head.weight.device) for t in (idx, targets))
    hidden = model.hidden(idx[:, :-1])  # (B, T, C)
    scored = torch.cat([row[-n:] for row, n in zip(hidden, n_scored, strict=True)])  # (N, C)
    for part, wanted in zip(torch.split(scored, PIECE), torch.split(targets, PIECE), strict=True):
        yield model.lm_head(part).float(), wanted


def _session_logits(session: DecodeSession, inputs: list[int], n_scored: int) -> Iterator[Tensor]:
    """Yield the logits (m, V) that predict the last ids of a row, m at most PIECE."""
    session.free(0)
    at = len(inputs) - n_scored
    if at:
        session.prefill(0, inputs[:at])
    reads_anew = getattr(session, "reads_anew", lambda slot: False)  # else each piece costs all
    while at < len(inputs):
        end = len(inputs) if reads_anew(0) else at + PIECE
        yield from torch.split(torch.from_numpy(session.verify(0, inputs[at:end])), PIECE)
        at = end
