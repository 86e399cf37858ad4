"""Cross-entropy of a model's last hidden states, without the logits ever standing in full.

GPT-2's vocabulary makes the logits of a batch by far the largest tensor of a training step, and
backpropagation would hold them three times over. Here a slice of the tokens at a time goes from
hidden state to loss and gradient, and its logits are forgotten.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["summed_cross_entropy"]

_LARGEST_SLICE = 2**24
"""Logits that stand at a time: 64 MiB in float32."""


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the sum over tokens of the cross-entropy in nats, a () tensor, float32 or better.

    Args:
        hidden: (N, C) what the output matrix is multiplied with.
        weight: (V, C) the output matrix.
        targets: (N,) int64 in [0, V).
    """
    loss: Tensor = _SummedCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return loss


class _SummedCrossEntropy(torch.autograd.Function):
    """The gradients are computed on the way forward, while the logits are there."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        n, size = len(hidden), max(1, _LARGEST_SLICE // len(weight))
        precise = torch.promote_types(hidden.dtype, torch.float32)
        loss = torch.zeros((), dtype=precise, device=hidden.device)
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        for begin in range(0, n, size):
            part = slice(begin, begin + size)
            chosen = targets[part, None]
            # (n, V); the same buffer becomes probabilities, then the gradient of the logits
            p = torch.log_softmax(F.linear(hidden[part], weight).to(precise), dim=1)
            loss -= p.gather(1, chosen).sum()
            p.exp_().scatter_add_(1, chosen, p.new_full(chosen.shape, -1.0))
            p = p.to(hidden.dtype)
            torch.mm(p, weight, out=d_hidden[part])
            d_weight.addmm_(p.mT, hidden[part])
        ctx.save_for_backward(d_hidden, d_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * gradients[0], d_weight * gradients[0], None
