"""Text to ids and back: what every tokenizer does, and the two that learn no tokens.

One id per character, or one per byte; units that are learned stand in bpe.py. All are lossless and
repair nothing: a text or an id that can't be held is an error. The files are Hugging Face's, so
AutoTokenizer opens what `save` writes (load.py reads them).
"""

import codecs
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinygpt.errors import MachineError, TokenizerError

__all__ = [
    "BYTE_LETTERS",
    "CHAR_SPLIT",
    "EOT",
    "AnyIds",
    "ByteTokenizer",
    "CharTokenizer",
    "TextStream",
    "Tokenizer",
    "check_vocabulary",
    "checked_ids",
    "refuse_surrogates",
    "write_config",
    "write_json",
]

AnyIds = Sequence[int] | npt.NDArray[np.integer[Any]]
"""A row of ids."""
EOT = "<|endoftext|>"
"""The text of the token that ends a text."""
CHAR_SPLIT = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
"""tokenizer.json's way to cut a text into characters."""

_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_LETTERS = {chr(byte): byte for byte in _PRINTABLE}
BYTE_LETTERS |= {chr(256 + i): b for i, b in enumerate(sorted({*range(256)} - {*_PRINTABLE}))}
"""GPT-2's letters for bytes: a byte's own where that is printable, else one from U+0100 on."""

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


class Tokenizer(Protocol):
    """What the rest of tinygpt knows of a tokenizer: ids 0 to V-1, each a run of UTF-8 bytes."""

    kind: str  # "char", "byte" or "bpe"
    vocab_size: int  # V
    eot_id: int | None  # id of <|endoftext|>, which ends a text; None where there is none

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id: joined over `encode(text)` they are `text.encode()`."""

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32; TokenizerError if it holds what has no id."""

    def decode(self, ids: AnyIds) -> str:
        """Return the text; bytes that are not UTF-8 give U+FFFD, a foreign id TokenizerError."""

    def save(self, folder: Path, n_positions: int) -> None:
        """Write what AutoTokenizer reads; n_positions is the model's context in tokens."""


class CharTokenizer:
    r"""One id per character: id i is the i-th of the known characters, in code point order.

    A character is a code point: "\r\n" is two, an emoji may be several. There are no special
    tokens, so 65 characters make a vocabulary of 65, and no id ends a text.
    """

    kind = "char"
    eot_id: int | None = None

    def __init__(self, characters: str) -> None:
        """Take distinct characters in code point order, or raise a TokenizerError."""
        if not characters or characters != "".join(sorted(set(characters))):
            raise TokenizerError(
                f"characters {characters[:20]!r} are none, repeated or not in code point order; "
                "CharTokenizer.from_text makes them from a text that is not empty"
            )
        refuse_surrogates(characters)
        self.characters = characters
        self.vocab_size = len(characters)

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Make the tokenizer of a corpus from its distinct characters."""
        return cls("".join(sorted(set(text))))

    def __repr__(self) -> str:
        """Say how many characters it knows."""
        return f"<CharTokenizer of {self.vocab_size} characters>"

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id."""
        return tuple(character.encode() for character in self.characters)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        # Code point -> id or -1. So is the last row, to which look-ups past the end are clipped.
        points = _code_points(self.characters)
        table = np.full(int(points[-1]) + 2, -1, dtype=np.int32)
        table[points] = np.arange(self.vocab_size)
        return table

    def unknown(self, text: str) -> str:
        """Return the distinct characters of a text that have no id, in code point order."""
        return "".join(sorted(set(text) - set(self.characters)))

    def known_mask(self, text: str) -> npt.NDArray[np.bool_]:
        """Return for each character whether it has an id, (len(text),) bool."""
        return self._table.take(_code_points(text), mode="clip") >= 0

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids, (len(text),) int32; TokenizerError for a character without one."""
        ids = self._table.take(_code_points(text), mode="clip")
        if ids.size and ids.min() < 0:
            raise TokenizerError(
                f"{_place(text, int(ids.argmin()))} is not one of the tokenizer's "
                f"{self.vocab_size} characters; take it out, or train on a text that holds it"
            )
        return ids

    def decode(self, ids: AnyIds) -> str:
        """Return the text of ids; TokenizerError for an id outside 0 to V-1."""
        points = _code_points(self.characters)[checked_ids(ids, self.vocab_size)]
        return points.tobytes().decode("utf-32-le")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json and tokenizer_config.json; MachineError if that fails."""
        # <unk> has no id, so AutoTokenizer too fails on an unknown character.
        vocab = {character: i for i, character in enumerate(self.characters)}
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
        steps = {"pre_tokenizer": CHAR_SPLIT, "decoder": {"type": "Fuse"}, "model": model}
        write_json(folder / "tokenizer.json", {"version": "1.0", "added_tokens": [], **steps})
        write_config(folder, n_positions, {})


