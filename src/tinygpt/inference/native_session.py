"""DecodeSession on the compiled CPU engine (native/decode.cpp), and runs of draws inside it.

Every id, slot and length is checked by the engine itself; what it refuses comes back as an
exception and changes nothing. A session belongs to one thread at a time. No torch here.
"""

import ctypes
import operator
import weakref
from collections.abc import Collection, Sequence
from ctypes import POINTER, c_float, c_int64, c_uint8, c_uint64, c_void_p
from typing import Any

import numpy as np

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.schema import check_threads
from tinygpt.inference.native_library import Draws
from tinygpt.inference.packed_weights import PackedModel, available_cpus

__all__ = ["NativeSession"]

_BYTES_AT_ONCE = 2**28  # of weights: what a decode call reads in some hundredths of a second

Logits = np.ndarray[Any, np.dtype[np.float32]]
_Ids = np.ndarray[Any, np.dtype[np.int64]]


class NativeSession:
    """Sequences on a packed model; see `session.DecodeSession` for the methods.

    Args:
        packed: the weights, which several sessions may share.
        n_slots: how many sequences it holds at once.
        threads: CPU threads that compute, the caller's among them; 0 takes one for each CPU. The
            results do not depend on it.

    Attributes:
        isa: the instruction set it computes with.
        n_at_once: ids worth asking `decode` for at once: 8, of small models up to 64.

    Raises:
        MachineError: no memory for the KV cache, or no threads to be had.
    """

    def __init__(self, packed: PackedModel, n_slots: int = 1, *, threads: int) -> None:
        check_threads(threads)
        threads = threads or available_cpus()
        self._library, self._packed = packed.library, packed  # the weights outlive the session
        handle = c_void_p()
        self._library.call("session", packed.handle, _index(n_slots), threads, ctypes.byref(handle))
        self._handle = handle.value
        self._end = weakref.finalize(self, self._library.release, "end", handle.value or 0)
        self.n_slots = n_slots
        self.n_positions = packed.config.n_positions
        self.precision = packed.precision
        self.isa = packed.isa
        self.threads = threads
        self.n_at_once = max(8, min(64, _BYTES_AT_ONCE // packed.n_bytes))

    def close(self) -> None:
        """Give the memory and the threads back now; what is called later is refused."""
        self._handle = None
        self._end()

    def prefill(self, slot: int, ids: Sequence[int]) -> None:
        """Append the ids of a prompt to a slot."""
        array = _whole(ids)
        self._library.call("prefill", self._handle, _index(slot), _ints(array), array.size)

    def step(self, slots: Sequence[int], ids: Sequence[int]) -> None:
        """Append one id to each of several slots."""
        where, array = _whole(slots), _whole(ids)
        if where.size != array.size:
            raise ValueError(f"{where.size} slots and {array.size} ids: give one id for each slot")
        self._library.call("step", self._handle, _ints(where), _ints(array), where.size)

    def verify(self, slot: int, ids: Sequence[int]) -> Logits:
        """Append ids and return the logits after each of them, (len(ids), V) float32."""
        array = _whole(ids)
        out = np.empty((array.size, self._packed.config.vocab_size), np.float32)
        self._library.call(
            "verify", self._handle, _index(slot), _ints(array), array.size, _floats(out)
        )
        return out

    def logits(self, slot: int) -> Logits:
        """Return the scores of the next id of a slot, (V,) float32."""
        out = np.empty(self._packed.config.vocab_size, np.float32)
        self._library.call("logits", self._handle, _index(slot), _floats(out))
        return out

    def argmax(self, slots: Sequence[int]) -> list[int]:
        """Return the most likely next id of each slot (the smallest id where several tie)."""
        where = _whole(slots)
        out = np.empty(where.size, np.int64)
        self._library.call("argmax", self._handle, _ints(where), where.size, _ints(out))
        return [int(i) for i in out]

    def truncate(self, slot: int, n: int) -> None:
        """Forget all but the first n ids of a slot."""
        self._library.call("truncate", self._handle, _index(slot), _index(n))

    def free(self, slot: int) -> None:
        """Empty a slot."""
        self._library.call("truncate", self._handle, _index(slot), 0)

    def cancel(self) -> None:
        """End a `decode` that runs in another thread: it returns what it has drawn so far."""
        self._library.release("cancel", self._handle or 0)

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

        Each id but a slot's last is appended to it (feed the last one with `step` to go on); past
        the window the slot goes on as in generate.py: it keeps the last n_positions // 2 ids.

        Args:
            n: at least 1.
            settings: how to draw; max_new_tokens, stop_strings and the special ids are not read.
            seed, sample_indices: key of each slot's random stream; None counts from 0.
            drawn: numbers already drawn from each stream; None means 0.
            seen: for each slot the ids that repetition_penalty applies to; needed with a penalty.
            stop_ids: a slot ends when one of them is drawn, which is the last of its ids then.

        Returns:
            A list of ids for each slot; fewer than n only after a stop id or `cancel`.
        """
        where, n_slots = _whole(slots), len(slots)
        stops = _whole(stop_ids)
        keys = _words(range(n_slots) if sample_indices is None else sample_indices)
        before = _words([0] * n_slots if drawn is None else drawn)
        penalty = settings.repetition_penalty
        marks = self._marks([()] * n_slots if seen is None else seen) if penalty != 1 else None
        if keys.size != n_slots or before.size != n_slots or (seen and len(seen) != n_slots):
            raise ValueError(f"{n_slots} slots: give a sample index, a count and seen ids for each")
        if not 1 <= n <= 2**31:
            raise ValueError(f"n={n} ids: at least 1")
        out, counts = np.zeros((n_slots, n), np.int64), np.zeros(n_slots, np.int64)
        draws = Draws(
            n_slots=n_slots,
            n=n,
            slots=_ints(where),
            temperature=settings.temperature,
            top_p=settings.top_p,
            min_p=settings.min_p,
            repetition_penalty=penalty,
            top_k=settings.top_k or 0,
            n_stop_ids=stops.size,
            stop_ids=_ints(stops),
            seed=seed % 2**64,
            sample_indices=keys.ctypes.data_as(POINTER(c_uint64)),
            drawn=before.ctypes.data_as(POINTER(c_uint64)),
            seen=None if marks is None else marks.ctypes.data_as(POINTER(c_uint8)),
            ids=_ints(out),
            n_ids=_ints(counts),
        )
        self._library.call("decode", self._handle, ctypes.byref(draws))
        return [row[:count].tolist() for row, count in zip(out, counts, strict=True)]

    def _marks(self, seen: Sequence[Collection[int]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return (slots, V): 1 where an id was seen."""
        marks = np.zeros((len(seen), self._packed.config.vocab_size), np.uint8)
        for row, ids in zip(marks, seen, strict=True):
            array = _whole(list(ids))
            if array.size and not 0 <= array.min() <= array.max() < row.size:
                raise ValueError(f"a seen id is outside the vocabulary (0 to {row.size - 1})")
            row[array] = 1
        return marks


def _index(value: int) -> int:
    """Return a slot or a length that ctypes can't wrap round."""
    if not -(2**63) <= (number := operator.index(value)) < 2**63:
        raise ValueError(f"{value} is no slot or length that a session can have")
    return number


def _whole(values: Sequence[int]) -> _Ids:
    """Return ids or slots as the engine takes them; no rounding, no wrapping."""
    array = np.asarray(values)
    whole = array.dtype.kind == "i" or (array.dtype.kind == "u" and not (array >> 63).any())
    if array.ndim != 1 or (array.size and not whole):
        raise ValueError(f"ids and slots are lists of whole numbers below 2**63, not {values!r}")
    return np.ascontiguousarray(array, np.int64)


def _words(values: Sequence[int]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.array([int(value) % 2**64 for value in values], np.uint64)


def _ints(array: _Ids) -> Any:
    return array.ctypes.data_as(POINTER(c_int64))


def _floats(array: Logits) -> Any:
    return array.ctypes.data_as(POINTER(c_float))
