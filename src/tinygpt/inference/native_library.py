"""The compiled CPU engine: finding, choosing and loading the libraries of native/ by ctypes.

The files are compiled once per instruction set, each into a library of its own, so that nothing in
one can need an instruction of another. The portable one is asked what this CPU has;
TINYGPT_NATIVE_ISA names another than the best. `unavailable` says in one line why there is no
engine. No torch here.
"""

import ctypes
import functools
import importlib.machinery
import os
from collections.abc import Callable
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_uint8,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

from tinygpt.config.limits import PRECISIONS
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError, ConfigError, ContextError, MachineError, did_you_mean

__all__ = [
    "ISAS",
    "Draws",
    "Library",
    "MuonUpdate",
    "Shape",
    "Sums",
    "Tensor",
    "library",
    "shape_of",
    "unavailable",
]

ISAS = ("vnni", "avx512", "avx2", "portable")
"""Instruction sets that the engine is compiled for, the fastest first."""

_ABI = 2
_VARIABLE = "TINYGPT_NATIVE_ISA"
_KINDS = {  # of activation: the functions that native/common.h computes, in its order
    **dict.fromkeys(
        ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), 0
    ),
    **dict.fromkeys(("gelu", "gelu_python"), 1),
    **dict.fromkeys(("silu", "swish"), 4),
    "quick_gelu": 2,
    "relu": 3,
    "tanh": 5,
}
_FOLDER = Path(__file__).parent


class Shape(ctypes.Structure):
    """What the engine needs to know of a ModelConfig, and of how its weights are packed."""

    _fields_ = (
        ("vocab_size", c_int64),
        ("n_positions", c_int64),
        ("n_embd", c_int64),
        ("n_layer", c_int64),
        ("n_head", c_int64),
        ("n_inner", c_int64),
        ("layer_norm_epsilon", c_double),
        ("activation", c_int32),
        ("tied", c_int32),
        ("precision", c_int32),
        ("reserved", c_int32),
    )


class Tensor(ctypes.Structure):
    """A float32 matrix (or a vector: one row) anywhere in memory; strides count elements."""

    _fields_ = (
        ("data", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("row_stride", c_int64),
        ("column_stride", c_int64),
    )


class Draws(ctypes.Structure):
    """One call of `decode`: which slots draw how many ids, by which settings, and where to."""

    _fields_ = (
        ("n_slots", c_int64),
        ("n", c_int64),
        ("slots", POINTER(c_int64)),
        ("temperature", c_double),
        ("top_p", c_double),
        ("min_p", c_double),
        ("repetition_penalty", c_double),
        ("top_k", c_int64),  # 0 keeps all
        ("n_stop_ids", c_int64),
        ("stop_ids", POINTER(c_int64)),
        ("seed", c_uint64),
        ("sample_indices", POINTER(c_uint64)),
        ("drawn", POINTER(c_uint64)),
        ("seen", POINTER(c_uint8)),  # (n_slots, V), or null without a penalty
        ("ids", POINTER(c_int64)),  # (n_slots, n)
        ("n_ids", POINTER(c_int64)),
    )


class Sums(ctypes.Structure):
    """What `gradients` tells: the summed loss, and the sum of the squares of the gradients."""

    _fields_ = (("loss", c_double), ("square", c_double))


class MuonUpdate(ctypes.Structure):
    """One call of `muon`: n matrices of one shape, by their addresses."""

    _fields_ = (
        ("n", c_int64),
        ("rows", c_int64),
        ("columns", c_int64),
        ("gradients", POINTER(c_void_p)),
        ("momenta", POINTER(c_void_p)),
        ("weights", POINTER(c_void_p)),
        ("momentum", c_double),
        ("keep", c_double),  # what weight decay leaves of the weights
        ("rate", c_double),
    )


_SIGNATURES: dict[str, list[Any]] = {
    "pack": [c_char_p, POINTER(Shape), POINTER(Tensor), c_int64, c_int32],
    "open": [c_char_p, c_int32, POINTER(c_void_p)],
    "shape": [c_void_p, POINTER(Shape)],
    "session": [c_void_p, c_int64, c_int64, POINTER(c_void_p)],
    "prefill": [c_void_p, c_int64, POINTER(c_int64), c_int64],
    "step": [c_void_p, POINTER(c_int64), POINTER(c_int64), c_int64],
    "verify": [c_void_p, c_int64, POINTER(c_int64), c_int64, POINTER(c_float)],
    "logits": [c_void_p, c_int64, POINTER(c_float)],
    "argmax": [c_void_p, POINTER(c_int64), c_int64, POINTER(c_int64)],
    "truncate": [c_void_p, c_int64, c_int64],
    "decode": [c_void_p, POINTER(Draws)],
    "trainer": [POINTER(Shape), c_int64, c_int32, POINTER(c_void_p)],
    "gradients": [
        *(c_void_p, POINTER(c_void_p), POINTER(c_void_p), c_void_p, c_void_p),
        *(c_int64, c_double, c_int32, POINTER(Sums)),
    ],
    "muon": [c_void_p, POINTER(MuonUpdate)],
}
_ERRORS: dict[int, Callable[[str], Exception]] = {
    1: ValueError,
    2: ContextError,
    3: CheckpointError,
    4: MachineError,
}


class Library:
    """One compiled library; `call` runs a function of it and raises what it refused.

    Attributes:
        isa: its instruction set, one of ISAS.
        panel: rows that its packed matrices keep together: files are kept apart by it.
    """

    def __init__(self, path: Path, isa: str) -> None:
        try:
            self._dll = ctypes.CDLL(str(path))
            found = self._dll.tinygpt_abi()
        except (OSError, AttributeError) as error:
            raise ConfigError(f"the native engine can't be loaded: {error}") from None
        if found != _ABI:
            raise ConfigError(
                f"the native engine is of version {found}, not {_ABI}; install tinygpt anew"
            )
        self.isa = isa
        self.panel = int(self._dll.tinygpt_panel())
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._dll, f"tinygpt_{name}")
            function.argtypes, function.restype = arguments, c_int32
        self._dll.tinygpt_error.restype = c_char_p
        for name in ("close", "end", "cancel", "dismiss"):
            function = getattr(self._dll, f"tinygpt_{name}")
            function.argtypes, function.restype = [c_void_p], None

    def supports(self, isa: str) -> bool:
        """Tell whether this CPU (and its operating system) runs an instruction set."""
        return bool(self._dll.tinygpt_supports(isa.encode()))

    def call(self, name: str, *arguments: Any) -> None:
        """Run `tinygpt_<name>`.

        Raises:
            ValueError, ContextError, CheckpointError, MachineError: what it refused, in its words.
        """
        if code := getattr(self._dll, f"tinygpt_{name}")(*arguments):
            message = self._dll.tinygpt_error().decode("utf-8", "replace")
            raise _ERRORS.get(code, RuntimeError)(message)

    def release(self, name: str, handle: int) -> None:
        """Run `tinygpt_close`, `_end`, `_cancel` or `_dismiss` on what it made."""
        getattr(self._dll, f"tinygpt_{name}")(handle)


