"""The SHA-256 of every file of a checkpoint, in MANIFEST.json: how a flipped bit is noticed."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError
from tinygpt.storage.files import write_file

__all__ = ["MANIFEST", "read_object", "to_json", "verify", "write_manifest"]

FORMAT_VERSION = 2
"""Of a checkpoint's layout; another one is refused."""

MANIFEST = "MANIFEST.json"


def write_manifest(folder: Path, names: Sequence[str]) -> None:
    """Write the sizes and the SHA-256 of a folder's files as they are on the disk.

    Raises:
        MachineError: the disk refused.
    """
    write_file(folder / MANIFEST, to_json(_manifest(folder, names)))


def verify(folder: Path, names: Sequence[str]) -> None:
    """Hold a folder's files against its manifest.

    Raises:
        CheckpointError: naming the file that is missing, changed or unreadable.
    """
    manifest = read_object(folder / MANIFEST)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder / MANIFEST}: format_version {manifest.get('format_version')!r} is not known; "
            f"this tinygpt reads {FORMAT_VERSION}"
        )
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing")
    found = _manifest(folder, names)
    if (folder / MANIFEST).read_bytes() == to_json(found):
        return
    written = manifest.get("files")
    for name, entry in found["files"].items():
        if isinstance(written, dict) and written.get(name) != entry:
            raise CheckpointError(
                f"{folder}: {name} is not what was written (its SHA-256 or size differs)"
            )
    raise CheckpointError(f"{folder}: {MANIFEST} is not what was written")


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: missing, unreadable or something else.
    """
    try:
        data = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.parent}: {path.name} is missing or unreadable: {error}"
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.parent}: {path.name} is not a JSON object")
    return data


def to_json(data: dict[str, Any]) -> bytes:
    """Return an object as the bytes of its file."""
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def _manifest(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in names
    }
    return {"format_version": FORMAT_VERSION, "files": files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