class ByteTokenizer:
    """One id per byte of the text's UTF-8: the byte's value.

    Every text is held, except lone surrogates, which have no UTF-8. A character may take up to four
    ids, so only joined ids are sure to be text (`TextStream`). No id ends a text.
    """

    kind = "byte"
    vocab_size = 256
    eot_id: int | None = None

    def __repr__(self) -> str:
        """Name it."""
        return "<ByteTokenizer>"

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The 256 bytes."""
        return tuple(bytes([value]) for value in range(256))

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32; TokenizerError for a lone surrogate."""
        return np.frombuffer(refuse_surrogates(text), dtype=np.uint8).astype(np.int32)

    def decode(self, ids: AnyIds) -> str:
        """Return the text of ids; TokenizerError for an id outside 0 to 255."""
        return checked_ids(ids, 256).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json and tokenizer_config.json; MachineError if that fails."""
        # To AutoTokenizer it is a byte-level BPE that has letters and no merges.
        model = {"type": "BPE", "vocab": BYTE_LETTERS, "merges": []}
        steps = {"pre_tokenizer": _BYTE_LEVEL, "decoder": _BYTE_LEVEL, "model": model}
        write_json(folder / "tokenizer.json", {"version": "1.0", "added_tokens": [], **steps})
        write_config(folder, n_positions, {})


class TextStream:
    """Text out of ids that come one by one; the first bytes of a character wait for the others."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that is now certain; TokenizerError for an id outside 0 to V-1."""
        checked_ids([token_id], len(self._token_bytes))
        return self._decoder.decode(self._token_bytes[token_id])

    def finish(self) -> str:
        """Return what still waits, as U+FFFD, and be ready for another text."""
        return self._decoder.decode(b"", final=True)


def check_vocabulary(vocab: dict[str, int]) -> None:
    """Refuse ids that are not 0 to V-1, each once, with a TokenizerError."""
    missing = set(range(len(vocab))) - {i for i in vocab.values() if type(i) is int}
    if missing:
        raise TokenizerError(f"no token has id {min(missing)}; {len(vocab)} tokens count from 0")


def checked_ids(ids: AnyIds, vocab_size: int) -> npt.NDArray[np.int64]:
    """Return ids as (n,) int64; TokenizerError for one outside 0 to V-1 or for no row of ids."""
    array = np.asarray(ids)
    if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
        raise TokenizerError(f"ids are a row of whole numbers, not {array.dtype} {array.shape}")
    for place in np.flatnonzero((array < 0) | (array >= vocab_size))[:1]:
        raise TokenizerError(
            f"id {array[place]} (the ids' number {place}) is outside 0 to {vocab_size - 1}; "
            "ids mean something only to the tokenizer that made them"
        )
    return array.astype(np.int64)


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _place(text: str, index: int) -> str:
    line, column = text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
    code = f"U+{ord(text[index]):04X}"
    return f"{text[index]!r} ({code}) at line {line}, column {column} (index {index})"


def refuse_surrogates(text: str) -> bytes:
    """Return a text's UTF-8, or name the half of a surrogate pair in it with a TokenizerError."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        place = _place(text, error.start)
        raise TokenizerError(f"{place} is half a surrogate pair, which UTF-8 can't hold") from None


def write_json(path: Path, data: dict[str, Any] | str) -> None:
    """Write a file of the folder, which is made; a str is written as it is. MachineError."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    except OSError as error:
        raise MachineError(f"{path} can't be written: {error.strerror}") from None


def write_config(folder: Path, n_positions: int, special: dict[str, int]) -> None:
    """Write tokenizer_config.json; MachineError if that fails."""
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if EOT in special:  # which GPT2Tokenizer would add to a vocabulary that lacks it
        config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}
        config |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), EOT)
    config |= {"model_max_length": n_positions, "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", config)
