"""What each token costs a model, in nats: ids in, figures out; no text and no tokenizer here.

`val_loss` scores disjoint windows, which is quick; `token_nats` slides a window so that every
target has a long context. Either way each target is scored exactly once, and sums are float64.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinygpt.errors import DataError
from tinygpt.model import GPT

__all__ = [
    "Ids",
    "Nats",
    "Watch",
    "WindowLoss",
    "n_windows",
    "sliding_windows",
    "token_nats",
    "val_loss",
]

MAX_LOGITS = 2**27
"""Logits held at once: half a GiB in float32."""

Ids = np.ndarray[Any, np.dtype[np.integer[Any]]]
Nats = np.ndarray[Any, np.dtype[np.float64]]
Watch = Callable[[torch.Tensor, torch.Tensor], None]


@dataclass(frozen=True, slots=True)
class WindowLoss:
    """Mean loss over disjoint windows."""

    loss: float
    """Nats per token."""
    n_tokens: int
    """Targets scored."""


def n_windows(n_ids: int, block_size: int) -> int:
    """Return how many disjoint windows hold the n_ids - 1 targets of a text."""
    return max(0, math.ceil((n_ids - 1) / block_size))


@torch.inference_mode()
def val_loss(
    model: GPT,
    ids: Ids,
    block_size: int,
    *,
    windows: Sequence[int] | None = None,
    batch_size: int = 32,
    deadline: Callable[[], bool] | None = None,
) -> WindowLoss:
    """Score disjoint windows: window i predicts ids[i*T + 1 : i*T + T + 1] from ids[i*T : i*T + T].

    Args:
        ids: (n,) the held-out text.
        windows: which ones, in which order; None takes all.
        deadline: asked between batches; once it says True, what has been scored is returned.

    Raises:
        DataError: not even one target.
    """
    total = n_windows(len(ids), block_size)
    if total == 0:
        raise DataError(f"{len(ids)} token(s) hold no target; give at least 2")
    was_training = model.training
    model.eval()
    order = list(range(total)) if windows is None else list(windows)
    last = [i for i in order if (i + 1) * block_size + 1 > len(ids)]  # shorter: scored on its own
    full = [i for i in order if (i + 1) * block_size + 1 <= len(ids)]
    nats, n_tokens = 0.0, 0
    for batch in [full[i : i + batch_size] for i in range(0, len(full), batch_size)] + [last]:
        if not batch:
            continue
        rows = np.stack([ids[i * block_size : (i + 1) * block_size + 1] for i in batch])
        nats += float(_target_nats(model, rows, rows.shape[1] - 1).sum())
        n_tokens += rows[:, 1:].size
        if deadline is not None and deadline():
            break
    model.train(was_training)
    return WindowLoss(nats / n_tokens, n_tokens)


@torch.inference_mode()
def token_nats(
    model: GPT,
    prefix_ids: Ids,
    ids: Ids,
    context: int,
    stride: int,
    *,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
    watch: Watch | None = None,
) -> Nats:
    """Return the nats of each id given what stands before it, each scored exactly once.

    The window holds at most `context` input tokens and moves on by `stride`; a target is scored
    by the first window that holds its predecessor, so all but the first ones see at least
    context - stride tokens.

    Args:
        prefix_ids: (m,) unscored; without any, the first id has no predecessor and is left out.
        ids: (n,) the targets.
        watch: shown the logits of some targets, (n, V) float32, and their nats, (n,); in order.

    Returns:
        (n,) float64, or (n - 1,) without a prefix.
    """
    was_training = model.training
    model.eval()
    sequence = np.concatenate([prefix_ids, ids]).astype(np.int64)
    plan = sliding_windows(len(sequence), max(1, len(prefix_ids)), context, stride)
    batch_size = max(1, min(batch_size, MAX_LOGITS // (context * model.config.vocab_size)))
    out: list[Nats] = []
    for shape, same in itertools.groupby(plan, key=lambda w: (w[1] - w[0], w[1] - w[2])):
        alike = list(same)  # all but the first and the last
        for i in range(0, len(alike), batch_size):
            batch = alike[i : i + batch_size]
            rows = np.stack([sequence[begin : end + 1] for begin, end, _ in batch])
            out.extend(_target_nats(model, rows, shape[1] + 1, watch))
            if progress is not None:
                progress(min(1.0, sum(len(nats) for nats in out) / len(ids)))
    model.train(was_training)
    return np.concatenate(out) if out else np.empty(0)


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


def _target_nats(
    model: GPT,
    rows: np.ndarray[Any, Any],
    n_scored: int,
    watch: Watch | None = None,
) -> Nats:
    """Return (B, n_scored) float64 nats of the last ids of each row, rows (B, T + 1)."""
    idx = torch.from_numpy(rows.astype(np.int64)).to(model.lm_head.weight.device)
    hidden = model.hidden(idx[:, :-1])[:, -n_scored:]  # (B, n_scored, C)
    logits = model.lm_head(hidden).float().flatten(0, 1)  # (B * n_scored, V)
    targets = idx[:, -n_scored:].flatten()
    nats = F.cross_entropy(logits, targets, reduction="none").double()
    if watch is not None:
        watch(logits, nats)
    return nats.view(len(rows), n_scored).cpu().numpy()
