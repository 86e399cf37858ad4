"""A model with its optimizer on a device: what one optimizer step does, and nothing of the run.

Dropout draws from a generator seeded by (seed, step, micro-batch), so a step is the same whether
the run got there in one go or was resumed, and no state of a generator is ever saved.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import OptimConfig, TrainConfig
from tinygpt.data.batches import Ids, batch
from tinygpt.errors import ConfigError
from tinygpt.inference.device import Device, without_denormals
from tinygpt.model.gpt import GPT
from tinygpt.model.hf_weights import from_hf, to_hf
from tinygpt.runs.checkpoint import Checkpoint
from tinygpt.training import muon
from tinygpt.training.cross_entropy import summed_cross_entropy
from tinygpt.training.native_step import NativeTrainer, training_engine
from tinygpt.training.optimizer import Optimizer, learning_rate

__all__ = ["Learner", "Update", "model_of", "new_model", "trainable"]

Arrays = dict[str, np.ndarray[Any, Any]]


@torch.no_grad()
def new_model(config: ModelConfig, seed: int, *, zero_init: bool = False) -> GPT:
    """Return a model with initial weights that depend on the seed alone.

    Args:
        config: the architecture.
        seed: of the generator.
        zero_init: zeros in the two matrices of each block that write to the residual stream.
    """
    model = GPT(config, torch.Generator().manual_seed(seed))
    if zero_init:
        for name, p in model.named_parameters():
            if name.endswith("c_proj.weight"):
                p.zero_()
    return model


def trainable(config: ModelConfig, state: Mapping[str, Tensor]) -> GPT:
    """Return a model with its own float32 copy of the weights (which may be mapped or transposed).

    Args:
        config: the architecture.
        state: our names -> tensors, checked already.
    """
    with torch.device("meta"):
        model = GPT(config)
    own = {
        name: tensor.detach().float().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    model.load_state_dict(own, strict=False, assign=True)
    model.tie_weights()
    return model


def model_of(checkpoint: Checkpoint, config: ModelConfig) -> GPT:
    """Return a model with the weights of a checkpoint.

    Raises:
        CheckpointError: it belongs to another architecture.
    """
    state = from_hf(checkpoint.model, config, str(checkpoint.path))
    return trainable(config, {name: torch.from_numpy(array) for name, array in state.items()})


class Update(NamedTuple):
    """What one optimizer step was."""

    loss: float
    """Nats per token, before the update."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""


