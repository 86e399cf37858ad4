"""Weights as the native engine wants them: packed once, kept in the cache, read at the next start.

    open_packed(tensors, config, precision="exact", source=folder) -> PackedModel

`tensors` are a checkpoint's, in HF's names and orientation, as weights.read_weights gives them. A
packed file is named by a hash of all that it depends on: the weights' content, the sizes, the
precision and the layout. It is mapped, and carries checksums of every byte, which each start
verifies; a damaged one is packed anew. No torch here.
"""

import contextlib
import ctypes
import hashlib
import json
import logging
import os
import re
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.config.limits import PRECISIONS
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError, ConfigError, MachineError, did_you_mean
from tinygpt.formats.weights import weights_sha256
from tinygpt.inference.native_library import Library, Shape, Tensor, library, shape_of
from tinygpt.model.hf_weights import from_hf
from tinygpt.storage.cache_folder import cache_dir

__all__ = ["MAX_BYTES", "PackedModel", "available_cpus", "content_hash", "make_room", "open_packed"]

_LAYOUT = 3  # of the packed file; native/decode.cpp has the same number
_log = logging.getLogger(__name__)

MAX_BYTES = 8 * 2**30
"""What the packed files in the cache may take together; the least recently used go first."""

_NAME = re.compile(r"[0-9a-f]{64}\.packed")
_DAY_S = 86400.0
_RACY_S = 2.0  # a file changed again this soon may keep its time stamps


class PackedModel:
    """Packed weights in memory; sessions share them. `open_packed` makes it.

    Attributes:
        config: the architecture.
        precision: one of PRECISIONS.
        isa: the instruction set it is computed with.
        n_bytes: size of the packed weights.
    """

    def __init__(self, lib: Library, path: Path, config: ModelConfig, precision: str) -> None:
        handle, shape = ctypes.c_void_p(), Shape()
        lib.call("open", os.fsencode(path), _n_workers(), ctypes.byref(handle))
        self.handle = handle.value
        weakref.finalize(self, lib.release, "close", handle.value or 0)
        lib.call("shape", handle, ctypes.byref(shape))
        if bytes(shape) != bytes(shape_of(config, precision)):
            raise CheckpointError(f"{path} holds a model of another shape")
        self.library, self.config, self.precision = lib, config, precision
        self.isa = lib.isa
        self.n_bytes = path.stat().st_size


def open_packed(
    weights: Mapping[str, np.ndarray[Any, Any]],
    config: ModelConfig,
    *,
    precision: str,
    source: Path | None,
) -> PackedModel:
    """Pack a model, or read it as an earlier start has packed it.

    Args:
        weights: a checkpoint's tensors in HF's names and orientation (not read where the cache
            has them packed).
        precision: one of PRECISIONS.
        source: the model folder the weights are from; None packs them for this process alone.

    Raises:
        ConfigError: no native engine here (`native_library.unavailable`), or an unknown precision.
        CheckpointError: tensors and config do not belong together.
        MachineError: the cache can't be written, or there is too little memory.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f'precision="{precision}" is not known{did_you_mean(precision, PRECISIONS)} '
            f"(known: {', '.join(PRECISIONS)})"
        )
    lib, folder = library(), cache_dir() / "packed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if source is None:
            with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as work:
                path = Path(work) / "packed"
                _pack(lib, path, weights, config, precision, "the weights")
                return PackedModel(lib, path, config, precision)
        path = folder / f"{_key(lib, config, precision, content_hash(folder, source))}.packed"
        if (packed := _read(lib, path, config, precision)) is None:
            _pack(lib, path, weights, config, precision, str(source))
            packed = PackedModel(lib, path, config, precision)
        with contextlib.suppress(OSError):
            os.utime(path)  # when it was last used
        make_room(path)
    except (CheckpointError, MachineError):
        raise
    except OSError as error:
        raise MachineError(
            f"{folder} can't be written: {error.strerror or error}; "
            "make room there, or set XDG_CACHE_HOME to another folder"
        ) from None
    return packed


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _n_workers() -> int:
    """Return how many threads read or pack: the memory keeps no more busy."""
    return min(8, available_cpus())


def _read(lib: Library, path: Path, config: ModelConfig, precision: str) -> PackedModel | None:
    """Return the packed model of an earlier start; None if there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        return PackedModel(lib, path, config, precision)
    except CheckpointError as error:
        _log.warning("%s; it is packed anew", error)
        return None


