"""Which engine runs a model, why it was taken, and the model in it, made when it is first used.

The native engine (native_session.py) computes on the CPU, from float32 weights or 8-bit ones made
of them; torch (torch_session.py) does on every device, and trains. Nothing here imports torch
before it is torch's turn: a model that the native engine runs opens without it.
"""

import platform
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygpt.config.limits import ENGINES, PRECISIONS
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.schema import check_threads
from tinygpt.errors import ConfigError, MachineError, did_you_mean
from tinygpt.model.hf_weights import from_hf
from tinygpt.model.session import DecodeSession

if TYPE_CHECKING:  # torch is imported where it is used
    from tinygpt.inference.device import Device
    from tinygpt.inference.packed_weights import PackedModel
    from tinygpt.model.gpt import GPT

__all__ = ["Engine", "for_scoring", "unavailable"]

Weights = Mapping[str, np.ndarray[Any, Any]]

_GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Without one of these Linux has no GPU that torch computes on (CUDA, ROCm, CUDA under WSL)."""


class Engine:
    """A model and what runs it.

    Attributes:
        name: "native" or "torch".
        why: why it was taken, in a few words.
        asked: whether the native engine was asked for, not only left free: then it scores texts.
        precision: "exact", "int8" or "int8-dynamic"; of torch "float32" or "bfloat16".
        device: "cpu", "cuda" or "mps".
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        where: str,
        source: Path | None = None,
        engine: str = "auto",
        precision: str = "exact",
        device: str = "auto",
        dtype: str = "auto",
        threads: int = 0,
    ) -> None:
        """Choose by what is asked for and what is here, and see that the weights fit.

        Args:
            config: the architecture.
            weights: a checkpoint's tensors, as formats/weights.py reads them.
            where: what to call them in messages.
            source: the folder that they are from; None if they were made in memory.
            engine: "native", "torch", or "auto": native on the CPU in float32, else torch.
            precision: of the native engine; one other than "exact" asks for it.
            device, dtype, threads: as `device.pick_device`; native takes 0 threads as all cores.

        Raises:
            ConfigError: an unknown name, things that exclude each other, or an engine, device or
                precision that is not to be had here.
            CheckpointError: config and weights do not belong together.
        """
        _check_names(engine, precision)
        check_threads(threads)
        self.config = config
        self._weights, self._where, self._source = weights, where, source
        self._device, self._dtype, self._threads = device, dtype, threads
        self.asked = engine == "native" or precision != "exact"
        obstacle = _obstacle(engine, device, dtype)
        if self.asked and obstacle is not None:
            wanted = "engine native" if engine == "native" else f"precision {precision}"
            raise ConfigError(f"{wanted} is not to be had: {obstacle}; use --engine torch")
        self.name, self.device, self.precision = "native", "cpu", precision
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
            engine=engine,
            precision=precision,
            device="cpu",
            threads=self._threads,
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

        return self._threads or available_cpus()

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

        dtype = "float32" if self._dtype == "auto" else self._dtype
        return pick_device(self._device, dtype, self._threads)

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


def for_scoring(engine: str, precision: str) -> str:
    """Return which engine to open for what only scores: torch, unless native is asked for."""
    return "torch" if engine == "auto" and precision == "exact" else engine


def unavailable() -> str | None:
    """Return why the native engine can't be used here, in one line; None if it can."""
    from tinygpt.inference.native_library import unavailable as reason

    return reason()


def _obstacle(engine: str, device: str, dtype: str) -> str | None:
    """Return why torch runs the model, or None if the native engine does."""
    if engine == "torch":
        return "asked for"
    if dtype == "bfloat16":
        return "dtype bfloat16 is torch's"
    if dtype not in ("auto", "float32"):
        return "asked for"  # it will refuse that dtype by name
    if device not in ("auto", "cpu"):
        return f"device {device} is torch's"
    if (reason := unavailable()) is not None:
        return reason
    if device == "auto" and _may_have_gpu():
        from tinygpt.inference.device import pick_device

        if (kind := pick_device().device.type) != "cpu":
            return f"device {kind}"
    return None


def _may_have_gpu() -> bool:
    """Tell, without importing torch, whether it is worth asking torch for a GPU."""
    if platform.system() != "Linux":
        return True
    return any(Path(path).exists() for path in _GPU_FILES)


def _check_names(engine: str, precision: str) -> None:
    for what, name, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError(f'{what}="{name}" is not known{near} (known: {", ".join(known)})')
    if engine == "torch" and precision != "exact":
        raise ConfigError(
            f"precision={precision} is the native engine's; leave out --engine torch, or choose "
            "torch's precision with --dtype"
        )


def _counted(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"
