"""Which engine runs a model, why it was taken, and the model in it, made when it is first used.

The native engine (native_session.py) computes on the CPU, from float32 weights or 8-bit ones made
of them; torch (torch_session.py) does on every device, and trains. Nothing here imports torch
before it is torch's turn: a model that the native engine runs opens without it.
"""

import platform
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tinygpt.config.engine_options import DEFAULT_OPTIONS, EngineOptions
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError, MachineError
from tinygpt.model.hf_weights import from_hf
from tinygpt.model.session import DecodeSession

if TYPE_CHECKING:  # torch is imported where it is used
    from tinygpt.inference.device import Device
    from tinygpt.inference.packed_weights import PackedModel
    from tinygpt.model.gpt import GPT

__all__ = ["Engine", "unavailable"]

Weights = Mapping[str, np.ndarray[Any, Any]]

_GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Without one of these Linux has no GPU that torch computes on (CUDA, ROCm, CUDA under WSL)."""


class Engine:
    """A model and what runs it.

    Attributes:
        options: what was asked for.
        name: "native" or "torch".
        why: why it was taken, in a few words.
        asked: whether the native engine was asked for, not only left free: then it scores texts.
        precision: "exact", "int8" or "int8-dynamic"; of torch "float32" or "bfloat16".
        device: "cpu", "cuda" or "mps".
    """

    name: Literal["native", "torch"]

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        where: str,
        source: Path | None = None,
        options: EngineOptions = DEFAULT_OPTIONS,
    ) -> None:
        """Choose by what is asked for and what is here, and see that the weights fit.

        Args:
            config: the architecture.
            weights: a checkpoint's tensors, as formats/weights.py reads them.
            where: what to call them in messages.
            source: the folder that they are from; None if they were made in memory.
            options: what runs it; the native engine takes 0 threads as all cores.

        Raises:
            ConfigError: options that exclude each other, or an engine, device or precision that is
                not to be had here.
            CheckpointError: config and weights do not belong together.
        """
        self.config, self.options = config, options
        self._weights, self._where, self._source = weights, where, source
        self.asked = options.asks_native
        obstacle = _obstacle(options)
        if self.asked and obstacle is not None:
            native = options.engine == "native"
            wanted = "engine native" if native else f"precision {options.precision}"
            raise ConfigError(f"{wanted} is not to be had: {obstacle}; use --engine torch")
        self.name, self.device, self.precision = "native", "cpu", options.precision
        self.why = obstacle or ("asked for" if self.asked else "the faster one on the CPU")
        if obstacle is None and (refusal := self._refusal()) is not None:
            obstacle = self.why = refusal
        if obstacle is not None:
            self.name, self.device = "torch", self._picked.device.type
            self.precision = str(self._picked.dtype).removeprefix("torch.")
            self._state  # noqa: B018  # looked at now, so that a damaged folder does not open

    def other(self, *, engine: str, precision: str = "exact") -> "Engine":
        """Return another engine with the same weights, on the CPU in float32 if it is torch."""
        found = Engine(
            self.config,
            self._weights,
            where=self._where,
            source=self._source,
            options=replace(
                self.options, engine=engine, precision=precision, device="cpu", dtype="auto"
            ),
        )
        if engine == "torch" and self.device == "cpu" and self.precision != "bfloat16":
            found.__dict__["model"] = self.model  # one copy of the weights is enough
        return found

    @cached_property
    def model(self) -> "GPT":
        """The model in torch, on its device; made when it is first asked for."""
        from tinygpt.inference.torch_session import build

        picked = self._picked  # of an "auto" that is native: the CPU
        return build(self.config, self._state).to(picked.device, picked.dtype)

    def session(self, n_slots: int = 1) -> DecodeSession:
        """Return a session with this many empty slots.

        Raises:
            MachineError: the cache's disk refuses what the native engine keeps there.
        """
        if self.name == "native":
            from tinygpt.inference.native_session import NativeSession

            return NativeSession(self._packed, n_slots, threads=self.threads)
        from tinygpt.inference.torch_session import TorchSession

        return TorchSession(self.model, n_slots)

    @property
    def threads(self) -> int:
        """CPU threads that it uses."""
        if self.name == "torch":
            return self._picked.threads
        from tinygpt.inference.packed_weights import available_cpus

        return self.options.threads or available_cpus()

    @property
    def isa(self) -> str | None:
        """The instructions of this CPU that the native engine uses; None for torch."""
        if self.name != "native":
            return None
        from tinygpt.inference.native_library import library

        return library().isa

    def __str__(self) -> str:
        """Say what was taken: `native (vnni, exact, 2 threads)`, or torch and why."""
        if self.name == "native":
            return f"native ({self.isa}, {self.precision}, {_counted(self.threads)})"
        setting = f"{self.device}, {self.precision}, {_counted(self.threads)}"
        return f"torch ({setting}): {self.why}"

    @cached_property
    def _state(self) -> dict[str, Any]:
        return from_hf(self._weights, self.config, self._where)

    @cached_property
    def _picked(self) -> "Device":
        from tinygpt.inference.device import pick_device

        dtype = "float32" if self.options.dtype == "auto" else self.options.dtype
        return pick_device(self.options.device, dtype, self.options.threads)

    @cached_property
    def _packed(self) -> "PackedModel":
        from tinygpt.inference.packed_weights import open_packed

        return open_packed(
            self._weights, self.config, precision=self.precision, source=self._source
        )

    def _refusal(self) -> str | None:
        """Pack the weights, or map them packed; return why not, where torch may take over."""
        try:
            self._packed  # noqa: B018
        except (ConfigError, MachineError) as error:
            if self.asked:
                raise
            return str(error)
        return None


def unavailable() -> str | None:
    """Return why the native engine can't be used here, in one line; None if it can."""
    from tinygpt.inference.native_library import unavailable as reason

    return reason()


def _obstacle(options: EngineOptions) -> str | None:
    """Return why torch runs the model, or None if the native engine does."""
    if options.engine == "torch":
        return "asked for"
    if options.dtype == "bfloat16":
        return "dtype bfloat16 is torch's"
    if options.dtype not in ("auto", "float32"):
        return "asked for"  # it will refuse that dtype by name
    if options.device not in ("auto", "cpu"):
        return f"device {options.device} is torch's"
    if (reason := unavailable()) is not None:
        return reason
    if options.device == "auto" and _may_have_gpu():
        from tinygpt.inference.device import pick_device

        if (kind := pick_device().device.type) != "cpu":
            return f"device {kind}"
    return None


def _may_have_gpu() -> bool:
    """Tell, without importing torch, whether it is worth asking torch for a GPU."""
    if platform.system() != "Linux":
        return True
    return any(Path(path).exists() for path in _GPU_FILES)


def _counted(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"
