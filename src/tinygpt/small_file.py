"""Small files of a folder that may be anyone's: read whole, but never more than they may be.

Standard library only.
"""

from pathlib import Path

__all__ = ["read_small"]


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
