"""The optimizer: AdamW in two groups, its learning rate as a plain function, its state as tensors.

AdamW: Loshchilov and Hutter 2019, algorithm 2. Weight decay is for matrices (embeddings included);
biases and LayerNorms have no scale to shrink. The schedule, linear warm-up and linear decay, has no
state: it follows the step and the share of the budget that is spent.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinygpt.errors import CheckpointError
from tinygpt.model import GPT
from tinygpt.run_config import OptimConfig

__all__ = [
    "learning_rate",
    "load_state",
    "make_optimizer",
    "parameter_groups",
    "set_learning_rate",
    "state_tensors",
]

_FUSED_DEVICES = ("cpu", "cuda", "mps")
_MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate(config: OptimConfig, step: int, share: float) -> float:
    """Return the learning rate of a step: the lower of two lines.

    Args:
        config: peak, end and warm-up.
        step: steps already taken; the warm-up line rises by peak / (warmup_steps + 1) each.
        share: share of the budget already spent, 0 to 1; the decay line falls from the peak at 0
            to final_learning_rate at 1.
    """
    peak, end = config.learning_rate, config.final_learning_rate
    warm_up = peak * (step + 1) / (config.warmup_steps + 1)
    decay = peak + (end - peak) * min(1.0, max(0.0, share))
    return min(warm_up, decay)


def parameter_groups(model: GPT, weight_decay: float) -> list[dict[str, Any]]:
    """Split the parameters: matrices get the weight decay, vectors none."""
    parameters = list(model.parameters())  # tied weights come once
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def make_optimizer(model: GPT, config: OptimConfig) -> torch.optim.AdamW:
    """Make AdamW for a model that is on its device already, with an all-zero state.

    The state is there from the start, so that the first checkpoint is as large as the last.
    """
    fused = next(model.parameters()).device.type in _FUSED_DEVICES
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.adam_epsilon,
        fused=fused,
    )
    for p in model.parameters():
        steps = torch.zeros((), dtype=torch.float32, device=p.device if fused else "cpu")
        optimizer.state[p] = {"step": steps, **{name: torch.zeros_like(p) for name in _MOMENTS}}
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = value


def state_tensors(model: GPT, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Return the optimizer's state by name, e.g. "exp_avg.transformer.wte.weight"."""
    return {
        f"{kind}.{name}": tensor
        for name, p in model.named_parameters()
        for kind, tensor in optimizer.state[p].items()
    }


def load_state(
    model: GPT,
    optimizer: torch.optim.AdamW,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    where: str,
) -> None:
    """Put back, bit for bit, what `state_tensors` gave.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; `where` leads it.
    """
    tensors = state_tensors(model, optimizer)
    if wrong := sorted(tensors.keys() ^ arrays.keys()):
        raise CheckpointError(
            f"{where}: {len(wrong)} optimizer tensor(s) missing or unknown, the first is "
            f"{wrong[0]!r}; it belongs to another architecture"
        )
    for name, tensor in tensors.items():
        array = arrays[name]
        if array.size != tensor.numel() or (tensor.ndim > 0 and array.shape != tensor.shape):
            raise CheckpointError(
                f"{where}: {name!r} has shape {array.shape}, the model asks for "
                f"{tuple(tensor.shape)}"
            )
        tensor.copy_(torch.from_numpy(np.array(array)).reshape(tensor.shape))
