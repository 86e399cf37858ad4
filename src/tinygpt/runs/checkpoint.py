"""Checkpoints that are either whole or not there, and that notice a flipped bit.

A checkpoint is a folder `step-NNNNNNNN` with the weights, the optimizer's state and a JSON state.
It is written under a temporary name, flushed, read back and held against what should be there; its
MANIFEST.json, the SHA-256 of every file, comes last; then it is renamed. No format that we store in
has a checksum of its own, so every file is held against the manifest before it is used, and only
whole checkpoints count when old ones are removed. Nothing is a pickle.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.formats.weights import read_safetensors, write_safetensors
from tinygpt.runs.manifest import MANIFEST, read_object, to_json, verify, write_manifest
from tinygpt.storage.files import (
    copy_file,
    crash_point,
    refused,
    sync_folder,
    temporary_name,
    write_file,
)

__all__ = ["KEEP", "Arrays", "Checkpoint", "load", "load_newest", "load_step", "prune", "save"]

KEEP = 2
"""Whole checkpoints that a run keeps, so that one may be damaged."""

_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_FILES = (_MODEL, _OPTIMIZER, _STATE)
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
    publish: Path | None = None,
) -> Path:
    """Write a checkpoint that is whole and verified when it appears.

    Args:
        folder: where checkpoints live; made if needed.
        step: optimizer steps done; a second checkpoint of the same step gets a suffix, so that
            nothing is ever overwritten.
        model: weights, all finite.
        optimizer: tensors by name, all finite.
        state: a JSON object.
        publish: a file that gets the same weights just before the checkpoint appears: where there
            is a checkpoint, that file is not behind it.

    Raises:
        MachineError: the disk refused, or gave back something else; older ones are untouched.
        CheckpointError: a number is not finite.
    """
    for name, array in (*model.items(), *optimizer.items()):
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"step {step}: {name!r} is not finite; such weights are not saved"
            )
    taken = [n for _, (other, n) in _found(folder) if other == step]
    path = folder / (f"step-{step:08d}-{max(taken) + 1}" if taken else f"step-{step:08d}")
    temporary = temporary_name(path)
    try:
        crash_point("checkpoint: begun")
        temporary.mkdir(parents=True)
        write_safetensors(temporary / _MODEL, model)
        crash_point("checkpoint: weights written")
        write_safetensors(temporary / _OPTIMIZER, optimizer)
        write_file(temporary / _STATE, to_json({"step": step, **state}))
        _read_back(temporary, model, optimizer)
        crash_point("checkpoint: no manifest yet")
        write_manifest(temporary, _FILES)
        crash_point("checkpoint: manifest written")
        if publish is not None:
            copy_file(temporary / _MODEL, publish)
            crash_point("checkpoint: weights published")
        temporary.rename(path)
        crash_point("checkpoint: renamed")
        sync_folder(folder)
    except (CheckpointError, MachineError):
        raise
    except OSError as error:
        raise refused(path, error, _n_bytes(model) + _n_bytes(optimizer)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    crash_point("checkpoint: done")
    return path


def prune(folder: Path, *, keep: int = KEEP, spare: int | None = None) -> tuple[str, ...]:
    """Remove old checkpoints; only whole ones count, and damaged ones are set aside.

    Args:
        folder: where checkpoints live.
        keep: how many whole ones to keep.
        spare: a step whose newest whole checkpoint is kept too.

    Returns:
        A line for each damaged one that was in the way.

    Raises:
        MachineError: the disk refused.
    """
    notes: list[str] = []
    for path, (step, _) in reversed(_found(folder)):
        if keep <= 0 and step != spare:
            _remove(path)
            continue
        try:
            verify(path, _FILES)
        except CheckpointError as error:
            notes.append(_set_aside(path, error))
            continue
        keep -= 1
        if step == spare:
            spare = None
    return tuple(notes)


def load(path: Path) -> Checkpoint:
    """Open one checkpoint after holding every file against the manifest.

    Raises:
        CheckpointError: naming the file that is missing, changed or unreadable.
    """
    verify(path, _FILES)
    state = read_object(path / _STATE)
    model, optimizer = (read_safetensors(path / name) for name in (_MODEL, _OPTIMIZER))
    for name, array in (*model.items(), *optimizer.items()):
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name!r} is not finite")
    return Checkpoint(
        path=path, step=state.pop("step"), model=model, optimizer=optimizer, state=state
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
    notes: list[str] = []
    for path, _ in reversed(_found(folder)):
        try:
            return load(path), tuple(notes)
        except CheckpointError as error:
            notes.append(_set_aside(path, error))
    why = "; ".join(notes) if notes else "no checkpoint there"
    raise CheckpointError(f"{folder}: nothing to go on from: {why}")


def _found(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Return the checkpoints and their (step, suffix), oldest first."""
    matches = [(path, _NAME.match(path.name)) for path in folder.glob("step-*")]
    found = [(path, (int(m[1]), int(m[2] or 1))) for path, m in matches if m]
    return sorted(found, key=lambda entry: entry[1])


def _read_back(folder: Path, *written: Arrays) -> None:
    """Hold the tensors in the files against those that they were written from."""
    for name, arrays in zip((_MODEL, _OPTIMIZER), written, strict=True):
        found = read_safetensors(folder / name)
        for key, array in arrays.items():
            if not np.array_equal(found[key], array):
                raise MachineError(
                    f"{folder / name}: {key!r} does not read as it was written: the disk or the "
                    "memory fails; choose another place"
                )


def _set_aside(path: Path, error: CheckpointError) -> str:
    """Rename a damaged checkpoint and say so: which file, why, and where it is now."""
    n = 1
    while (target := path.with_name(f"{path.name}.corrupt-{n}")).exists():
        n += 1
    try:
        path.rename(target)
    except OSError as problem:
        raise refused(target, problem, 0) from None
    return f"{error}; set aside as {target.name}"


def _remove(path: Path) -> None:
    """Delete a checkpoint, which is gone at once: a kill leaves no half of it under its name."""
    crash_point("prune: begun")
    try:
        doomed = path.rename(temporary_name(path))
    except OSError as error:
        raise refused(path, error, 0) from None
    crash_point("prune: renamed")
    (doomed / MANIFEST).unlink(missing_ok=True)
    crash_point("prune: half way")
    shutil.rmtree(doomed, ignore_errors=True)
    crash_point("prune: done")


def _n_bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
