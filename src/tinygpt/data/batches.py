"""A text becomes ids, a training part and a held-out part, and batches of windows.

The ids are arrays in memory, or those of a large text a map of a file (token_cache.py): the same
ids.

Which windows a step sees is a pure function of (seed, step, micro-batch): there is no iterator
whose state could be lost or repeated, and a resumed run needs to know its step and nothing else.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygpt.data.corpora import Corpus
from tinygpt.data.text_files import TextFiles
from tinygpt.data.token_cache import mapped_ids
from tinygpt.errors import DataError
from tinygpt.progress import Tell
from tinygpt.tokenizers.char_byte import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Data",
    "Ids",
    "batch",
    "evaluation_windows",
    "prepare",
    "split",
    "spread",
    "training_characters",
    "with_monitor",
]

TRAINING_SHARE = 0.9
"""Share of a corpus's characters that is trained on; the rest, its end, is held out."""

BORDER_CHARACTERS = 2**20
"""How much text is kept on either side of the border between the two parts."""

Ids = np.ndarray[Any, np.dtype[np.integer[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """A corpus as one model sees it."""

    train: Ids
    """(n,) ids of the training part."""
    held_out: Ids
    """(m,) ids of the held-out part."""
    train_text: str
    """The end of the training part: its last 2**20 characters, or all of it."""
    held_out_text: str
    """The beginning of the held-out part: its first 2**20 characters, or all of it."""
    n_characters: int
    """Of the whole text."""
    n_bytes: int
    """UTF-8 bytes of the whole text."""
    n_train_characters: int
    """Of the training part."""
    n_train_bytes: int
    """UTF-8 bytes of the training part."""
    bytes_per_token: float
    """UTF-8 bytes per token of the training part."""
    monitor: Ids | None = None
    """(k,) ids that decisions are made by, taken off the end of `train`; None in most runs."""

    @property
    def counts(self) -> dict[str, int]:
        """Sizes of the corpus and its parts: what training.json keeps of them."""
        return {
            "n_characters": self.n_characters,
            "n_bytes": self.n_bytes,
            "n_train_characters": self.n_train_characters,
            "n_train_bytes": self.n_train_bytes,
            "n_train_tokens": len(self.train),
            "n_monitor_tokens": 0 if self.monitor is None else len(self.monitor),
            "n_held_out_characters": self.n_characters - self.n_train_characters,
            "n_held_out_tokens": len(self.held_out),
        }


def training_characters(n_characters: int) -> int:
    """Return how many characters of a text are trained on: the first 90%; the rest is held out."""
    return int(TRAINING_SHARE * n_characters)


def split(text: str) -> tuple[str, str]:
    """Return the training part and the held-out part of a text."""
    n = training_characters(len(text))
    return text[:n], text[n:]


def prepare(
    corpus: Corpus, tokenizer: Tokenizer, block_size: int, progress: Tell | None = None
) -> Data:
    """Split and encode a corpus, each part for itself.

    Args:
        progress: told how far the encoding of a large text is.

    Raises:
        DataError: too short for one training window and one held-out target, or changed.
        TokenizerError: a character that the tokenizer lacks.
        MachineError: the ids of a large text can't be kept in the cache.
    """
    n = training_characters(len(corpus.text))
    train: Ids
    held_out: Ids
    if isinstance(corpus.text, TextFiles):
        train, held_out, n_train_bytes = mapped_ids(corpus, tokenizer, n, progress)
    else:
        train, held_out = (tokenizer.encode(part) for part in split(corpus.text))
        n_train_bytes = len(corpus.text[:n].encode())
    if len(train) < block_size + 1:
        raise DataError(
            f"{corpus.name}: its training part (the first 90%) has {len(train)} token(s), one "
            f"window of block_size={block_size} needs {block_size + 1}; give a longer text or a "
            "smaller block_size"
        )
    if len(held_out) < 2:
        raise DataError(
            f"{corpus.name}: its held-out part (the last 10%) has {len(held_out)} token(s), "
            "at least 2 are needed; give a longer text"
        )
    return Data(
        train=train,
        held_out=held_out,
        train_text=corpus.part(max(0, n - BORDER_CHARACTERS), n),
        held_out_text=corpus.part(n, n + BORDER_CHARACTERS),
        n_characters=len(corpus.text),
        n_bytes=corpus.n_bytes,
        n_train_characters=n,
        n_train_bytes=n_train_bytes,
        bytes_per_token=n_train_bytes / len(train),
    )


def with_monitor(data: Data, block_size: int) -> Data:
    """Set the monitor slice apart: the last 2% of the training part's tokens.

    Raises:
        DataError: too short for one training window and one monitored target.
    """
    n = len(data.train) - len(data.train) // 50
    if n < block_size + 1 or len(data.train) - n < 2:
        raise DataError(
            f"the training part has {len(data.train)} tokens, too few to set the last 2% apart for "
            "keep_best or early_stopping_patience; give a longer text or leave these out"
        )
    return replace(data, train=data.train[:n], monitor=data.train[n:])


def batch(
    ids: Ids,
    *,
    seed: int,
    step: int,
    batch_size: int,
    block_size: int,
    micro: int = 0,
    n_micro: int = 1,
) -> "tuple[Tensor, Tensor]":
    """Draw the windows of one micro-batch, uniformly from all positions of the training part.

    A pure function of its arguments: Philox keyed by (seed, step) draws the windows of the whole
    step, of which micro-batch `micro` takes its share, so that the same step split in other
    micro-batches trains on the same windows.

    Args:
        ids: (n,) with n > block_size.
        seed: of the run.
        step: steps already taken.
        batch_size: windows per micro-batch (B).
        block_size: tokens per window (T).
        micro: which micro-batch of the step, 0 to n_micro - 1.
        n_micro: micro-batches per step.

    Returns:
        Inputs and targets, (B, T) int64 each; targets are the inputs shifted by one.
    """
    import torch  # only batches need it

    philox = np.random.Philox(key=np.array([seed, step], dtype=np.uint64))
    starts = np.random.Generator(philox).integers(0, len(ids) - block_size, n_micro * batch_size)
    own = starts[micro * batch_size : (micro + 1) * batch_size]
    windows = torch.from_numpy(ids[own[:, None] + np.arange(block_size + 1)].astype(np.int64))
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()  # (B, T) each


def evaluation_windows(n_windows: int, n: int) -> list[int]:
    """Return n window indices (all, if there are no more) evenly spaced over n_windows."""
    n = min(n, n_windows)
    return [i * n_windows // n for i in range(n)]


def spread(n: int) -> list[int]:
    """Return 0 to n-1 in an order of which every beginning is about evenly spread.

    For an evaluation that may have to stop early. Van der Corput's sequence: the bits mirrored.
    """
    n_bits = max(1, (n - 1).bit_length())
    return sorted(range(n), key=lambda i: int(f"{i:0{n_bits}b}"[::-1], 2))
