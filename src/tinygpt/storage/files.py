"""Files that are whole or not there: written under another name, flushed to the disk, renamed.

A process that is killed at any moment leaves the old file or the new one, and at most a leftover
that `clear_leftovers` knows by its name. To test exactly that, the environment variable
TINYGPT_CRASH_AT names a point at which the process kills itself: "checkpoint: renamed", or, for the
third time that it passes there, "checkpoint: renamed 3".
"""

import contextlib
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tinygpt.errors import MachineError

__all__ = [
    "clear_leftovers",
    "copy_file",
    "crash_point",
    "free_bytes",
    "read_small",
    "refused",
    "sync_folder",
    "temporary_name",
    "write_file",
]

_PIECE_BYTES = 2**20
_passed: Counter[str] = Counter()


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one rename, flushed to the disk before and after.

    Raises:
        MachineError: the disk refused; what was at `path` is untouched.
    """
    _write(path, iter((data[: len(data) // 2], data[len(data) // 2 :])), len(data))


def copy_file(source: Path, path: Path) -> None:
    """Replace a file by a copy of another one, as `write_file` does.

    Raises:
        MachineError: the disk refused; what was at `path` is untouched.
    """
    try:
        with source.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            _write(path, iter(lambda: file.read(_PIECE_BYTES), b""), n_bytes)
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        raise MachineError(f"{source} can't be read: {error.strerror or error}") from None


def temporary_name(path: Path) -> Path:
    """Return under which name a file or folder is written before it is renamed to `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def clear_leftovers(folder: Path) -> None:
    """Delete what killed processes left half written in a folder that nobody else writes to."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Flush the renames in a folder to the disk; only POSIX can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Return what the disk that `path` is or would be on has left for this user."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def read_small(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most max_bytes; a pipe or a device is not opened.

    Raises:
        ValueError: larger, or no regular file; the message says which.
        OSError: it can't be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("no regular file")
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"larger than {max_bytes:,} bytes")
    return data


def refused(path: Path, error: Exception, n_bytes: int) -> MachineError:
    """Return the error for a disk that did not take `n_bytes` at `path`."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return MachineError(
        f"{path} can't be written: {reason} ({n_bytes:,} bytes needed, {free_bytes(path):,} "
        "free); free space or choose another place"
    )


def crash_point(name: str) -> None:
    """Kill this process here if TINYGPT_CRASH_AT says so: for the tests alone."""
    wanted = os.environ.get("TINYGPT_CRASH_AT")
    if wanted is not None:
        _passed[name] += 1
        if wanted in (name, f"{name} {_passed[name]}"):
            os.kill(os.getpid(), signal.SIGKILL)


def _write(path: Path, pieces: Iterator[bytes], n_bytes: int) -> None:
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                file.flush()
                crash_point("file: partly written")
            os.fsync(file.fileno())
        crash_point("file: flushed")
        temporary.replace(path)
        crash_point("file: renamed")
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise refused(path, error, n_bytes) from None
