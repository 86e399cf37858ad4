"""Text to ids and back: one id per character, or GPT-2's byte-level BPE.

Both are lossless and repair nothing: a text or an id that can't be held is an error. The files are
Hugging Face's, so AutoTokenizer opens what `save` writes; from a file we take vocabulary, merges
and special tokens alone, and one that asks for other rules is refused by name. BPE: Sennrich et al.
2016, section 3.2; over bytes: GPT-2 paper, section 2.2. `tokenizers` does the merging.
"""

import codecs
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinygpt.errors import MachineError, TokenizerError

__all__ = [
    "CHAR_SPLIT",
    "EOT",
    "BPETokenizer",
    "CharTokenizer",
    "TextStream",
    "Tokenizer",
    "check_ids",
]

_Ids = Sequence[int] | npt.NDArray[np.integer[Any]]
EOT = "<|endoftext|>"
"""The text of the token that ends a text."""

_PIECE = 2000  # characters: BPE takes a long text in such pieces, faster and in less memory

CHAR_SPLIT = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
"""tokenizer.json's way to cut a text into characters."""

# Before a space or newline that follows a non-space. GPT-2's pattern always ends a match there, and
# its one look-ahead (within whitespace) never crosses it: pieces cut there give the same ids.
_CUT = re.compile(r"(?<=\S)[ \n]")

# GPT-2's letter for each byte: its own where that is printable, else one from U+0100 on.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTES = {chr(byte): byte for byte in _PRINTABLE}
_BYTES |= {chr(256 + i): b for i, b in enumerate(sorted({*range(256)} - {*_PRINTABLE}))}


class Tokenizer(Protocol):
    """What the rest of tinygpt knows of a tokenizer: ids 0 to V-1, each a run of UTF-8 bytes."""

    kind: str  # "char" or "bpe"
    vocab_size: int  # V
    eot_id: int | None  # id of <|endoftext|>, which ends a text; None where there is none

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id: joined over `encode(text)` they are `text.encode()`."""

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32; TokenizerError if it holds what has no id."""

    def decode(self, ids: _Ids) -> str:
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
        _refuse_surrogates(characters)
        self.characters = characters
        self.vocab_size = len(characters)

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Make the tokenizer of a corpus from its distinct characters."""
        return cls("".join(sorted(set(text))))

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

    def decode(self, ids: _Ids) -> str:
        """Return the text of ids; TokenizerError for an id outside 0 to V-1."""
        points = _code_points(self.characters)[_checked(ids, self.vocab_size)]
        return points.tobytes().decode("utf-32-le")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json and tokenizer_config.json; MachineError if that fails."""
        # <unk> has no id, so AutoTokenizer too fails on an unknown character.
        vocab = {character: i for i, character in enumerate(self.characters)}
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
        steps = {"pre_tokenizer": CHAR_SPLIT, "decoder": {"type": "Fuse"}, "model": model}
        _write(folder / "tokenizer.json", {"version": "1.0", "added_tokens": [], **steps})
        _write_config(folder, n_positions, {})


