"""Which device computes, with which precision and how many CPU threads: picked once, and said.

Weights are float32 on every device. bfloat16, where it is chosen, is the precision of the matrix
products while training (autocast).
"""

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tinygpt.config.schema import check_threads
from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.version import __version__

__all__ = [
    "DTYPES",
    "Device",
    "differences",
    "environment",
    "pick_as_recorded",
    "pick_device",
    "without_denormals",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Precisions by name."""

_KINDS = ("auto", "cpu", "cuda", "mps")
_ASKED, _RECORDED = "as asked", "as the run began"
_COMPARED = ("torch", "cpu", "device", "dtype", "threads", "engine")
"""What a run records that must agree for a resumption to be exact."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where and how to compute."""

    device: torch.device
    """The torch device."""
    dtype: torch.dtype
    """float32 or bfloat16."""
    threads: int
    """CPU threads of torch."""
    why: str
    """One line for the user: what was taken and why."""


def pick_device(device: str = "auto", dtype: str = "auto", threads: int = 0) -> Device:
    """Choose the device, precision and threads; the threads are set for the whole process.

    Args:
        device: "cpu", "cuda" (or "cuda:1" ...), "mps"; "auto" takes the first of cuda, mps, cpu
            that is there.
        dtype: "float32" or "bfloat16"; "auto" takes bfloat16 on a CUDA device that computes with
            it, else float32.
        threads: CPU threads, at most 1024; 0 leaves torch's choice.

    Raises:
        ConfigError: a device, precision or number of threads that is not to be had here.
    """
    return _pick(device, dtype, threads)


def _pick(
    device: str, dtype: str, threads: int, of_device: str = _ASKED, of_dtype: str = _ASKED
) -> Device:
    """Pick as `pick_device`, saying of_device and of_dtype of what is not left to us."""
    chosen, reason = _device(device, of_device)
    precision, why_precision = _dtype(dtype, chosen, of_dtype)
    check_threads(threads)
    if threads:
        torch.set_num_threads(threads)
    n_threads = torch.get_num_threads()
    name = str(precision).removeprefix("torch.")
    why = f"{chosen} ({reason}), {name} ({why_precision}), {n_threads} CPU thread(s)"
    return Device(chosen, precision, n_threads, why)


def environment(device: Device) -> dict[str, Any]:
    """Return what a run's figures and its exactness depend on: environment.json."""
    return {
        "tinygpt": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": str(device.device),
        "dtype": str(device.dtype).removeprefix("torch."),
        "threads": device.threads,
    }


def pick_as_recorded(recorded: dict[str, Any], device: str, dtype: str, threads: int) -> Device:
    """Pick what a run began with, where nothing else is asked for and the machine has it.

    Args:
        recorded: its `environment`; an empty one leaves all to `pick_device`.
        device, dtype, threads: as `pick_device`.

    Raises:
        ConfigError: as `pick_device`, of what is asked for.
    """
    if not threads and 0 < recorded.get("threads", 0) <= (os.cpu_count() or 1):
        threads = recorded["threads"]
    if device != "auto" or not recorded:
        return pick_device(device, dtype, threads)
    of_dtype = _ASKED
    if dtype == "auto":
        dtype, of_dtype = recorded.get("dtype", "auto"), _RECORDED
    try:
        return _pick(str(recorded.get("device")), dtype, threads, _RECORDED, of_dtype)
    except ConfigError:  # another machine: `differences` tells
        return pick_device("auto", "auto", threads)


@contextlib.contextmanager
def without_denormals() -> Iterator[None]:
    """Let numbers too small for full precision become zeros, on a CPU that can.

    AdamW's averages of what is hardly ever used fade into such numbers, and a CPU computes with
    them a hundred times slower. Threads keep what held when they were started.
    """
    before = np.float32(1e-40) * np.float32(1) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(before))


def differences(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line if a run that goes on or is repeated elsewhere can't be bit-exact.

    Args:
        recorded: environment.json of the run.
        now: `environment`, and "engine" as `training_engine` names it.
    """
    recorded = {"engine": "torch"} | recorded  # there was no other one once
    changed = [
        f"{name} was {recorded.get(name)}, is {now[name]}"
        for name in _COMPARED
        if recorded.get(name) != now[name]
    ]
    return [f"not bit-exact: {', '.join(changed)}"] if changed else []


def _device(name: str, why: str) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"found {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "found Apple's GPU"
        return torch.device("cpu"), "no GPU found"
    kind, _, index = name.partition(":")
    if kind not in _KINDS[1:] or (index and not (kind == "cuda" and index.isdecimal())):
        near = did_you_mean(name, _KINDS)
        raise ConfigError(f'device="{name}" is not known{near} (known: {", ".join(_KINDS)})')
    if kind == "cuda":
        if not torch.cuda.is_available():
            built = "has no CUDA device" if torch.version.cuda else "is a build without CUDA"
            raise ConfigError(f'device="{name}": torch {built} here; use --device cpu')
        if index and int(index) >= torch.cuda.device_count():
            raise ConfigError(
                f'device="{name}": there are {torch.cuda.device_count()} CUDA device(s), '
                "counted from 0"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f'device="{name}": no Apple GPU here; use --device cpu')
    return torch.device(name), why


def _dtype(name: str, device: torch.device, why: str) -> tuple[torch.dtype, str]:
    bfloat16 = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    if name == "auto":
        if device.type == "cuda" and bfloat16:
            return torch.bfloat16, "the device computes with it"
        return torch.float32, "the default here"
    if name not in DTYPES:
        near = did_you_mean(name, DTYPES)
        raise ConfigError(f'dtype="{name}" is not known{near} (known: auto, {", ".join(DTYPES)})')
    if name == "bfloat16" and not bfloat16:
        raise ConfigError(f'dtype="bfloat16" is not to be had on {device}; use --dtype float32')
    return DTYPES[name], why
