"""Loss and gradients of small models on the compiled CPU engine (native/train.cpp), for Learner.

torch's operations each go through memory and meet at their ends; here a thread takes windows of its
own from the ids to the gradients. The parameters stay torch's, and of the optimizer all but Muon's
update. The bits depend on the number of threads and on the instruction set.
"""

import contextlib
import ctypes
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_void_p
from typing import Any

import torch
from torch import Tensor

from tinygpt.config.limits import ENGINES
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import BATCH_SIZE, TrainConfig
from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.inference.device import Device
from tinygpt.inference.native_library import MuonUpdate, Sums, library, shape_of, unavailable
from tinygpt.model.gpt import GPT
from tinygpt.training.muon import Matrices

__all__ = ["NativeTrainer", "engine_as_recorded", "training_engine"]

# By benchmarks.train_costs: n_embd from which torch is as fast in less memory, and windows so long
# that torch is faster where there are fewer of them than threads, each of which would take one.
_WIDEST, _LONG = 512, 512


class NativeTrainer:
    """The way from a batch to the gradients of one model, whose parameters it reads where they lie.

    Args:
        model: float32 on the CPU, without dropout; its parameters must stay where they are.
            One thread of Python at a time may use it.

    Attributes:
        grad_norm: the global norm of the gradients after the last call.
    """

    def __init__(self, model: GPT) -> None:
        self._library = library()
        self._shape = shape_of(model.config)
        self._parameters = list(model.parameters())
        for p in self._parameters:
            assert p.dtype == torch.float32
            assert p.is_contiguous()
        self._gradients = [torch.zeros_like(p) for p in self._parameters]
        self._threads = torch.get_num_threads()
        self._made_for: tuple[int, int] | None = None  # threads, tokens of a window
        self._handle = c_void_p()
        self._end: Callable[[], object] = lambda: None  # gives the handle back
        self.grad_norm = 0.0

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Take torch's number of threads, and leave torch with one.

        After each of its operations torch's other threads spin for some milliseconds on the very
        CPUs that the engine's are about to use.
        """
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self._threads)

    def gradients(self, x: Tensor, y: Tensor, *, scale: float, add: bool) -> float:
        """Set each parameter's `grad` to the gradient of `scale` times the summed loss.

        Args:
            x, y: inputs and targets, (B, T) int64 in [0, vocab_size).
            scale: e.g. 1 / (B * T) for the mean.
            add: add to the gradients of the call before.

        Returns:
            The sum over all tokens of the cross-entropy, in nats.

        Raises:
            ValueError: an id that the model does not have, or windows that it can't take.
            MachineError: no memory.
        """
        if x.shape != y.shape or x.dtype != torch.int64 or y.dtype != torch.int64:
            told = f"{tuple(x.shape)} {x.dtype} and {tuple(y.shape)} {y.dtype}"
            raise ValueError(f"inputs and targets must be alike, (B, T) int64; they are {told}")
        self._prepare(min(self._threads, len(x)), x.shape[1])
        x, y = x.contiguous(), y.contiguous()
        sums = Sums()
        self._library.call(
            "gradients",
            self._handle,
            _addresses([p.data for p in self._parameters]),
            _addresses(self._gradients),
            x.data_ptr(),
            y.data_ptr(),
            len(x),
            scale,
            add,
            ctypes.byref(sums),
        )
        for p, gradient in zip(self._parameters, self._gradients, strict=True):
            p.grad = gradient
        self.grad_norm = math.sqrt(sums.square)
        return float(sums.loss)

    def muon(self, due: Matrices) -> None:
        """Update matrices as `muon.update` does, each thread matrices of its own."""
        asked = MuonUpdate(
            *due.momenta.shape,
            *map(_addresses, (due.gradients, due.momenta.unbind(), due.weights)),
            momentum=due.momentum,
            keep=due.keep,
            rate=due.rate,
        )
        self._library.call("muon", self._handle, ctypes.byref(asked))

    def _prepare(self, threads: int, block_size: int) -> None:
        """Have threads and memory for windows of block_size tokens."""
        if self._made_for == (threads, block_size):
            return
        self._end()
        self._handle, self._made_for = c_void_p(), None
        handle = c_void_p()
        shape, size = ctypes.byref(self._shape), block_size
        self._library.call("trainer", shape, size, threads, ctypes.byref(handle))
        self._handle, self._made_for = handle, (threads, block_size)
        self._end = weakref.finalize(self, self._library.release, "dismiss", handle.value or 0)


def training_engine(
    config: ModelConfig, train: TrainConfig, device: Device, engine: str = "auto"
) -> tuple[str, str]:
    """Choose what computes the steps of a training.

    Args:
        config: the architecture.
        train: the settings of the loop.
        device: where.
        engine: one of ENGINES; auto takes the native one where it can do it and is faster.

    Returns:
        "native" with its instruction set, e.g. "native avx512", or "torch"; and why.

    Raises:
        ConfigError: an unknown engine, or the native one is asked for and can't do it.
    """
    if engine not in ENGINES:
        near = did_you_mean(engine, ENGINES)
        raise ConfigError(f'engine="{engine}" is not known{near} (known: {", ".join(ENGINES)})')
    if engine == "torch":
        return "torch", "as asked"
    reason = _obstacle(config, train, device)
    if engine == "native":
        if reason is not None:
            raise ConfigError(f"engine=native can't train this: {reason}; use --engine torch")
        return f"native {library().isa}", "as asked"
    if reason is None and config.n_embd > _WIDEST:
        reason = f"n_embd is above {_WIDEST}"
    few = (train.batch_size or (1 if train.minutes else BATCH_SIZE)) < device.threads
    if reason is None and few and train.block_size >= _LONG:
        reason = "there are fewer windows than CPU threads, and long ones"
    if reason is None and library().isa == "portable":
        reason = "the native engine has no wide vectors on this CPU"
    return ("torch", reason) if reason else (f"native {library().isa}", "the faster one here")


def engine_as_recorded(recorded: Mapping[str, Any], engine: str) -> str:
    """Return which engine to ask for, so that a run goes on with what it began with.

    Args:
        recorded: its environment.json; an empty one leaves all to `engine`.
        engine: what is asked for, one of ENGINES; anything but auto wins.
    """
    began_with_torch = recorded and recorded.get("engine", "torch") == "torch"
    return "torch" if engine == "auto" and began_with_torch else engine


def _obstacle(config: ModelConfig, train: TrainConfig, device: Device) -> str | None:
    if device.device.type != "cpu" or device.dtype != torch.float32:
        dtype = str(device.dtype).removeprefix("torch.")
        return f"the native engine takes float32 on the CPU, not {dtype} on {device.device}"
    if max(config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) > 0:
        return "the native engine has no dropout"
    if train.gradient_checkpointing:
        return "the native engine does not recompute blocks (gradient_checkpointing)"
    if train.compile:
        return "only torch compiles the model (compile)"
    return unavailable()


def _addresses(tensors: Sequence[Tensor]) -> "ctypes.Array[c_void_p]":
    return (c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))
