"""Ids of a large corpus: encoded piece by piece into a file of the cache, and mapped from there.

One folder a text and tokenizer, `ids/KEY` in the cache: the ids of the training part, then those of
the held-out part, in the smallest type that holds them, and about.json, which says whose they are.
It appears by rename; its SHA-256 is checked whenever it is used again. The least recently used are
deleted when all together take more than MAX_BYTES.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from tinygpt.data.corpora import Corpus
from tinygpt.errors import DataError, MachineError, TokenizerError
from tinygpt.progress import Progress, Tell
from tinygpt.storage.cache_folder import cache_dir
from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = ["MAX_BYTES", "MappedIds", "mapped_ids"]

MAX_BYTES = 20 * 2**30
"""What the cache keeps of ids, the newest excepted."""

_FORMAT = 1
_BLOCK_BYTES = 2**20
_DAY_S = 86400.0

# Before a space or newline that follows a non-space, where a BPE token always starts (bpe.py).
_CUT = re.compile(r"(?<=\S)[ \n]")

_Ids = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]


class MappedIds(NamedTuple):
    """A corpus as ids that lie in a file."""

    train: _Ids
    """(n,) ids of the training part, read-only."""
    held_out: _Ids
    """(m,) ids of the held-out part, read-only."""
    n_train_bytes: int
    """UTF-8 bytes of the training part."""


def mapped_ids(
    corpus: Corpus, tokenizer: Tokenizer, n_train: int, progress: Tell | None = None
) -> MappedIds:
    """Map the ids of a corpus's two parts, each encoded for itself; encode it unless it was before.

    Args:
        n_train: characters of the training part.
        progress: told how far the encoding is.

    Raises:
        DataError: the text is no longer what it was when it was loaded.
        TokenizerError: a character that the tokenizer lacks.
        MachineError: the cache can't be written.
    """
    say = Progress(progress)
    folder = cache_dir() / "ids" / _key(corpus, tokenizer, n_train)
    try:
        about = _checked(folder, say)
        if about is None:
            shutil.rmtree(folder, ignore_errors=True)  # damaged, if it is there
            _write(folder, corpus, tokenizer, n_train, say)
            _make_room(folder)
            about = json.loads((folder / "about.json").read_bytes())
        ids = np.asarray(np.memmap(folder / "ids", about["dtype"], "r"))
    except MachineError:
        raise
    except OSError as error:
        raise MachineError(
            f"the ids of {corpus.title} can't be kept in {folder.parent}: "
            f"{error.strerror or error}; make room there, or set XDG_CACHE_HOME to another folder"
        ) from None
    n = about["n_train_tokens"]
    return MappedIds(ids[:n], ids[n:], about["n_train_bytes"])


def _key(corpus: Corpus, tokenizer: Tokenizer, n_train: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {corpus.sha256} {n_train}\n".encode())
    with tempfile.TemporaryDirectory() as folder:  # of a tokenizer everything is in that file
        tokenizer.save(Path(folder), 0)
        digest.update((Path(folder) / "tokenizer.json").read_bytes())
    return digest.hexdigest()


def _checked(folder: Path, say: Tell) -> dict[str, Any] | None:
    """Return about.json if the ids are there and whole, and note that they were used."""
    try:
        about: dict[str, Any] = json.loads((folder / "about.json").read_bytes())
        digest, size = hashlib.sha256(), (folder / "ids").stat().st_size
        with (folder / "ids").open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                say(f"checking the ids of {about['corpus']}", file.tell() / size)
        if digest.hexdigest() != about["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # of a cache that can only be read
        os.utime(folder)
    return about


def _write(folder: Path, corpus: Corpus, tokenizer: Tokenizer, n_train: int, say: Tell) -> None:
    """Encode a corpus into a folder that appears when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        with (temporary / "ids").open("wb") as file:
            about = _encode(file, corpus, tokenizer, n_train, say)
            os.fsync(file.fileno())
        (temporary / "about.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        with contextlib.suppress(FileExistsError):  # another process was first, with the same ids
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _encode(
    file: IO[bytes], corpus: Corpus, tokenizer: Tokenizer, n_train: int, say: Tell
) -> dict[str, Any]:
    """Write the ids of both parts; return what about.json says of them."""
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    of_text, of_ids = hashlib.sha256(), hashlib.sha256()
    n_characters, done = len(corpus.text), 0
    n_tokens, n_bytes = [0, 0], [0, 0]
    for part, (start, stop) in enumerate(((0, n_train), (n_train, n_characters))):
        for piece in _cut(corpus.pieces(start, stop), tokenizer):
            try:
                data = tokenizer.encode(piece).astype(dtype).tobytes()
            except TokenizerError as error:
                raise TokenizerError(
                    f"{corpus.title}, counted from its character {done:,} on: {error}"
                ) from None
            utf8 = piece.encode()
            of_text.update(utf8)
            of_ids.update(data)
            file.write(data)
            done += len(piece)
            n_tokens[part] += len(data) // dtype.itemsize
            n_bytes[part] += len(utf8)
            say(f"encoding {corpus.title}, {corpus.n_bytes:,} bytes", done / n_characters)
    if of_text.hexdigest() != corpus.sha256:
        raise DataError(f"{corpus.title} changed while it was read; repeat the command")
    return {
        "format": _FORMAT,
        "corpus": corpus.title,
        "corpus_sha256": corpus.sha256,
        "tokenizer": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "dtype": dtype.name,
        "n_train_tokens": n_tokens[0],
        "n_held_out_tokens": n_tokens[1],
        "n_train_bytes": n_bytes[0],
        "sha256": of_ids.hexdigest(),
    }


def _cut(pieces: Iterator[str], tokenizer: Tokenizer) -> Iterator[str]:
    """Cut a text where any tokenizer starts a token, so that its pieces have the ids of the whole.

    A tokenizer with a token across such places gets the whole text at once.
    """
    if tokenizer.kind != "bpe":
        yield from pieces
        return
    across = any(_CUT.search(t.decode("utf-8", "replace")) for t in tokenizer.token_bytes)
    rest = ""
    for piece in pieces:
        rest += piece
        if not across and (cut := _last_cut(rest)):
            yield rest[:cut]
            rest = rest[cut:]
    yield rest


def _last_cut(text: str) -> int:
    """Return the last place that _CUT finds; 0 if there is none."""
    at = len(text)
    while (at := max(text.rfind(" ", 0, at), text.rfind("\n", 0, at))) > 0:
        if not text[at - 1].isspace():
            return at
    return 0


def _make_room(newest: Path) -> None:
    """Delete the least recently used ids beyond MAX_BYTES, and what a killed process left."""
    total = 0
    with contextlib.suppress(OSError):  # another process makes room at the same time
        entries = [path for path in newest.parent.iterdir() if path.is_dir() and path != newest]
        used_s = {path: path.stat().st_mtime for path in entries}
        for path in sorted(entries, key=used_s.__getitem__, reverse=True):
            total += sum(file.stat().st_size for file in path.iterdir())
            left_over = path.suffix == ".tmp" and used_s[path] < time.time() - _DAY_S
            if left_over or (path.suffix != ".tmp" and total > MAX_BYTES):
                shutil.rmtree(path, ignore_errors=True)
