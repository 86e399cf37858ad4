"""`val_loss`: nats per token on disjoint windows, which is quick; every target scored exactly once.

evaluation/token_nll.py slides a window instead, so that every target has a long context.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tinygpt.errors import DataError
from tinygpt.evaluation.token_nll import Ids, target_nats
from tinygpt.model.gpt import GPT

__all__ = ["WindowLoss", "n_windows", "val_loss"]


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
        nats += float(target_nats(model, rows).sum())
        n_tokens += rows[:, 1:].size
        if deadline is not None and deadline():
            break
    model.train(was_training)
    return WindowLoss(nats / n_tokens, n_tokens)