class BPETokenizer:
    """GPT-2's byte-level BPE: an id is a run of UTF-8 bytes, often a word with its leading space.

    A token may be part of a character, so only joined tokens are sure to be text (`TextStream`).
    Each of the 256 bytes has an id: every text is held, except lone surrogates, which have no
    UTF-8. The text `<|endoftext|>` becomes its one id, as with transformers.
    """

    kind = "bpe"

    def __init__(
        self, vocab: dict[str, int], merges: list[tuple[str, str]], special_tokens: dict[str, int]
    ) -> None:
        """Check the parts against each other, or raise a TokenizerError.

        Args:
            vocab: token -> id, spelled in GPT-2's byte letters (a space is `Ġ`). It may hold the
                special tokens too; the ids of both together are 0 to V-1.
            merges: pairs of tokens that join into one, the first to be joined first.
            special_tokens: literal text -> id, found in a text before anything else.
        """
        every = vocab | special_tokens
        check_ids(every)
        _check_bpe(every.keys() - special_tokens.keys(), merges)
        for token in special_tokens:
            _refuse_surrogates(token)
        self._vocab = dict(sorted(every.items(), key=lambda item: item[1]))
        self._merges = merges
        self._special = {t: i for t, i in self._vocab.items() if t in special_tokens}
        self.vocab_size = len(every)
        self.eot_id = special_tokens.get(EOT)

    @cached_property
    def _library(self) -> Any:
        import tokenizers  # here, so that a character model does not pay for it

        library = tokenizers.Tokenizer(tokenizers.models.BPE(self._vocab, self._merges))
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = tokenizers.decoders.ByteLevel()
        special = [tokenizers.AddedToken(token, normalized=False) for token in self._special]
        library.add_special_tokens(special)
        return library

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of each id, maybe part of a character; of a special token, its literal text."""
        return tuple(
            token.encode() if token in self._special else bytes(map(_BYTES.__getitem__, token))
            for token in self._vocab
        )

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32; TokenizerError for a lone surrogate."""
        _refuse_surrogates(text)
        pieces, start = [], 0
        cuttable = not any(_CUT.search(token) for token in self._special)
        while cuttable and (cut := _CUT.search(text, start + _PIECE)):
            pieces.append(text[start : cut.start()])
            start = cut.start()
        pieces.append(text[start:])
        ids: list[npt.NDArray[np.int32]] = []
        for first in range(0, len(pieces), 64):  # what the library returns is large
            batch = pieces[first : first + 64]
            found = self._library.encode_batch_fast(batch, add_special_tokens=False)
            ids += [np.array(piece.ids, dtype=np.int32) for piece in found]
        return np.concatenate(ids)

    def decode(self, ids: _Ids) -> str:
        """Return the text of ids; TokenizerError for an id outside 0 to V-1."""
        checked = _checked(ids, self.vocab_size).tolist()
        return b"".join(map(self.token_bytes.__getitem__, checked)).decode("utf-8", "replace")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json, its config, vocab.json and merges.txt; MachineError on failure."""
        _write(folder / "tokenizer.json", self._library.to_str())
        _write(folder / "vocab.json", self._vocab)
        merges = [" ".join(pair) for pair in self._merges]
        _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
        _write_config(folder, n_positions, self._special)


class TextStream:
    """Text out of ids that come one by one; the first bytes of a character wait for the others."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that is now certain; TokenizerError for an id outside 0 to V-1."""
        _checked([token_id], len(self._token_bytes))
        return self._decoder.decode(self._token_bytes[token_id])

    def finish(self) -> str:
        """Return what still waits, as U+FFFD, and be ready for another text."""
        return self._decoder.decode(b"", final=True)


def check_ids(vocab: dict[str, int]) -> None:
    """Refuse ids that are not 0 to V-1, each once, with a TokenizerError."""
    missing = set(range(len(vocab))) - {i for i in vocab.values() if type(i) is int}
    if missing:
        raise TokenizerError(f"no token has id {min(missing)}; {len(vocab)} tokens count from 0")


def _check_bpe(plain: set[str], merges: list[tuple[str, str]]) -> None:
    for token in plain:
        if not token or not set(token) <= _BYTES.keys():
            raise TokenizerError(f"the token {token!r:.60} is not spelled in GPT-2's byte letters")
    if lost := len(_BYTES.keys() - plain):
        raise TokenizerError(f"{lost} of the 256 bytes have no id, so texts would lose them")
    for a, b in merges:
        if not {a, b, a + b} <= plain:
            raise TokenizerError(f"the merge {a!r} {b!r} takes or makes a token without id")


def _checked(ids: _Ids, vocab_size: int) -> npt.NDArray[np.int64]:
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


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = _place(text, error.start)
        raise TokenizerError(f"{place} is half a surrogate pair, which UTF-8 can't hold") from None


def _write(path: Path, data: dict[str, Any] | str) -> None:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    except OSError as error:
        raise MachineError(f"{path} can't be written: {error.strerror}") from None


def _write_config(folder: Path, n_positions: int, special: dict[str, int]) -> None:
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if EOT in special:  # which GPT2Tokenizer would add to a vocabulary that lacks it
        config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}
        config |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), EOT)
    config |= {"model_max_length": n_positions, "clean_up_tokenization_spaces": False}
    _write(folder / "tokenizer_config.json", config)
