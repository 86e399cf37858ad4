"""Text to ids and back: one id per character, or GPT-2's byte-level BPE.

Both kinds are lossless and repair nothing: text or an id that a tokenizer can't hold is an error.
The folder layout is Hugging Face's, so AutoTokenizer opens what `save` writes. We parse those files
ourselves and take from them vocabulary, merges and special tokens alone; a file that asks for any
other rule is refused by name. BPE: Sennrich et al. 2016, section 3.2; over bytes: the GPT-2 paper,
section 2.2. The merging itself is done by the `tokenizers` library.
"""

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinygpt.errors import CheckpointError, MachineError, TokenizerError

__all__ = ["BPETokenizer", "CharTokenizer", "TextStream", "Tokenizer", "load_tokenizer"]

EOT = "<|endoftext|>"
"""GPT-2's one special token: it ends a text."""

MAX_FILE_BYTES = 64 * 2**20
"""A tokenizer file above this is refused (GPT-2's is 1.4 MB)."""

PIECE_CHARACTERS = 2000
"""BPE takes a long text in pieces of about this size: several times faster than in one go."""

# Before a space or newline that follows a non-space. GPT-2's pattern always ends a match there, and
# its only look-ahead (among whitespace) never crosses it, so pieces cut there give the same ids.
_CUT = re.compile(r"(?<=\S)[ \n]")


class Tokenizer(Protocol):
    """What the rest of tinygpt knows of a tokenizer: ids 0 to V-1, each a run of UTF-8 bytes."""

    @property
    def kind(self) -> str:
        """`char` or `bpe`."""

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""

    @property
    def eot_id(self) -> int | None:
        """Id of `<|endoftext|>`, or None where there is none."""

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id; joined over `encode(text)` they are `text.encode()`."""

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, shape (n,); TokenizerError if it can't be held."""

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD."""

    def save(self, folder: Path, n_positions: int) -> None:
        """Write the files that AutoTokenizer reads; n_positions is the model's context."""


