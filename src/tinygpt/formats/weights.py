"""Weight files: safetensors read through a memory map, shards, pickles only when allowed.

Reading needs no torch: a file is mapped, its header checked, and every tensor is a numpy view on
the map, so that opening costs almost nothing and each byte is read from the disk once, when it is
first used. Writing goes to a temporary name, is flushed to the disk, and then renamed.
"""

import contextlib
import hashlib
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError
from tinygpt.formats.model_files import MAX_INDEX_BYTES
from tinygpt.formats.safetensors_header import Entry, read_header
from tinygpt.storage.files import crash_point, read_small, refused, sync_folder, temporary_name

__all__ = [
    "read_pickle",
    "read_safetensors",
    "read_weights",
    "weights_sha256",
    "write_safetensors",
]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_NOT_WEIGHTS = {"BOOL": "?", "U8": "u1", "I64": "<i8", "I32": "<i4"}  # mask buffers of old files
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def read_weights(folder: Path, *, allow_pickle: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    """Read a model folder's tensors: model.safetensors, its shards, or pytorch_model.bin.

    Returns:
        Names as in the file -> arrays, mapped where the format allows; bf16 becomes float32.

    Raises:
        CheckpointError: no weights, a damaged file, or only a pickle without `allow_pickle`.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return read_safetensors(single)
    if index.exists():
        return _read_shards(index, allow_pickle=False)
    pickles = [folder / name for name in _PICKLES if (folder / name).exists()]
    if not pickles:
        raise CheckpointError(
            f"{folder}: no weights (looked for model.safetensors, model.safetensors.index.json "
            "and pytorch_model.bin)"
        )
    if pickles[0].suffix == ".bin":
        return _read_state_dict(pickles[0], allow_pickle=allow_pickle)
    if not allow_pickle:
        raise _refused_pickle(pickles[0])
    return _read_shards(pickles[0], allow_pickle=True)


def read_safetensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Map a safetensors file; every tensor is a copy-on-write view on it (bf16: a float32 copy).

    Raises:
        CheckpointError: a file that can't be read, or a header that does not fit it.
    """
    if not path.is_file() and path.exists():  # a pipe could keep us waiting without end
        raise CheckpointError(f"{path} can't be read: it is no regular file")
    try:
        with path.open("rb") as file:
            entries = read_header(file, path)
            if not entries:
                return {}
            body = np.asarray(np.memmap(file, dtype=np.uint8, mode="c"))
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    return {name: _view(body, entry) for name, entry in entries.items()}


def read_pickle(path: Path, *, allow_pickle: bool) -> dict[str, Any]:
    """Read what torch.save wrote: tensors and plain values by name, nothing else.

    Args:
        allow_pickle: the user trusts the file; torch's own reader (weights_only=True) still
            builds nothing but tensors and plain values.

    Returns:
        Names -> values; tensors as arrays, mapped where the format allows, at any depth of dicts.

    Raises:
        CheckpointError: not allowed, damaged, or something else than a dict by name.
    """
    if not allow_pickle:
        raise _refused_pickle(path)
    import torch  # only a pickle needs it

    try:
        zipped = zipfile.is_zipfile(path)  # not so before torch 1.6; such files can't be mapped
        with warnings.catch_warnings(action="ignore"):  # of what it then refuses
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise TypeError(f"it holds a {type(state).__name__}, not tensors by name")
        return {name: _plain(value, torch) for name, value in state.items()}
    except Exception as error:  # torch raises many kinds; each means that this is no state_dict
        # Only its first sentence: the next tells people to load what it has just refused.
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise CheckpointError(
            f"{path}: not a plain state_dict of tensors: {reason}; save it anew as one"
        ) from None


def weights_sha256(folder: Path) -> str:
    """Return what tells a model folder's weights from others: 64 lower-case hex digits.

    Of one weight file that is its SHA-256; of several, that of their names and SHA-256 sums.

    Raises:
        CheckpointError: a file that can't be read.
    """
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    sums = []
    for path in files:
        try:
            with path.open("rb") as file:
                sums.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    if len(sums) == 1:
        return sums[0]
    named = "".join(f"{path.name} {digest}\n" for path, digest in zip(files, sums, strict=True))
    return hashlib.sha256(named.encode()).hexdigest()


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write a safetensors file that replaces `path` in one rename, flushed to the disk before.

    Raises:
        MachineError: the disk refused; what was at `path` is untouched.
    """
    temporary = temporary_name(path)
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    try:
        save_file(arrays, temporary, metadata={"format": "pt"})  # transformers 4 wants "format"
        crash_point("weights: not flushed")
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # safetensors leaves 0600
        crash_point("weights: flushed")
        temporary.replace(path)
        sync_folder(path.parent)
    except (OSError, SafetensorError) as error:  # a full disk is a SafetensorError
        raise refused(path, error, sum(array.nbytes for array in arrays.values())) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # still there only if something failed, Ctrl-C included


def _view(body: np.ndarray[Any, Any], entry: Entry) -> np.ndarray[Any, Any]:
    flat = body[entry.start : entry.end].view((_DTYPES | _NOT_WEIGHTS)[entry.dtype])
    if entry.dtype == "BF16":  # the upper half of a float32
        flat = (flat.astype("<u4") << 16).view("<f4")
    elif not flat.flags.aligned:  # a header of odd length, which old writers made
        flat = flat.copy()
    return flat.reshape(entry.shape)


def _read_shards(index: Path, *, allow_pickle: bool) -> dict[str, np.ndarray[Any, Any]]:
    try:
        names = set(parse_json(read_small(index, MAX_INDEX_BYTES))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CheckpointError(f"{index}: damaged: {why}") from None
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name in sorted(names, key=str):
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise CheckpointError(f"{index}: {name!r:.80} is not the name of a file beside it")
        path = index.parent / name
        if not path.exists():
            raise CheckpointError(f"{index}: the shard {name} is missing; download it again")
        shard = (
            _read_state_dict(path, allow_pickle=True) if allow_pickle else read_safetensors(path)
        )
        if twice := tensors.keys() & shard.keys():
            raise CheckpointError(f"{path}: tensor {min(twice)!r} is in another shard too")
        tensors |= shard
    return tensors


def _read_state_dict(path: Path, *, allow_pickle: bool) -> dict[str, np.ndarray[Any, Any]]:
    state = read_pickle(path, allow_pickle=allow_pickle)
    for name, value in state.items():
        if not isinstance(value, np.ndarray):
            raise CheckpointError(
                f"{path}: not a plain state_dict of tensors: {name!r} is a {type(value).__name__}"
            )
    return state


def _refused_pickle(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path.parent}: its weights are a pickle ({path.name}), which can run code when opened; "
        "if you trust where it comes from, add --allow-pickle"
    )


def _plain(value: Any, torch: Any) -> Any:
    """Return a value with each tensor as an array that shares its memory (bf16: a float32 copy)."""
    if isinstance(value, torch.Tensor):
        return (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
    if isinstance(value, Mapping):
        return {key: _plain(item, torch) for key, item in value.items()}
    return value