def library() -> Library:
    """Return the engine for this CPU, or the one that TINYGPT_NATIVE_ISA names.

    Raises:
        ConfigError: there is none, or not for the named instruction set; one line says why.
    """
    return _library(os.environ.get(_VARIABLE, ""))


def shape_of(config: ModelConfig, precision: str = "exact") -> Shape:
    """Return the shape of a model's weights in a precision, one of PRECISIONS."""
    return Shape(
        vocab_size=config.vocab_size,
        n_positions=config.n_positions,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_inner=config.inner_dim,
        layer_norm_epsilon=config.layer_norm_epsilon,
        activation=_KINDS[config.activation_function],
        tied=config.tie_word_embeddings,
        precision=PRECISIONS.index(precision),
    )


def unavailable() -> str | None:
    """Return why there is no native engine here, in one line; None if there is one."""
    try:
        library()
    except ConfigError as error:
        return str(error)
    return None


@functools.cache
def _library(wanted: str) -> Library:
    if wanted and wanted not in ISAS:
        raise ConfigError(
            f'{_VARIABLE}="{wanted}" is not known{did_you_mean(wanted, ISAS)} '
            f"(known: {', '.join(ISAS)})"
        )
    compiled = {isa: path for isa in ISAS if (path := _find(isa))}
    if "portable" not in compiled:
        raise ConfigError(
            "the native engine was not compiled: it needs a C++ compiler while tinygpt is installed"
        )
    portable = Library(compiled["portable"], "portable")
    if wanted and not portable.supports(wanted):
        raise ConfigError(f"{_VARIABLE}={wanted}: this CPU lacks it; unset the variable")
    if wanted and wanted not in compiled:
        raise ConfigError(f"{_VARIABLE}={wanted}: not compiled here; unset the variable")
    best = wanted or next(isa for isa in compiled if portable.supports(isa))
    return portable if best == "portable" else Library(compiled[best], best)


def _find(isa: str) -> Path | None:
    """Return the compiled library of an instruction set, whatever suffix its build gave it."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (path := _FOLDER / f"_native_{isa}{suffix}").exists():
            return path
    return None