class CharTokenizer:
    """One id per character: id i is the i-th of the known characters in code point order.

    A character is a Unicode code point, so "\\r\\n" is two and an emoji may be several. There are no
    special tokens: 65 characters make a vocabulary of 65, and no id ends a text.
    """

    kind = "char"
    eot_id: int | None = None

    def __init__(self, characters: str) -> None:
        """Take the known characters: distinct, in code point order (`from_text` sees to that).

        Raises:
            TokenizerError: none, repeated, unsorted, or a lone surrogate (no UTF-8 holds it).
        """
        if not characters:
            raise TokenizerError("no characters: a tokenizer needs a text of at least one character")
        if characters != "".join(sorted(set(characters))):
            raise TokenizerError(
                "the characters repeat or are not in code point order; use CharTokenizer.from_text"
            )
        _refuse_surrogates(characters)
        self.characters = characters
        self.vocab_size = len(characters)

    @classmethod
    def from_text(cls, text: str) -> "CharTokenizer":
        """Make the tokenizer of a corpus: its distinct characters."""
        return cls("".join(sorted(set(text))))

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id."""
        return tuple(character.encode() for character in self.characters)

    def unknown(self, text: str) -> str:
        """Return the distinct characters of a text that have no id, in code point order."""
        return "".join(sorted(set(text) - set(self.characters)))

    def known_mask(self, text: str) -> npt.NDArray[np.bool_]:
        """Return for each character whether it has an id, shape (len(text),)."""
        return np.asarray(self._look_up(text) >= 0)

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, shape (len(text),) int32.

        Raises:
            TokenizerError: a character without an id, with its place.
        """
        ids = self._look_up(text)
        if ids.size and ids.min() < 0:
            index = int(np.argmin(ids))
            others = self.unknown(text).replace(text[index], "")
            more = f"; also unknown: {others[:20]!r}" if others else ""
            raise TokenizerError(
                f"{_place(text, index)} is not one of the tokenizer's {self.vocab_size} "
                f"characters{more}; take it out, or train on a text that holds it"
            )
        return ids

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """Return the text of ids.

        Raises:
            TokenizerError: an id outside 0 to V-1.
        """
        points = _code_points(self.characters)[_checked(ids, self.vocab_size)]
        return points.tobytes().decode("utf-32-le")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json (WordLevel) and tokenizer_config.json.

        AutoTokenizer then gives the same ids, and fails too on a character without an id.

        Raises:
            MachineError: the folder can't be written.
        """
        vocab = {character: i for i, character in enumerate(self.characters)}
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
        steps = {"pre_tokenizer": _CHAR_SPLIT, "post_processor": None, "decoder": {"type": "Fuse"}}
        _write_json(folder / "tokenizer.json", _tokenizer_json([], steps, model))
        config = _config("PreTrainedTokenizerFast", n_positions)
        _write_json(folder / "tokenizer_config.json", config)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        # Code point -> id, or -1. The last row is -1 too: look-ups beyond the end are clipped to it.
        points = _code_points(self.characters)
        table = np.full(int(points[-1]) + 2, -1, dtype=np.int32)
        table[points] = np.arange(self.vocab_size)
        return table

    def _look_up(self, text: str) -> npt.NDArray[np.int32]:
        return self._table.take(_code_points(text), mode="clip")


class BPETokenizer:
    """GPT-2's byte-level BPE: an id is a run of UTF-8 bytes, often a word with its leading space.

    A token may be part of a character: only joined bytes are sure to be text again (`TextStream`).
    The text `<|endoftext|>` becomes its one id, as with transformers. Every one of the 256 bytes
    has an id, so any text that UTF-8 can hold is encoded.
    """

    kind = "bpe"

    def __init__(
        self,
        vocab: dict[str, int],
        merges: list[tuple[str, str]],
        special_tokens: dict[str, int],
    ) -> None:
        """Check the parts and build the tokenizer.

        Args:
            vocab: token -> id, tokens in GPT-2's byte letters (a space is `Ġ`); may already hold
                the special tokens. Together their ids are 0 to V-1.
            merges: pairs of tokens to join, the first pair first.
            special_tokens: literal text -> id; found in a text before anything else.

        Raises:
            TokenizerError: parts that contradict each other or are not byte-level.
        """
        every = vocab | special_tokens
        _check_ids(every)
        _check_bpe(every.keys() - special_tokens.keys(), merges, special_tokens)
        self._vocab = dict(sorted(every.items(), key=lambda item: item[1]))
        self._merges = merges
        self._special = dict(sorted(special_tokens.items(), key=lambda item: item[1]))
        self._cuttable = not any(_CUT.search(token) for token in special_tokens)
        self.vocab_size = len(every)
        self.eot_id = special_tokens.get(EOT)

    @cached_property
    def _library(self) -> Any:
        # Imported here, so that a character model does not pay for it.
        import tokenizers
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel

        library = tokenizers.Tokenizer(BPE(vocab=self._vocab, merges=self._merges))
        library.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
        added = [tokenizers.AddedToken(text, normalized=False) for text in self._special]
        library.add_special_tokens(added)
        return library

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes of each id, possibly part of a character; a special token's literal."""
        return tuple(
            token.encode() if token in self._special else bytes(_BYTES[letter] for letter in token)
            for token in self._vocab
        )

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, shape (n,) int32.

        Raises:
            TokenizerError: a lone surrogate, with its place (it has no UTF-8).
        """
        _refuse_surrogates(text)
        pieces = self._pieces(text)
        ids: list[npt.NDArray[np.int32]] = []
        for start in range(0, len(pieces), 64):  # in batches, so that memory stays small
            batch = pieces[start : start + 64]
            found = self._library.encode_batch_fast(batch, add_special_tokens=False)
            ids += [np.array(piece.ids, dtype=np.int32) for piece in found]
        return np.concatenate(ids)

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenizerError: an id outside 0 to V-1.
        """
        checked = _checked(ids, self.vocab_size).tolist()
        return b"".join(map(self.token_bytes.__getitem__, checked)).decode("utf-8", "replace")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json, tokenizer_config.json, and vocab.json and merges.txt.

        Raises:
            MachineError: the folder can't be written.
        """
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added = [{"id": i, "content": t, **flags, "special": True} for t, i in self._special.items()]
        merges = [" ".join(pair) for pair in self._merges]
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        steps = dict.fromkeys(("pre_tokenizer", "post_processor", "decoder"), byte_level)
        model = {"type": "BPE", **_BPE_SETTINGS, "vocab": self._vocab, "merges": merges}
        _write_json(folder / "tokenizer.json", _tokenizer_json(added, steps, model))
        # GPT2Tokenizer would add the token that ends a text to a vocabulary that lacks it.
        known = EOT in self._special
        config = _config("GPT2Tokenizer" if known else "PreTrainedTokenizerFast", n_positions)
        if known:
            config |= {"add_prefix_space": False, "errors": "replace"}
            config |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), EOT)
        _write_json(folder / "tokenizer_config.json", config)
        _write_json(folder / "vocab.json", self._vocab)
        _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))

    def _pieces(self, text: str) -> list[str]:
        pieces, start = [], 0
        while self._cuttable and (cut := _CUT.search(text, start + PIECE_CHARACTERS)):
            pieces.append(text[start : cut.start()])
            start = cut.start()
        return [*pieces, text[start:]]


class TextStream:
    """Turns ids that arrive one by one into text, holding back a character's first bytes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that has become certain, often of another length than one character.

        Raises:
            TokenizerError: an id outside 0 to V-1.
        """
        _checked([token_id], len(self._token_bytes))
        return self._decoder.decode(self._token_bytes[token_id])

    def finish(self) -> str:
        """Return what was held back, as U+FFFD, and be ready for a new text."""
        return self._decoder.decode(b"", final=True)
