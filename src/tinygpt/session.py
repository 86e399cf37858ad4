"""DecodeSession: the seam between the engines that run a model and everything that samples from it.

A session holds some sequences (slots), feeds them ids, and hands out logits as numpy arrays. It
knows nothing of text, sampling or torch, so that one generation loop serves every engine.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["DecodeSession"]


class DecodeSession(Protocol):
    """What an engine offers. A slot is empty at first; ids are appended to it.

    Attributes:
        n_slots: how many sequences it holds at once.
        n_positions: the longest a sequence may get, in tokens.
        precision: how the weights are computed with, e.g. "float32".
    """

    n_slots: int
    n_positions: int
    precision: str

    def prefill(self, slot: int, ids: Sequence[int]) -> None:
        """Append the ids of a prompt to a slot (at least one).

        Raises:
            ContextError: the sequence would be longer than n_positions.
        """

    def step(self, slots: Sequence[int], ids: Sequence[int]) -> None:
        """Append one id to each of several slots; raises as `prefill`."""

    def verify(self, slot: int, ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Append ids and return the logits after each of them, (len(ids), V) float32."""

    def logits(self, slot: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the scores of the next id after all that the slot holds, (V,) float32."""

    def argmax(self, slots: Sequence[int]) -> list[int]:
        """Return the most likely next id of each slot (the smallest id where several tie)."""

    def truncate(self, slot: int, n: int) -> None:
        """Forget all but the first n ids; the next call must append before it asks for logits."""

    def free(self, slot: int) -> None:
        """Empty a slot for another sequence."""
