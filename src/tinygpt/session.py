"""DecodeSession: the seam between the engines that run a model and everything that samples from it.

A session holds some sequences (slots), feeds them ids, and hands out logits as numpy arrays. It
knows nothing of text, sampling or torch, so that one generation loop serves every engine.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tinygpt.generation_config import GenerationConfig

__all__ = ["DecodeSession", "SamplingSession"]


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


@runtime_checkable
class SamplingSession(DecodeSession, Protocol):
    """A session that can also sample: long runs without a Python call for each token."""

    def decode(
        self,
        slots: Sequence[int],
        n: int,
        settings: GenerationConfig,
        *,
        rngs: Sequence[np.random.Generator],
        seen: Sequence[Collection[int]],
    ) -> list[list[int]]:
        """Draw n ids for each slot, as `sampling.next_id` and a `step` in turn would.

        The first one comes from the logits that the slot has now; every one but the last is
        appended, so the next call must append the last. A slot that draws eos_token_id is done.

        Args:
            slots: different ones, each with room for n - 1 ids and with logits.
            n: at least 1.
            settings: its max_new_tokens and stop_strings are the caller's to obey.
            rngs: of each slot; one number is drawn for each id, none if temperature is 0.
            seen: of each slot, the ids that repetition_penalty applies to; those that are drawn
                here count too, without being added to the caller's collection.

        Returns:
            The ids of each slot: n, or fewer that end with eos_token_id.

        Raises:
            ContextError: as `prefill`.
        """
