"""What each token costs a model, in nats: ids in, figures out; no text and no tokenizer here.

`token_nats` slides a window, so that every target has a long context and is scored exactly once;
training/val_loss.py scores disjoint windows, which is quicker. Sums are float64. The logits come
from a GPT, or from another engine's session in its place (`Scorer`).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinygpt.errors import CheckpointError
from tinygpt.model.external_config import AnyConfig
from tinygpt.model.gpt import GPT
from tinygpt.model.session import DecodeSession

__all__ = [
    "Ids",
    "Nats",
    "Scorer",
    "Watch",
    "engine_of",
    "sliding_windows",
    "target_nats",
    "token_nats",
]

MAX_LOGITS = 2**27
"""Logits held at once: half a GiB in float32."""

Ids = np.ndarray[Any, np.dtype[np.integer[Any]]]
Nats = np.ndarray[Any, np.dtype[np.float64]]
Watch = Callable[[torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A session that gives the logits in place of a GPT; works in its slot 0."""

    session: DecodeSession
    config: AnyConfig
    engine: str
    """Its name, e.g. "native"."""


def engine_of(model: GPT | Scorer) -> str:
    """Say what gives the logits: "torch float32", "native int8" ..."""
    if isinstance(model, Scorer):
        return f"{model.engine} {model.session.precision}"
    return str(model.lm_head.weight.dtype).replace(".", " ")


@torch.inference_mode()
def token_nats(
    model: GPT | Scorer,
    prefix_ids: Ids,
    ids: Ids,
    context: int,
    stride: int,
    *,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
    watch: Watch | None = None,
    side_by_side: list[Nats] | None = None,
) -> Nats:
    """Return the nats of each id given what stands before it, each scored exactly once.

    The window holds at most `context` input tokens and moves on by `stride`; a target is scored
    by the first window that holds its predecessor, so all but the first ones see at least
    context - stride tokens.

    Args:
        prefix_ids: (m,) unscored; without any, the first id has no predecessor and is left out.
        ids: (n,) the targets.
        watch: shown the logits of some targets, (n, V) float32, and their nats, (n,); in order.
        side_by_side: filled with what the same ids cost where windows of this context stand side
            by side. With a stride of half the context every second window is such a one, so this
            only takes a few more logits.

    Returns:
        (n,) float64, or (n - 1,) without a prefix.
    """
    trained = model if isinstance(model, GPT) and model.training else None
    if trained is not None:
        trained.eval()
    sequence = np.concatenate([prefix_ids, ids]).astype(np.int64)
    first, both = max(1, len(prefix_ids)), side_by_side is not None
    plan = _merged(
        sliding_windows(len(sequence), first, context, stride),
        sliding_windows(len(sequence), first, context, context) if both else [],
    )
    batch_size = max(1, min(batch_size, MAX_LOGITS // (context * model.config.vocab_size)))
    out: list[Nats] = []
    for _, same in itertools.groupby(plan, key=lambda w: w[1] - w[0]):
        alike = list(same)  # all but the first
        for i in range(0, len(alike), batch_size):
            batch = alike[i : i + batch_size]
            rows = np.stack([sequence[begin : end + 1] for begin, end, *_ in batch])
            n_scored = [end + 1 - min(firsts) for _, end, *firsts in batch]
            logits, nats = target_nats(model, rows, n_scored)
            scored = zip(
                batch, torch.split(logits, n_scored), torch.split(nats, n_scored), strict=True
            )
            for (_, end, sliding, beside), row_logits, row_nats in scored:
                n, n_beside = end + 1 - sliding, end + 1 - beside
                out.append(row_nats[len(row_nats) - n :].cpu().numpy())
                if watch is not None and n:
                    watch(row_logits[-n:], row_nats[-n:])
                if side_by_side is not None and n_beside:
                    side_by_side.append(row_nats[-n_beside:].cpu().numpy())
            if progress is not None:
                progress(min(1.0, sum(len(nats) for nats in out) / len(ids)))
    if trained is not None:
        trained.train()
    found = np.concatenate(out) if out else np.empty(0)
    if bad := int((~np.isfinite(found)).sum()):
        raise CheckpointError(
            f"the model gives {bad:,} of {found.size:,} tokens no probability: its weights are "
            "numbers, what it computes with them is not; take another checkpoint"
        )
    return found


def sliding_windows(n: int, first: int, context: int, stride: int) -> list[tuple[int, int, int]]:
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


def _merged(
    sliding: Sequence[tuple[int, int, int]], beside: Sequence[tuple[int, int, int]]
) -> list[tuple[int, int, int, int]]:
    """Return every window of two plans once.

    Returns:
        (begin, end, its first target in the one plan, that in the other) of each; end + 1 where
        the plan does not have it.
    """
    firsts = [{(begin, end): first for begin, end, first in plan} for plan in (sliding, beside)]
    return [
        (begin, end, firsts[0].get((begin, end), end + 1), firsts[1].get((begin, end), end + 1))
        for begin, end in sorted(firsts[0].keys() | firsts[1].keys())
    ]


def target_nats(
    model: GPT | Scorer, rows: np.ndarray[Any, Any], n_scored: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score the last ids of each row, as many as asked of it, rows (B, T + 1).

    Returns:
        Logits (N, V) float32 and nats (N,) float64, N in all, row after row.
    """
    idx, asked = torch.from_numpy(rows.astype(np.int64)), list(zip(rows, n_scored, strict=True))
    if isinstance(model, Scorer):
        logits = torch.cat([_session_logits(model.session, row, n) for row, n in asked])
    else:
        idx = idx.to(model.lm_head.weight.device)
        hidden = model.hidden(idx[:, :-1])  # (B, T, C)
        scored = torch.cat([row[-n:] for row, n in zip(hidden, n_scored, strict=True)])  # (N, C)
        logits = model.lm_head(scored).float()
    targets = torch.cat([row[-n:] for row, n in zip(idx, n_scored, strict=True)])
    return logits, F.cross_entropy(logits, targets, reduction="none").double()


def _session_logits(
    session: DecodeSession, row: np.ndarray[Any, Any], n_scored: int
) -> torch.Tensor:
    """Return the (n_scored, V) logits that predict the last ids of a row."""
    inputs = row[:-1].tolist()
    session.free(0)
    if inputs[:-n_scored]:
        session.prefill(0, inputs[:-n_scored])
    return torch.from_numpy(session.verify(0, inputs[-n_scored:]))
