"""A text becomes ids, a training part and a held-out part, and batches of windows.

Which windows a step sees is a pure function of (seed, step, micro-batch): there is no iterator
whose state could be lost or repeated, and a resumed run needs to know its step and nothing else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinygpt.corpora import Corpus
from tinygpt.errors import DataError
from tinygpt.tokenizer import Tokenizer

__all__ = ["Data", "Ids", "batch", "evaluation_windows", "prepare", "split", "spread"]

TRAINING_SHARE = 0.9
"""Share of a corpus's characters that is trained on; the rest, its end, is held out."""

Ids = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """A corpus as one model sees it."""

    train: Ids
    """(n,) ids of the training part."""
    held_out: Ids
    """(m,) ids of the held-out part."""
    train_text: str
    """The first 90% of the characters."""
    held_out_text: str
    """The last 10% of the characters."""
    bytes_per_token: float
    """UTF-8 bytes per token of the training part."""

    @property
    def counts(self) -> dict[str, int]:
        """Sizes of the corpus and its parts: what training.json keeps of them."""
        n_train_bytes = len(self.train_text.encode())
        return {
            "n_characters": len(self.train_text) + len(self.held_out_text),
            "n_bytes": n_train_bytes + len(self.held_out_text.encode()),
            "n_train_characters": len(self.train_text),
            "n_train_bytes": n_train_bytes,
            "n_train_tokens": len(self.train),
            "n_held_out_characters": len(self.held_out_text),
            "n_held_out_tokens": len(self.held_out),
        }


def split(text: str) -> tuple[str, str]:
    """Return the training part and the held-out part: the first 90% of the characters, the rest."""
    n = int(TRAINING_SHARE * len(text))
    return text[:n], text[n:]


def prepare(corpus: Corpus, tokenizer: Tokenizer, block_size: int) -> Data:
    """Split and encode a corpus, each part for itself.

    Raises:
        DataError: too short for one training window and one held-out target.
        TokenizerError: a character that the tokenizer lacks.
    """
    train_text, held_out_text = split(corpus.text)
    train, held_out = tokenizer.encode(train_text), tokenizer.encode(held_out_text)
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
        train_text=train_text,
        held_out_text=held_out_text,
        bytes_per_token=len(train_text.encode()) / len(train),
    )


def batch(
    ids: Ids,
    *,
    seed: int,
    step: int,
    batch_size: int,
    block_size: int,
    micro: int = 0,
    n_micro: int = 1,
) -> tuple[Tensor, Tensor]:
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
