"""Checkpoints that are either whole or not there, and that notice a flipped bit.

A checkpoint is a folder `step-NNNNNNNN` with the weights, the optimizer's state and a JSON state.
It is written under a temporary name; its MANIFEST.json, the SHA-256 of every file, comes last; all
is flushed to the disk and then renamed. No format that we store in has a checksum of its own, so
every file is held against the manifest before it is used. Nothing is a pickle.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.settings import parse_json
from tinygpt.weights import read_safetensors, write_safetensors

__all__ = ["Arrays", "Checkpoint", "load", "load_newest", "load_step", "save", "write_file"]

FORMAT_VERSION = 2
"""Of the folder's layout; another one is refused."""

MANIFEST = "MANIFEST.json"
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_NAME = re.compile(r"^step-(\d{8,})(?:-(\d+))?$")

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A verified checkpoint; its arrays are views on the files."""

    path: Path
    """Its folder."""
    step: int
    """Optimizer steps done."""
    model: Arrays
    """Weights, as in a model folder."""
    optimizer: Arrays
    """Optimizer state by name."""
    state: dict[str, Any]
    """What else the run must know to go on: a JSON object."""


def save(
    folder: Path,
    step: int,
    *,
    model: Arrays,
    optimizer: Arrays,
    state: dict[str, Any],
    keep: int = 2,
    spare: int | None = None,
) -> Path:
    """Write a checkpoint, and only then remove the oldest ones.

    Args:
        folder: where checkpoints live; made if needed.
        step: optimizer steps done; a second checkpoint of the same step gets a suffix, so that
            nothing is ever overwritten.
        model: weights, all finite.
        optimizer: tensors by name.
        state: a JSON object.
        keep: how many to keep, the new one included.
        spare: a step whose newest checkpoint is kept too.

    Raises:
        MachineError: the disk refused; older checkpoints are untouched.
        CheckpointError: a weight is not finite.
    """
    if bad := [name for name, array in model.items() if not np.isfinite(array).all()]:
        raise CheckpointError(f"step {step}: {bad[0]!r} is not finite; such weights are not saved")
    taken = [n for _, (other, n) in _found(folder) if other == step]
    path = folder / (f"step-{step:08d}-{max(taken) + 1}" if taken else f"step-{step:08d}")
    temporary = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir(parents=True)
        write_safetensors(temporary / _MODEL, model)
        write_safetensors(temporary / _OPTIMIZER, optimizer)
        write_file(temporary / _STATE, _json({"step": step, **state}))
        write_file(temporary / MANIFEST, _json(_manifest(temporary)))
        temporary.rename(path)
        _sync(folder)
    except (CheckpointError, MachineError):
        raise
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = _found(folder)
    spared = [other for other, (n, _) in found if n == spare][-1:]
    for old, _ in found[:-keep]:
        if old not in spared:
            shutil.rmtree(old, ignore_errors=True)
    return path


def load(path: Path) -> Checkpoint:
    """Open one checkpoint after holding every file against the manifest.

    Raises:
        CheckpointError: naming the file that is missing, changed or unreadable.
    """
    _verify(path)
    state = _read_json(path / _STATE)
    return Checkpoint(
        path=path,
        step=state.pop("step"),
        model=read_safetensors(path / _MODEL),
        optimizer=read_safetensors(path / _OPTIMIZER),
        state=state,
    )


def load_step(folder: Path, step: int) -> Checkpoint:
    """Open the newest checkpoint of a step.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    paths = [path for path, (other, _) in _found(folder) if other == step]
    if not paths:
        raise CheckpointError(f"{folder}: the checkpoint of step {step} is gone")
    return load(paths[-1])


def load_newest(folder: Path) -> tuple[Checkpoint, tuple[str, ...]]:
    """Open the newest checkpoint that is whole; damaged ones are renamed, never deleted.

    Returns:
        The checkpoint, and a line for each damaged one: which file, and where it is now.

    Raises:
        CheckpointError: there is none, or all are damaged.
    """
    for leftover in folder.glob(".step-*.tmp"):  # a save that was killed half way
        shutil.rmtree(leftover, ignore_errors=True)
    notes: list[str] = []
    for path, _ in reversed(_found(folder)):
        try:
            return load(path), tuple(notes)
        except CheckpointError as error:
            notes.append(f"{error}; set aside as {_set_aside(path).name}")
    why = "; ".join(notes) if notes else "no checkpoint there"
    raise CheckpointError(f"{folder}: nothing to go on from: {why}")


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one rename, flushed to the disk before.

    Raises:
        MachineError: the disk refused; what was at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _refused(path, error) from None


def _found(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Return the checkpoints and their (step, suffix), oldest first."""
    matches = [(path, _NAME.match(path.name)) for path in folder.glob("step-*")]
    found = [(path, (int(m[1]), int(m[2] or 1))) for path, m in matches if m]
    return sorted(found, key=lambda entry: entry[1])


def _manifest(folder: Path) -> dict[str, Any]:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in (_MODEL, _OPTIMIZER, _STATE)
    }
    return {"format_version": FORMAT_VERSION, "files": files}


def _verify(path: Path) -> None:
    manifest = _read_json(path / MANIFEST)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path / MANIFEST}: format_version {manifest.get('format_version')!r} is not known; "
            f"this tinygpt reads {FORMAT_VERSION}"
        )
    for name in (_MODEL, _OPTIMIZER, _STATE):
        if not (path / name).is_file():
            raise CheckpointError(f"{path}: {name} is missing")
    found = _manifest(path)
    if (path / MANIFEST).read_bytes() == _json(found):
        return
    written = manifest.get("files")
    for name, entry in found["files"].items():
        if isinstance(written, dict) and written.get(name) != entry:
            raise CheckpointError(
                f"{path}: {name} is not what was written (its SHA-256 or size differs)"
            )
    raise CheckpointError(f"{path}: {MANIFEST} is not what was written")


def _set_aside(path: Path) -> Path:
    n = 1
    while (target := path.with_name(f"{path.name}.corrupt-{n}")).exists():
        n += 1
    try:
        return path.rename(target)
    except OSError as error:
        raise _refused(target, error) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.parent}: {path.name} is missing or unreadable: {error}"
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.parent}: {path.name} is not a JSON object")
    return data


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Flush a rename to the disk; only POSIX can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refused(path: Path, error: OSError) -> MachineError:
    return MachineError(
        f"{path} can't be written: {error.strerror or error}; free space or choose another --out"
    )
