"""DecodeSession on a causal LM of another family, over the keys and values that it keeps itself.

The module comes from transformers (open.py); all that is known of it here is how it
is called. A token that stands before every window (<s>) is put there unseen, so that nobody else
has to know of it.
"""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import ContextError
from tinygpt.model.external_config import ExternalConfig, gpt2_config

if TYPE_CHECKING:
    from tinygpt.model.gpt import GPT

__all__ = ["TransformersEngine", "TransformersSession"]


class TransformersEngine:
    """transformers in the place of an `engine.Engine`, whose attributes it has.

    Texts are scored through its sessions, as with a native engine that was asked for.
    """

    name: Literal["transformers"] = "transformers"
    asked = True
    isa: str | None = None

    def __init__(
        self,
        module: nn.Module,
        config: ExternalConfig,
        start_id: int | None,
        options: EngineOptions,
    ) -> None:
        """Take the module, its config, and the id that stands before every window, if any."""
        self.module, self.config, self.start_id = module.eval(), config, start_id
        self.options = options
        weight = next(module.parameters())
        self.device = weight.device.type
        self.precision = str(weight.dtype).removeprefix("torch.")
        self.why = f"model_type {config.model_type}"

    @property
    def threads(self) -> int:
        """CPU threads that it uses."""
        return torch.get_num_threads()

    @property
    def model(self) -> "GPT":
        """Refuse: there is no GPT in it.

        Raises:
            ConfigError: always.
        """
        gpt2_config(self.config)
        raise AssertionError("an ExternalConfig is refused")

    def session(self, n_slots: int = 1) -> "TransformersSession":
        """Return a session with this many empty slots."""
        return TransformersSession(self.module, self.config.n_positions, self.start_id, n_slots)

    def __str__(self) -> str:
        """Say what it is and on what it runs."""
        return f"{self.name} ({self.device}, {self.precision}, {self.threads} threads): {self.why}"


class TransformersSession:
    """Sequences on a module of transformers; see `session.DecodeSession` for the methods.

    Each slot has its own keys and values, of whatever kind the family keeps. They are never cut:
    after `truncate` the sequence is read anew, as it is where a family keeps none.
    """

    def __init__(
        self, module: nn.Module, n_positions: int, start_id: int | None = None, n_slots: int = 1
    ) -> None:
        weight = next(module.parameters())
        self._module, self._device = module, weight.device
        self._start = [] if start_id is None else [start_id]
        self._cuts = "logits_to_keep" in inspect.signature(module.forward).parameters
        self._ids: list[list[int]] = [[] for _ in range(n_slots)]
        self._past: list[Any] = [None] * n_slots
        self._logits: dict[int, Tensor] = {}  # slot -> (V,), until the slot changes
        self.n_slots, self.n_positions = n_slots, n_positions
        self.precision = str(weight.dtype).removeprefix("torch.")

    def prefill(self, slot: int, ids: Sequence[int]) -> None:
        """Append the ids of a prompt to a slot; only the last one's logits are kept."""
        self._append(slot, ids, 1)

    def step(self, slots: Sequence[int], ids: Sequence[int]) -> None:
        """Append one id to each of several slots, one after the other."""
        for slot, new in zip(slots, ids, strict=True):
            self._append(slot, [new], 1)

    def verify(self, slot: int, ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Append ids and return the logits after each of them, (len(ids), V) float32."""
        return self._append(slot, ids, len(ids)).cpu().numpy()

    def logits(self, slot: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the scores of the next id of a slot, (V,) float32."""
        return self._last(slot).cpu().numpy().copy()  # the caller owns what it gets

    def argmax(self, slots: Sequence[int]) -> list[int]:
        """Return the most likely next id of each slot."""
        return [int(self._last(slot).argmax()) for slot in slots]

    def truncate(self, slot: int, n: int) -> None:
        """Forget all but the first n ids of a slot."""
        if not 0 <= n <= len(self._ids[slot]):
            raise ValueError(f"slot {slot} holds {len(self._ids[slot])} ids, can't keep {n}")
        self._ids[slot], self._past[slot] = self._ids[slot][:n], None
        self._logits.pop(slot, None)

    def free(self, slot: int) -> None:
        """Empty a slot."""
        self.truncate(slot, 0)

    def reads_anew(self, slot: int) -> bool:
        """Whether the next call reads the whole sequence again, as where a family keeps nothing."""
        return bool(self._ids[slot]) and self._past[slot] is None

    @torch.inference_mode()
    def _append(self, slot: int, ids: Sequence[int], n_last: int) -> Tensor:
        """Return the logits after the last ids, (n_last, V) float32."""
        held, past = self._ids[slot], self._past[slot]
        if len(held) + len(ids) > self.n_positions:
            raise ContextError(
                f"{len(held) + len(ids)} tokens are more than this model's n_positions="
                f"{self.n_positions}; give a shorter text"
            )
        fed = [*ids] if past is not None else [*self._start, *held, *ids]
        keep = {"logits_to_keep": n_last} if self._cuts else {}
        idx = torch.tensor([fed], device=self._device)  # (1, T)
        out = self._module(idx, past_key_values=past, use_cache=True, **keep)
        rows: Tensor = out.logits[0, -n_last:].float()  # (n_last, V)
        self._ids[slot] = [*held, *ids]
        self._past[slot] = getattr(out, "past_key_values", None)
        self._logits[slot] = rows[-1].clone()  # the caller owns what it gets
        return rows

    def _last(self, slot: int) -> Tensor:
        if slot not in self._logits:
            raise ValueError(f"slot {slot} has no logits: append ids to it first")
        return self._logits[slot]