def _pack(
    lib: Library,
    path: Path,
    weights: Mapping[str, np.ndarray[Any, Any]],
    config: ModelConfig,
    precision: str,
    where: str,
) -> None:
    """Write a packed file in one rename. Nothing is flushed: a torn file fails its checksums."""
    state = from_hf(weights, config, where)
    arrays = [np.asarray(state[name], np.float32) for name in _names(config)]
    tensors = (Tensor * len(arrays))(*map(_tensor, arrays))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        shape = shape_of(config, precision)
        lib.call(
            "pack",
            os.fsencode(temporary),
            ctypes.byref(shape),
            tensors,
            len(arrays),
            _n_workers(),
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _names(config: ModelConfig) -> list[str]:
    """Return our tensor names in the order that decode.cpp packs them in."""
    block = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    names = ["transformer.wte.weight", "transformer.wpe.weight"]
    for layer in range(config.n_layer):
        for part in block:
            names += [f"transformer.h.{layer}.{part}.{kind}" for kind in ("weight", "bias")]
    names += ["transformer.ln_f.weight", "transformer.ln_f.bias"]
    return names if config.tie_word_embeddings else [*names, "lm_head.weight"]


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    matrix = array if array.ndim == 2 else array[None]
    return Tensor(
        data=matrix.ctypes.data,
        rows=matrix.shape[0],
        columns=matrix.shape[1],
        row_stride=matrix.strides[0] // matrix.itemsize,
        column_stride=matrix.strides[1] // matrix.itemsize,
    )


def _key(lib: Library, config: ModelConfig, precision: str, content: str) -> str:
    parts = [_LAYOUT, lib.panel, bytes(shape_of(config, precision)).hex(), content]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_hash(folder: Path, source: Path) -> str:
    """Return the weights' hash, from a note of an earlier start where no file has changed since."""
    files = sorted([*source.glob("*.safetensors"), *source.glob("pytorch_model*.bin")])
    stats = [(path.name, path.stat()) for path in files]  # symbolic links are followed
    stamp = [
        [name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev] for name, s in stats
    ]
    name = hashlib.sha256(str(source.resolve()).encode()).hexdigest()
    note = folder / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        known = parse_json(note.read_text("utf-8"))
        if known["files"] == stamp and re.fullmatch("[0-9a-f]{64}", known["sha256"]):
            return str(known["sha256"])
    content = weights_sha256(source)
    newest_s = max((max(s.st_mtime, s.st_ctime) for _, s in stats), default=0.0)
    if newest_s < time.time() - _RACY_S:
        temporary = note.with_name(f".{note.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        with contextlib.suppress(OSError):  # a cache that can only be read serves as it is
            temporary.write_text(json.dumps({"files": stamp, "sha256": content}), "utf-8")
            temporary.replace(note)
    return content


def make_room(newest: Path) -> None:
    """Delete the least recently used packed files beyond MAX_BYTES, and what a killed one left."""
    with contextlib.suppress(OSError):  # another process makes room at the same time
        total, now_s = newest.stat().st_size, time.time()
        stats = {path: path.stat() for path in newest.parent.iterdir() if path.is_file()}
        for path in sorted(stats, key=lambda p: stats[p].st_mtime, reverse=True):
            if _NAME.fullmatch(path.name) and path != newest:
                total += stats[path].st_size
                if total > MAX_BYTES:
                    path.unlink(missing_ok=True)
            elif path.suffix == ".tmp" and stats[path].st_mtime < now_s - _DAY_S:
                path.unlink(missing_ok=True)
