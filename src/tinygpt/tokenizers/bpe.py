"""Byte-level BPE: GPT-2's own, any like it, and one trained on a corpus.

A token is a run of bytes, learned as the pairs that occur most: Sennrich et al. 2016, section 3.2;
over bytes: GPT-2 paper, section 2.2. `tokenizers` counts and merges; this module is its one owner.
"""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygpt.errors import ConfigError, DataError, TokenizerError
from tinygpt.tokenizers.char_byte import (
    BYTE_LETTERS,
    EOT,
    AnyIds,
    check_vocabulary,
    checked_ids,
    refuse_surrogates,
    write_config,
    write_json,
)

__all__ = ["BPETokenizer", "train_bpe"]

_PIECE = 2000  # characters: a long text is taken in such pieces, faster and in less memory

# Before a space or newline that follows a non-space. GPT-2's pattern always ends a match there, and
# its one look-ahead (within whitespace) never crosses it: pieces cut there give the same ids.
_CUT = re.compile(r"(?<=\S)[ \n]")


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
        check_vocabulary(every)
        _check_bpe(every.keys() - special_tokens.keys(), merges)
        for token in special_tokens:
            refuse_surrogates(token)
        self._vocab = dict(sorted(every.items(), key=lambda item: item[1]))
        self.merges = merges
        self.special_tokens = {t: i for t, i in self._vocab.items() if t in special_tokens}
        self.vocab_size = len(every)
        self.eot_id = special_tokens.get(EOT)

    def __repr__(self) -> str:
        """Say how many tokens it has."""
        return f"<BPETokenizer of {self.vocab_size:,} tokens>"

    @cached_property
    def _library(self) -> Any:
        import tokenizers  # here, so that a character model does not pay for it

        library = tokenizers.Tokenizer(tokenizers.models.BPE(self._vocab, self.merges))
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = tokenizers.decoders.ByteLevel()
        special = [tokenizers.AddedToken(token, normalized=False) for token in self.special_tokens]
        library.add_special_tokens(special)
        return library

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of each id, maybe part of a character; of a special token, its literal text."""
        letters = str.maketrans({letter: chr(byte) for letter, byte in BYTE_LETTERS.items()})
        return tuple(
            token.encode()
            if token in self.special_tokens
            else token.translate(letters).encode("latin-1")
            for token in self._vocab
        )

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32; TokenizerError for a lone surrogate."""
        refuse_surrogates(text)
        cuttable = not any(_CUT.search(token) for token in self.special_tokens)
        pieces = list(_cut(text)) if cuttable else [text]
        ids: list[npt.NDArray[np.int32]] = []
        for first in range(0, len(pieces), 64):  # what the library returns is large
            batch = pieces[first : first + 64]
            found = self._library.encode_batch_fast(batch, add_special_tokens=False)
            ids += [np.array(piece.ids, dtype=np.int32) for piece in found]
        return np.concatenate(ids)

    def decode(self, ids: AnyIds) -> str:
        """Return the text of ids; TokenizerError for an id outside 0 to V-1."""
        row = checked_ids(ids, self.vocab_size).tolist()
        return b"".join(map(self.token_bytes.__getitem__, row)).decode("utf-8", "replace")

    def save(self, folder: Path, n_positions: int) -> None:
        """Write tokenizer.json, its config, vocab.json and merges.txt; MachineError on failure."""
        write_json(folder / "tokenizer.json", self._library.to_str())
        write_json(folder / "vocab.json", self._vocab)
        merges = [" ".join(pair) for pair in self.merges]
        write_json(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
        write_config(folder, n_positions, self.special_tokens)


def train_bpe(pieces: Iterable[str], vocab_size: int) -> BPETokenizer:
    """Learn a byte-level BPE from a text: 256 bytes, then merges, no special tokens.

    The same text gives the same tokenizer, wherever it was cut into pieces. Only pairs that occur
    at least twice are merged.

    Args:
        pieces: the text in order, as one piece or many.
        vocab_size: how many tokens, the 256 bytes included.

    Raises:
        ConfigError: vocab_size is less than 256.
        DataError: the text has too few pairs for so many tokens.
        TokenizerError: a lone surrogate.
    """
    if vocab_size < len(BYTE_LETTERS):
        raise ConfigError(
            f"vocab_size={vocab_size} is not allowed for a BPE: the 256 bytes come first, so it "
            "must be at least 256"
        )
    import tokenizers

    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=list(BYTE_LETTERS),
        show_progress=False,
    )
    library.train_from_iterator(_whole_words(pieces), trainer)
    model = json.loads(library.to_str())["model"]
    if (most := len(model["vocab"])) < vocab_size:
        raise DataError(
            f"vocab_size={vocab_size} is more than the training text gives: its pairs that occur "
            f"at least twice make a BPE of {most} tokens; give at most {most}, or a longer text"
        )
    return BPETokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]], {})


def _whole_words(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text cut only where `_CUT` allows."""
    rest = ""
    for piece in pieces:
        refuse_surrogates(piece)
        *whole, rest = _cut(rest + piece)
        yield from whole
    yield rest


def _cut(text: str) -> Iterator[str]:
    start = 0
    while cut := _CUT.search(text, start + _PIECE):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def _check_bpe(plain: set[str], merges: list[tuple[str, str]]) -> None:
    if "" in plain or not set("".join(plain)) <= BYTE_LETTERS.keys():  # quick: tokens are many
        token = next(token for token in plain if not token or not set(token) <= BYTE_LETTERS.keys())
        raise TokenizerError(f"the token {token!r:.60} is not spelled in GPT-2's byte letters")
    if lost := len(BYTE_LETTERS.keys() - plain):
        raise TokenizerError(f"{lost} of the 256 bytes have no id, so texts would lose them")
    for a, b in merges:
        if a not in plain or b not in plain or a + b not in plain:
            raise TokenizerError(f"the merge {a!r} {b!r} takes or makes a token without id")
