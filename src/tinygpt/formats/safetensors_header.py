"""The header of a safetensors file, checked before a byte of its tensors is touched.

The format's own library takes some files that its description forbids, so this reader is stricter:
no name twice, no absurd shape, no gap, no overlap, nothing behind the last tensor; and a header no
longer than a GPT-2 can need, so that a hostile one costs neither time nor memory.
Source: https://github.com/huggingface/safetensors, section "Format" of its README.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError

__all__ = ["MAX_HEADER_BYTES", "Entry", "read_header"]

MAX_HEADER_BYTES = 4_000_000
"""The format allows 100 MB; a GPT-2 of 1,000 layers, masks and all, takes 2 MB."""

MAX_DIMENSIONS = 8
"""A GPT-2 has at most 4, in its masks."""

MAX_SIZE = 2**40
"""Of one dimension; a tensor without numbers could claim any."""

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_ITEM_BYTES = _FLOATS | {"BOOL": 1, "U8": 1, "I64": 8, "I32": 4}  # mask buffers of old files
_LFS_POINTER = b"version "  # of "https://git-lfs...": a clone without Git LFS


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Byte of the file at which it begins."""
    end: int
    """And before which it ends."""


def read_header(file: BinaryIO, path: Path) -> dict[str, Entry]:
    """Read and check the header of an open file; its tensors are not read.

    Raises:
        CheckpointError: no safetensors file, or a header that does not fit it.
    """
    size = os.fstat(file.fileno()).st_size
    n_header = int.from_bytes(start := file.read(8), "little")
    if start == _LFS_POINTER:
        raise CheckpointError(f"{path}: a pointer of Git LFS; fetch the file with `git lfs pull`")
    if size < 8 or 8 + n_header > size:
        raise CheckpointError(f"{path}: not a safetensors file, or cut short ({size} bytes)")
    if n_header > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: not a GPT-2: its safetensors header has {n_header:,} bytes, tinygpt reads at "
            f"most {MAX_HEADER_BYTES:,}"
        )
    try:
        header = parse_json(file.read(n_header).decode("utf-8"))
    except RecursionError:
        raise CheckpointError(
            f"{path}: its safetensors header is damaged: nested too deeply"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path}: its safetensors header is damaged: {error}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: its safetensors header is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path}: the __metadata__ of its header are not texts by name")
    first, n_bytes = 8 + n_header, size - 8 - n_header
    entries = {}
    for name, entry in header.items():
        try:
            entries[name] = _entry(entry, first, n_bytes)
        except (KeyError, TypeError, ValueError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(f"{path}: tensor {name!r:.80}: {why}") from None
    position = first
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise CheckpointError(
                f"{path}: tensors overlap or leave a gap at byte {position - first}"
            )
        position = entry.end
    if position != size:
        raise CheckpointError(
            f"{path}: the tensors take {position - first} bytes, the file holds {n_bytes}"
        )
    return entries


def _entry(entry: Any, first: int, n_bytes: int) -> Entry:
    """Check one tensor for itself; the tensors begin at byte `first` and take n_bytes in all."""
    if not isinstance(entry, dict):
        raise TypeError(f"its entry is damaged: {type(entry).__name__} is no object")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not isinstance(shape, list):
        raise TypeError("its entry is damaged: dtype is not a text or shape not a list")
    if not isinstance(offsets, list) or len(offsets) != 2:
        raise TypeError("its entry is damaged: data_offsets are not two numbers")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape + offsets):
        raise ValueError("its entry is damaged: a size or offset is not a whole number")
    if dtype not in _ITEM_BYTES:
        raise ValueError(f"it has dtype {dtype:.20}; tinygpt reads {', '.join(_FLOATS)}")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"it has {len(shape):,} dimensions; those of a GPT-2 have at most 4")
    start, end = offsets
    # Python's whole numbers: absurd sizes can't overflow. One beside a 0 is refused too.
    needed = math.prod(shape) * _ITEM_BYTES[dtype]
    if max(shape, default=0) > MAX_SIZE or end - start != needed or end > n_bytes:
        raise ValueError(f"shape {shape!s:.80} does not fit its bytes {start}..{end}"[:200])
    return Entry(dtype, tuple(shape), first + start, first + end)
