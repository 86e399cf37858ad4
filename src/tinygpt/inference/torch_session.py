"""DecodeSession on torch: any device, any architecture that model/gpt.py computes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tinygpt.config.model_config import ModelConfig
from tinygpt.model.gpt import GPT, KVCache

__all__ = ["TorchSession", "build"]


def build(config: ModelConfig, state: Mapping[str, np.ndarray[Any, Any]]) -> GPT:
    """Make a GPT whose parameters are the given arrays (views stay views; fp16 becomes fp32).

    Args:
        state: `hf_weights.from_hf`'s result.
    """
    with torch.device("meta"):
        model = GPT(config)
    tensors = {name: torch.from_numpy(array).float() for name, array in state.items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    return model.eval()


class TorchSession:
    """Sequences on a GPT with a KV cache; see `session.DecodeSession` for the methods."""

    def __init__(self, model: GPT, n_slots: int = 1) -> None:
        weight = model.transformer.wte.weight
        assert isinstance(weight, torch.Tensor)
        self._model = model.eval()
        self._device = weight.device
        self._cache = KVCache(model.config, n_slots, dtype=weight.dtype, device=weight.device)
        self._logits: dict[int, torch.Tensor] = {}  # slot -> (V,), until the slot changes
        self.n_slots = n_slots
        self.n_positions = model.config.n_positions
        self.precision = str(weight.dtype).removeprefix("torch.")

    def prefill(self, slot: int, ids: Sequence[int]) -> None:
        """Append the ids of a prompt to a slot; only the last one's logits are computed."""
        self._append([slot], torch.tensor([list(ids)]))

    def step(self, slots: Sequence[int], ids: Sequence[int]) -> None:
        """Append one id to each of several slots."""
        self._append(slots, torch.tensor(list(ids))[:, None])

    @torch.inference_mode()
    def verify(self, slot: int, ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Append ids and return the logits after each of them, (len(ids), V) float32."""
        idx = torch.tensor([list(ids)], device=self._device)
        rows = self._model(idx, self._cache, [slot])[0]  # (T, V)
        self._logits[slot] = rows[-1].clone()  # the caller owns what it gets
        return rows.cpu().numpy()  # type: ignore[no-any-return]

    def logits(self, slot: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the scores of the next id of a slot, (V,) float32."""
        return self._last(slot).cpu().numpy().copy()  # the caller owns what it gets

    def argmax(self, slots: Sequence[int]) -> list[int]:
        """Return the most likely next id of each slot."""
        return [int(self._last(slot).argmax()) for slot in slots]

    def truncate(self, slot: int, n: int) -> None:
        """Forget all but the first n ids of a slot."""
        if not 0 <= n <= self._cache.lengths[slot]:
            raise ValueError(f"slot {slot} holds {self._cache.lengths[slot]} ids, can't keep {n}")
        self._cache.lengths[slot] = n
        self._logits.pop(slot, None)

    def free(self, slot: int) -> None:
        """Empty a slot."""
        self.truncate(slot, 0)

    @torch.inference_mode()
    def _append(self, slots: Sequence[int], idx: torch.Tensor) -> None:
        hidden = self._model.hidden(idx.to(self._device), self._cache, slots)[:, -1:]  # (B, 1, C)
        for slot, row in zip(slots, self._model.lm_head(hidden)[:, 0].float(), strict=True):
            self._logits[slot] = row

    def _last(self, slot: int) -> torch.Tensor:
        if slot not in self._logits:
            raise ValueError(f"slot {slot} has no logits: append ids to it first")
        return self._logits[slot]
