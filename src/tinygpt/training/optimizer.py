"""The optimizer: Muon for the matrices of the blocks, AdamW for the rest; or AdamW for all.

AdamW: Loshchilov and Hutter 2019, algorithm 2. Weight decay is for matrices (embeddings included);
biases and LayerNorms have no scale to shrink. The schedule, linear warm-up and linear decay, has no
state: it follows the step and the share of the budget that is spent.

torch's kernel is called without torch.optim, whose first step imports the compiler: seconds in
which a small model learns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinygpt.config.train_config import OptimConfig
from tinygpt.errors import CheckpointError
from tinygpt.model.gpt import GPT
from tinygpt.training import muon

__all__ = ["AdamW", "Optimizer", "learning_rate"]


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


class AdamW:
    """AdamW in two groups: matrices, which decay, and vectors.

    The state is there from the start, so that the first checkpoint is as large as the last.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: OptimConfig) -> None:
        self.config = config
        self._means, self._squares, self._steps = (
            {name: make(p) for name, p in parameters.items()}
            for make in (torch.zeros_like, torch.zeros_like, _no_steps)
        )
        self._groups = []
        for is_matrix, decay in ((True, config.weight_decay), (False, 0.0)):
            own = {name: p for name, p in parameters.items() if (p.ndim >= 2) == is_matrix}
            kinds = (self._means, self._squares, self._steps)
            state = [[kind[name] for name in own] for kind in kinds]
            if own:
                self._groups.append((own, state, decay))

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters from their gradients, at a learning rate."""
        config = self.config
        for own, (means, squares, steps), decay in self._groups:
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                list(own.values()),
                [_gradient(p) for p in own.values()],
                means,
                squares,
                [],
                steps,
                lr=rate,
                beta1=config.beta1,
                beta2=config.beta2,
                weight_decay=decay,
                eps=config.adam_epsilon,
                amsgrad=False,
                maximize=False,
            )

    def state(self) -> dict[str, Tensor]:
        """Return the state by name, e.g. "exp_avg.transformer.wte.weight"."""
        kinds = {"step": self._steps, "exp_avg": self._means, "exp_avg_sq": self._squares}
        return {
            f"{kind}.{name}": tensors[name]
            for own, *_ in self._groups
            for name in own
            for kind, tensors in kinds.items()
        }


class Optimizer:
    """What updates a model that is on its device already.

    Args:
        model: its parameters are updated where they are.
        config: the settings.
        muon_update: what `Muon` updates matrices with.
    """

    def __init__(
        self,
        model: GPT,
        config: OptimConfig,
        muon_update: Callable[[muon.Matrices], None] = muon.update,
    ) -> None:
        rest = dict(model.named_parameters())  # tied weights come once
        matrices: dict[str, nn.Parameter] = {}
        if config.optimizer == "muon":
            names = [name for name, p in rest.items() if ".h." in name and p.ndim == 2]
            matrices = {name: rest.pop(name) for name in names}
        self._config = config
        self._adamw = AdamW(rest, config)
        self._muon = muon.Muon(
            matrices,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            update=muon_update,
        )

    def step(self, rate: float) -> None:
        """Update the model from its gradients.

        Args:
            rate: AdamW's learning rate now; Muon's is in proportion.
        """
        self._adamw.step(rate)
        self._muon.step(rate * self._config.matrix_learning_rate / self._config.learning_rate)

    def state(self) -> dict[str, Tensor]:
        """Return the state by name, e.g. "momentum.transformer.h.0.mlp.c_fc.weight"."""
        return self._adamw.state() | self._muon.state()

    def load_state(self, arrays: Mapping[str, np.ndarray[Any, Any]], where: str) -> None:
        """Put back, bit for bit, what `state` gave.

        Raises:
            CheckpointError: a tensor is missing, unknown or of another shape; `where` leads it.
        """
        tensors = self.state()
        if wrong := sorted(tensors.keys() ^ arrays.keys()):
            raise CheckpointError(
                f"{where}: {len(wrong)} optimizer tensor(s) missing or unknown, the first is "
                f"{wrong[0]!r}; it belongs to another architecture or optimizer"
            )
        for name, tensor in tensors.items():
            array = arrays[name]
            if array.size != tensor.numel() or (tensor.ndim > 0 and array.shape != tensor.shape):
                raise CheckpointError(
                    f"{where}: {name!r} has shape {array.shape}, the model asks for "
                    f"{tuple(tensor.shape)}"
                )
            tensor.copy_(torch.from_numpy(np.array(array)).reshape(tensor.shape))


def _no_steps(p: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.float32, device=p.device)


def _gradient(p: nn.Parameter) -> Tensor:
    assert p.grad is not None
    return p.grad
