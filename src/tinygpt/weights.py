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

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.settings import parse_json

__all__ = [
    "read_pickle",
    "read_safetensors",
    "read_weights",
    "weights_sha256",
    "write_safetensors",
]

MAX_HEADER_BYTES = 100 * 1000 * 1000
"""The limit of the safetensors format."""

_LFS_POINTER = b"version "  # of "https://git-lfs...": a clone without Git LFS
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
    raw, body = _map(path)
    try:
        header = parse_json(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its safetensors header is damaged: {error}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its safetensors header is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path}: the __metadata__ of its header are not texts by name")
    arrays = {name: _view(body, name, entry, path) for name, entry in header.items()}
    position = 0
    for start, end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if start != position:
            raise CheckpointError(f"{path}: tensors overlap or leave a gap at byte {position}")
        position = end
    if position != body.size:
        raise CheckpointError(
            f"{path}: the tensors take {position} bytes, the file holds {body.size}"
        )
    return arrays


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    try:
        save_file(arrays, temporary, metadata={"format": "pt"})  # transformers 4 wants "format"
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # safetensors leaves 0600
        temporary.replace(path)
    except (OSError, SafetensorError) as error:  # a full disk is a SafetensorError
        raise MachineError(
            f"{path} can't be written: {error}; free space or choose another --out"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # still there only if something failed, Ctrl-C included


def _map(path: Path) -> tuple[bytes, np.ndarray[Any, Any]]:
    """Return the raw header of a safetensors file and the bytes behind it, mapped."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            n_header = int.from_bytes(start := file.read(8), "little")
            if 8 + n_header <= size and n_header <= MAX_HEADER_BYTES:
                raw = file.read(n_header)
                return raw, np.memmap(file, dtype=np.uint8, mode="c")[8 + n_header :]
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    if start == _LFS_POINTER:
        raise CheckpointError(f"{path}: a pointer of Git LFS; fetch the file with `git lfs pull`")
    raise CheckpointError(f"{path}: not a safetensors file, or cut short ({size} bytes)")


def _view(body: np.ndarray[Any, Any], name: str, entry: Any, path: Path) -> np.ndarray[Any, Any]:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or not isinstance(shape, list):
            raise TypeError("dtype is not a text or shape not a list")
        numbers = [*shape, start, end]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
            raise ValueError("a size or offset is not a whole number")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the entry of tensor {name!r} is damaged: {error}") from None
    if dtype not in _DTYPES and dtype not in _NOT_WEIGHTS:
        raise CheckpointError(
            f"{path}: tensor {name!r} has dtype {dtype}; tinygpt reads {', '.join(_DTYPES)}"
        )
    count = 1
    for n in shape:
        count *= n  # Python's whole numbers: absurd shapes can't overflow
    if end - start != count * _item_size(dtype) or end > body.size:
        raise CheckpointError(
            f"{path}: tensor {name!r} of shape {shape} does not fit its bytes {start}..{end}"
        )
    flat = np.asarray(body[start:end]).view((_DTYPES | _NOT_WEIGHTS)[dtype])
    if dtype == "BF16":  # the upper half of a float32
        flat = (flat.astype("<u4") << 16).view("<f4")
    elif not flat.flags.aligned:  # a header of odd length, which old writers made
        flat = flat.copy()
    try:
        return flat.reshape(shape)
    except ValueError as error:  # too many dimensions, or an absurd one beside a 0
        raise CheckpointError(f"{path}: tensor {name!r} of shape {shape}: {error}") from None


def _item_size(dtype: str) -> int:
    return np.dtype((_DTYPES | _NOT_WEIGHTS)[dtype]).itemsize


def _read_shards(index: Path, *, allow_pickle: bool) -> dict[str, np.ndarray[Any, Any]]:
    try:
        names = set(parse_json(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index}: damaged: {error}") from None
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name in sorted(names, key=str):
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{index}: {name!r} is not the name of a file beside it")
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
