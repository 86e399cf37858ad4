"""DecodeSession: the seam between the engines that run a model and everything that samples from it.

A session holds some sequences (slots), feeds them ids, and hands out logits as numpy arrays. It
knows nothing of text, sampling or torch, so that one generation loop serves every engine.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tinygpt.config.generation_config import GenerationConfig

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

    n_at_once: int
    """Ids to ask for at once, so that a text still comes several times a second."""

    def decode(
        self,
        slots: Sequence[int],
        n: int,
        settings: GenerationConfig,
        *,
        seed: int = 0,
        sample_indices: Sequence[int] | None = None,
        drawn: Sequence[int] | None = None,
        seen: Sequence[Collection[int]] | None = None,
        stop_ids: Sequence[int] = (),
    ) -> list[list[int]]:
        """Draw up to n ids for each slot: what `sampling.next_id` and `step` give by turns.

        Each id but a slot's last is appended to it (feed the last one with `step` to go on).

        Args:
            slots: different ones, which have logits.
            n: at least 1.
            settings: how to draw; max_new_tokens, stop_strings and the special ids are not read.
            seed, sample_indices: key of each slot's random stream; None counts from 0.
            drawn: numbers already drawn from each stream; None means 0.
            seen: for each slot the ids that repetition_penalty applies to; what is drawn here
                counts too.
            stop_ids: a slot ends when one of them is drawn, which is the last of its ids then.

        Returns:
            The ids of each slot; fewer than n only after one of stop_ids.
        """
