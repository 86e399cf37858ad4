"""A tokenizer under a model that has more ids than it: padding that no text uses.

Output matrices are often rounded up (50257 to 50304, a multiple of 64; to 51200, of 1024), and
tokens that were added for training may be missing from an older tokenizer.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError
from tinygpt.tokenizers.char_byte import AnyIds, Tokenizer, checked_ids
from tinygpt.tokenizers.load import load_tokenizer

__all__ = ["PaddedTokenizer", "open_tokenizer"]

MAX_PADDING = 1023
"""Ids without a text that a model may have: what rounding up to a multiple of 1024 makes."""


class PaddedTokenizer:
    """Another tokenizer, with ids up to the model's that no text uses and that write nothing."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """Take the tokenizer and how many ids the model has."""
        self.tokenizer = tokenizer
        self.kind, self.eot_id = tokenizer.kind, tokenizer.eot_id
        self.vocab_size = vocab_size

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The bytes of each id; of padding none."""
        known = self.tokenizer.token_bytes
        return known + (b"",) * (self.vocab_size - len(known))

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the ids of a text, (n,) int32; errors as the tokenizer's own."""
        return self.tokenizer.encode(text)

    def decode(self, ids: AnyIds) -> str:
        """Return the text of ids, as transformers does; TokenizerError outside 0 to V-1."""
        row = checked_ids(ids, self.vocab_size)
        return self.tokenizer.decode(row[row < self.tokenizer.vocab_size])

    def save(self, folder: Path, n_positions: int) -> None:
        """Write the tokenizer without the padding, as published folders have it."""
        self.tokenizer.save(folder, n_positions)


def open_tokenizer(folder: Path, config: ModelConfig) -> tuple[Tokenizer, tuple[str, ...]]:
    """Open a model folder's tokenizer with an id for each row of the model, and what to warn of.

    Raises:
        CheckpointError: no tokenizer, or one that is not this model's.
    """
    tokenizer = load_tokenizer(folder)
    n_unused = config.vocab_size - tokenizer.vocab_size
    if n_unused == 0:
        return tokenizer, ()
    if tokenizer.kind != "bpe" or not 0 < n_unused <= MAX_PADDING:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, config.json says "
            f"vocab_size={config.vocab_size}; the files do not belong together, copy both from "
            "where the model came from"
        )
    note = (
        f"{folder}: the model has {config.vocab_size:,} ids, its tokenizer {tokenizer.vocab_size:,}"
        f"; the last {n_unused:,} write nothing"
    )
    return PaddedTokenizer(tokenizer, config.vocab_size), (note,)
