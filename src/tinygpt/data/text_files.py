"""The user's own text: a .txt file, or a folder of them; checked, hashed and read in pieces.

A file is taken exactly as it is: line ends, a byte order mark and NUL characters included. The
files of a folder are joined in the order of their paths, with one newline after each that does not
end with one (but for the last), so that no line goes across a border; the source says how many.
"""

import bisect
import codecs
import hashlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinygpt.errors import DataError, MachineError
from tinygpt.progress import Tell

__all__ = ["LARGE_BYTES", "Scanned", "TextFiles", "distinct", "find", "scan"]

LARGE_BYTES = 8 * 2**20
"""A text of more bytes is never held as a whole, nor are its ids."""

_BLOCK_BYTES = 2**20


class TextFiles:
    """A text that stays in its files: it has a length and pieces, and nothing else of a str."""

    def __init__(
        self, files: Sequence[Path], n_bytes: int, characters: str, index: list["_Place"]
    ) -> None:
        """Take what `scan` found; the index holds each block's place, and last the text's end."""
        self.n_bytes = n_bytes
        self.characters = characters
        self._files, self._index = files, index

    def __len__(self) -> int:
        """Return the number of characters."""
        return self._index[-1].character

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield the characters from start to stop, read anew, about a million at a time.

        Raises:
            DataError, MachineError: the files are not what they were.
        """
        stop = len(self) if stop is None else stop
        place = self._index[bisect.bisect(self._index, (start, len(self._files))) - 1]
        at = place.character
        for block in _blocks(self._files, place.file, place.offset):
            if at >= stop:
                return
            if piece := block.text[max(0, start - at) : stop - at]:
                yield piece
            at += len(block.text)


class Scanned(NamedTuple):
    """What one pass over the files found."""

    text: str | TextFiles
    sha256: str
    n_bytes: int
    """Of the whole text, newlines between files included."""
    n_newlines_added: int


class _Place(NamedTuple):
    """Where a block begins."""

    character: int
    file: int
    offset: int


class _Block(NamedTuple):
    place: tuple[int, int]
    data: bytes
    text: str
    newline_added: bool


def find(path: Path) -> list[Path]:
    """Return the path of a file, or the .txt files at any depth below a folder, in order.

    The order is that of the paths below the folder, written with "/". Files and folders whose
    names begin with a dot are hidden and left out; a link to a file is that file.

    Raises:
        DataError: no such file below the folder, a link to a folder, or no regular file.
        MachineError: a folder can't be read.
    """
    files = _below(path) if path.is_dir() else [path]
    for file in files:
        if not file.is_file():  # a pipe or a device could be read once only, or never end
            raise DataError(f"{file} is not a regular file; save the text to a .txt file first")
    return files


def scan(files: Sequence[Path], name: str, progress: Tell | None = None) -> Scanned:
    """Read all files once: check, count and hash them; keep the text if it is small.

    Args:
        files: at least one.
        name: of the text, for `progress`.
        progress: told how far the reading is, where the text is large.

    Raises:
        DataError: an empty file, or one that is not UTF-8.
        MachineError: a file can't be read.
    """
    total = sum(_size(file) for file in files)
    digest, seen = hashlib.sha256(), set[str]()
    kept: list[str] | None = []
    index: list[_Place] = []
    n_bytes = n_characters = n_newlines = 0
    for block in _blocks(files):
        index.append(_Place(n_characters, *block.place))
        digest.update(block.data)
        seen = distinct(block.data, seen)
        n_bytes, n_characters = n_bytes + len(block.data), n_characters + len(block.text)
        n_newlines += block.newline_added
        if kept is not None:
            kept.append(block.text)
            kept = kept if n_bytes <= LARGE_BYTES else None
        if kept is None and progress is not None:
            progress(f"reading {name}, {total:,} bytes", min(1.0, n_bytes / total))
    index.append(_Place(n_characters, len(files), 0))
    characters = "".join(sorted(seen))
    large = TextFiles(files, n_bytes, characters, index)
    text = large if kept is None else "".join(kept)
    return Scanned(text, digest.hexdigest(), n_bytes, n_newlines)


def distinct(data: bytes, seen: set[str]) -> set[str]:
    """Return the characters seen so far and those of a UTF-8 text."""
    seen = seen | set(data[:4096].decode("utf-8", "ignore"))
    known = bytes(ord(character) for character in seen if character.isascii())
    return seen | set(data.translate(None, known).decode())  # 15 times as fast as set(text)


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (link := Path(root, name)).is_symlink():
                raise DataError(
                    f"{link} is a link to a folder, which could lead anywhere or in a circle; put "
                    "the folder itself there, or take the link out"
                )
        found += [
            Path(root, name)
            for name in names
            if name.lower().endswith(".txt") and not name.startswith(".")
        ]
    if not found:
        raise DataError(f"{folder} is a folder without a .txt file; give one that has some")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _unreadable(error: OSError) -> None:
    raise MachineError(f"{error.filename} can't be read: {error.strerror or error}") from error


def _size(path: Path) -> int:
    try:
        n_bytes = path.stat().st_size
    except OSError as error:
        raise MachineError(f"{path} can't be read: {error.strerror or error}") from error
    if not n_bytes:
        raise DataError(f"{path} is empty; give a text")
    return n_bytes


def _blocks(files: Sequence[Path], first: int = 0, offset: int = 0) -> Iterator[_Block]:
    """Yield the text from an offset in one of the files on, in blocks of whole characters."""
    for number in range(first, len(files)):
        path, size = files[number], _size(files[number])
        try:
            with path.open("rb") as file:
                file.seek(offset)
                while offset < size and (data := file.read(_BLOCK_BYTES)):
                    is_end = offset + len(data) >= size
                    data = data if is_end else data[: _character_end(data)]
                    text = _decoded(data, path, offset)
                    is_open = is_end and number + 1 < len(files) and not data.endswith(b"\n")
                    if is_open:
                        data, text = data + b"\n", text + "\n"
                    yield _Block((number, offset), data, text, is_open)
                    offset += len(data)
                    file.seek(offset)
        except OSError as error:
            raise MachineError(f"{path} can't be read: {error.strerror or error}") from error
        offset = 0


def _character_end(data: bytes) -> int:
    """Return where the last character that may go on behind the data begins, else its end."""
    for back in range(1, min(3, len(data)) + 1):
        if data[-back] >= 0xC0:  # the first byte of several
            return len(data) - back or len(data)
        if data[-back] < 0x80:
            break
    return len(data)


def _decoded(data: bytes, path: Path, offset: int) -> str:
    quoted = shlex.quote(str(path))
    for magic, kind, command in (
        (b"\x1f\x8b", "gzip", f"gunzip {quoted}"),
        (b"PK\x03\x04", "zip", f"unzip {quoted}"),
    ):
        if offset == 0 and data.startswith(magic):
            raise DataError(f"{path} is a {kind} archive, not a text; unpack it: `{command}`")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        marks = offset == 0 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "UTF-16" if marks else "WINDOWS-1252"
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset "
            f"{offset + error.start:,} ({error.reason}); convert it, for example with "
            f"`iconv -f {encoding} -t UTF-8 {quoted} > NEW.txt`"
        ) from None