class Learner:
    """Trains one model.

    Args:
        model: moved to the device and trained where it is.
        config: the optimizer and its schedule.
        device: where, with which precision and how many threads.
        train: what it is going to be trained with; None takes the defaults.
        engine: what is to compute its steps, see `training_engine`.

    Attributes:
        model: in training mode, on the device.
        device: where, with which precision and how many threads.
        engine: what computes its steps, see `training_engine`.
        optimizer: what updates the model.
    """

    def __init__(
        self,
        model: GPT,
        config: OptimConfig,
        device: Device,
        train: TrainConfig | None = None,
        engine: str = "auto",
    ) -> None:
        train = train or TrainConfig()
        self.model = model.to(device.device).train()
        self._parameters = list(self.model.parameters())  # to walk the modules takes longer
        self.device = device
        self.config = config
        c = model.config
        self.engine, _ = training_engine(c, train, device, engine)
        self._native = None if self.engine == "torch" else NativeTrainer(model)
        muon_update = muon.update if self._native is None else self._native.muon
        self.optimizer = Optimizer(self.model, config, muon_update)
        self._has_dropout = max(c.embd_pdrop, c.attn_pdrop, c.resid_pdrop) > 0
        if train.gradient_checkpointing:
            _recompute_blocks(self.model)
        self._hidden: Callable[[Tensor], Tensor] = self.model.hidden
        if train.compile:
            self._hidden = torch.compile(self.model.hidden)

    @classmethod
    def restore(
        cls,
        checkpoint: Checkpoint,
        config: ModelConfig,
        *,
        optim: OptimConfig,
        device: Device,
        train: TrainConfig | None = None,
        engine: str = "auto",
    ) -> "Learner":
        """Return the learner that a checkpoint was saved from, bit for bit.

        Raises:
            CheckpointError: it belongs to another architecture.
        """
        learner = cls(model_of(checkpoint, config), optim, device, train, engine)
        learner.optimizer.load_state(checkpoint.optimizer, str(checkpoint.path))
        return learner

    def update(
        self, ids: Ids, train: TrainConfig, step: int, share: float, stopped: Callable[[], bool]
    ) -> Update | None:
        """Take one optimizer step.

        Loss and gradient are means over all tokens of the step, however many micro-batches it has.

        Args:
            ids: the training part.
            train: sizes and seed.
            step: steps already taken.
            share: share of the budget already spent.
            stopped: asked before each micro-batch.

        Returns:
            None if it was stopped, with nothing changed.

        Raises:
            ConfigError: loss or gradient is not finite; the weights are as before.
        """
        with self._at_work():
            return self._update(ids, train, step, share, stopped)

    def rehearse(self, ids: Ids, train: TrainConfig) -> None:
        """Do the work of a micro-batch, and change nothing: for the clock."""
        with without_denormals(), self._at_work():
            self._backward(ids, train, 0, 0)
        self._forget_gradients()
        if self.device.device.type == "cuda":
            torch.cuda.synchronize(self.device.device)

    def arrays(self, kept: GPT | None = None) -> tuple[Arrays, Arrays]:
        """Return the weights as a model folder holds them, and the optimizer's state by name.

        Args:
            kept: other weights of the same architecture, to be taken instead.
        """
        weights = to_hf(_numpy((kept or self.model).state_dict()), self.model.config)
        return weights, _numpy(self.optimizer.state())

    def _at_work(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._native is None else self._native.at_work()

    def _update(
        self, ids: Ids, train: TrainConfig, step: int, share: float, stopped: Callable[[], bool]
    ) -> Update | None:
        total = torch.zeros((), device=self.device.device)
        self._forget_gradients()
        for micro in range(train.gradient_accumulation_steps):
            if stopped():
                self._forget_gradients()
                return None
            total += self._backward(ids, train, step, micro)
        loss_value, norm_value = float(total), self._clip()
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            raise ConfigError(
                f"step {step + 1}: the loss ({loss_value}) or its gradient ({norm_value}) is not "
                f"finite; lower learning_rate (now {self.config.learning_rate:g})"
            )
        rate = learning_rate(self.config, step, share)
        self.optimizer.step(rate)
        return Update(loss_value, rate, norm_value)

    def _backward(self, ids: Ids, train: TrainConfig, step: int, micro: int) -> Tensor | float:
        """Add a micro-batch to the gradients; return its share of the step's mean loss."""
        x, y = batch(
            ids,
            seed=train.seed,
            step=step,
            batch_size=train.windows,
            block_size=train.block_size,
            micro=micro,
            n_micro=train.gradient_accumulation_steps,
        )
        if self._native is not None:
            scale = 1 / train.tokens_per_step
            return scale * self._native.gradients(x, y, scale=scale, add=micro > 0)
        with self._randomness(train.seed, step, micro):
            loss = self._summed_loss(x, y) / train.tokens_per_step
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _summed_loss(self, x: Tensor, y: Tensor) -> Tensor:
        device, dtype = self.device.device, self.device.dtype
        precision: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if dtype != torch.float32:
            precision = torch.autocast(device.type, dtype)
        with precision:
            hidden = self._hidden(x.to(device)).flatten(0, 1)  # (B * T, C)
            return summed_cross_entropy(hidden, self.model.lm_head.weight, y.to(device).flatten())

    def _clip(self) -> float:
        """Bring the gradient's global norm down to grad_clip; return what it was before.

        torch's own function multiplies by 1 where nothing is to be clipped, which is most steps.
        """
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self._native is not None:
            norm = self._native.grad_norm
        else:
            norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        if 0 < self.config.grad_clip < norm < math.inf:
            torch._foreach_mul_(gradients, self.config.grad_clip / (norm + 1e-6))
        return norm

    def _forget_gradients(self) -> None:
        for p in self._parameters:
            p.grad = None

    @contextlib.contextmanager
    def _randomness(self, seed: int, step: int, micro: int) -> Iterator[None]:
        """Seed torch's generators for one micro-batch and give them back as they were."""
        if not self._has_dropout:
            yield
            return
        key = np.random.SeedSequence((seed, step, micro)).generate_state(1, np.uint64)[0]
        devices = [self.device.device] if self.device.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(key))
            yield


def _recompute_blocks(model: GPT) -> None:
    """Keep only what goes into each block; Chen et al. 2016, arXiv 1604.06174, section 4.1."""
    from torch.utils.checkpoint import checkpoint

    for block in model.transformer.h:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def _numpy(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
