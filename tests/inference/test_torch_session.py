"""A session gives, however ids were appended, what one uncached forward pass gives."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ContextError
from tinygpt.inference.torch_session import TorchSession
from tinygpt.model.gpt import GPT
from tinygpt.model.session import DecodeSession

Logits = np.ndarray[Any, Any]


def full_forward(model: GPT, ids: list[int]) -> Logits:
    """Logits after each id, (T, V), without a cache."""
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].numpy()


def assert_close(actual: Logits, expected: Logits) -> None:
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-4 * expected.std()


@functools.cache
def small_model() -> GPT:  # hypothesis does not take function-scoped fixtures
    config = ModelConfig(
        vocab_size=11, n_positions=12, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5
    )
    return GPT(config, torch.Generator().manual_seed(0)).eval()


class TestEqualsForward:
    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_any_history_of_calls(self, data: st.DataObject) -> None:
        """Prefill, verify, step over any slots, truncate, free, on sequences of uneven length."""
        model, n = small_model(), small_model().config.n_positions
        session: DecodeSession = TorchSession(model, n_slots=3)
        held: list[list[int]] = [[], [], []]
        one_id, any_slot = st.integers(0, 10), st.integers(0, 2)
        for _ in range(data.draw(st.integers(1, 12))):
            call = data.draw(st.sampled_from(["prefill", "verify", "step", "truncate", "free"]))
            slot = data.draw(any_slot)
            room = n - len(held[slot])
            if call in ("prefill", "verify") and room:
                new = data.draw(st.lists(one_id, min_size=1, max_size=room))
                held[slot] += new
                if call == "prefill":
                    session.prefill(slot, new)
                else:
                    rows = session.verify(slot, new)
                    assert_close(rows, full_forward(model, held[slot])[-len(new) :])
                touched = [slot]
            elif call == "step":
                free = [s for s in range(3) if len(held[s]) < n]
                if not free:
                    continue
                touched = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
                new = [data.draw(one_id) for _ in touched]
                session.step(touched, new)
                for s, i in zip(touched, new, strict=True):
                    held[s].append(i)
            elif call == "truncate":
                keep = data.draw(st.integers(0, len(held[slot])))
                session.truncate(slot, keep)
                held[slot], touched = held[slot][:keep], []
            else:
                session.free(slot)
                held[slot], touched = [], []
            for s in touched:
                expected = full_forward(model, held[s])[-1]
                assert_close(session.logits(s), expected)
                assert session.argmax([s]) == [int(session.logits(s).argmax())]

    def test_token_by_token(self, tiny_model: GPT) -> None:
        ids = [7, 1, 49, 0, 7, 7, 30, 12, 5, 5, 41, 2, 3, 8, 9, 10]
        session, expected = TorchSession(tiny_model), full_forward(tiny_model, ids)
        for i, row in zip(ids, expected, strict=True):
            session.step([0], [i])
            assert_close(session.logits(0), row)

    def test_slots_that_are_no_neighbours(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model, n_slots=4)
        prompts = {0: [1, 2, 3], 1: [9], 3: [4, 5, 6, 7, 8]}
        for slot, ids in prompts.items():
            session.prefill(slot, ids)
        before = session.logits(1)
        for slots in ([0, 3], [3, 0]):
            session.step(slots, [10 + slot for slot in slots])
            for slot in slots:
                prompts[slot].append(10 + slot)
                assert_close(session.logits(slot), full_forward(tiny_model, prompts[slot])[-1])
        np.testing.assert_array_equal(session.logits(1), before)
        assert session.argmax([3, 1, 0]) == [
            int(full_forward(tiny_model, prompts[slot])[-1].argmax()) for slot in (3, 1, 0)
        ]

    def test_freed_slot_keeps_nothing(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model)
        session.prefill(0, [1, 2, 3, 4, 5])
        session.free(0)
        session.prefill(0, [6, 7])
        assert_close(session.logits(0), full_forward(tiny_model, [6, 7])[-1])


class TestContract:
    def test_has_what_the_protocol_asks(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model, n_slots=3)
        assert (session.n_slots, session.n_positions, session.precision) == (3, 16, "float32")
        methods = [name for name in vars(DecodeSession) if not name.startswith("_")]
        assert len(methods) >= 7
        assert all(callable(getattr(session, name)) for name in methods)

    def test_half_precision_is_named_and_gives_float32(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model.to(torch.bfloat16))
        assert session.precision == "bfloat16"
        session.prefill(0, [1, 2])
        assert session.logits(0).dtype == np.float32
        assert session.verify(0, [3]).dtype == np.float32

    def test_ties_go_to_the_smallest_id(self, tiny_model: GPT) -> None:
        with torch.no_grad():
            tiny_model.lm_head.weight.zero_()
        session = TorchSession(tiny_model)
        session.prefill(0, [5])
        assert session.argmax([0]) == [0]

    def test_arrays_belong_to_the_caller(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model)
        rows = session.verify(0, [1, 2])
        expected = rows[-1].copy()
        rows[:] = 0
        session.logits(0)[:] = 0
        np.testing.assert_array_equal(session.logits(0), expected)

    def test_dropout_is_off(self, make_gpt: Callable[..., GPT]) -> None:
        config = ModelConfig(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2)
        model = make_gpt(config)
        expected = full_forward(model, [1, 2, 3])[-1]
        model.train()
        session = TorchSession(model)
        session.prefill(0, [1, 2, 3])
        assert_close(session.logits(0), expected)

    def test_prefill_computes_only_the_last_logits(self, tiny_model: GPT) -> None:
        shapes = []
        tiny_model.lm_head.register_forward_hook(
            lambda _module, _inputs, output: shapes.append(tuple(output.shape))
        )
        TorchSession(tiny_model).prefill(0, list(range(16)))
        assert shapes == [(1, 1, 50)]

    def test_takes_numpy_ids(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model)
        session.prefill(0, np.array([1, 2], dtype=np.int32))
        session.step([0], [np.int64(3)])
        assert_close(session.logits(0), full_forward(tiny_model, [1, 2, 3])[-1])


class TestMisuse:
    def test_no_logits_before_ids_or_after_truncate(self, tiny_model: GPT) -> None:
        session = TorchSession(tiny_model, n_slots=2)
        for ask in (session.logits, lambda slot: session.argmax([slot])):
            with pytest.raises(ValueError, match="slot 0 has no logits"):
                ask(0)
        session.prefill(0, [1, 2, 3])
        session.truncate(0, 2)
        with pytest.raises(ValueError, match="append ids"):
            session.logits(0)

    @pytest.mark.parametrize("n", [-1, 4])
    def test_truncate_only_shortens(self, tiny_model: GPT, n: int) -> None:
        session = TorchSession(tiny_model)
        session.prefill(0, [1, 2, 3])
        with pytest.raises(ValueError, match="slot 0 holds 3 ids"):
            session.truncate(0, n)

    def test_beyond_n_positions(self, tiny_model: GPT) -> None:
        """A ContextError from each call that appends, which then has changed nothing."""
        session, ids = TorchSession(tiny_model, n_slots=2), list(range(16))
        with pytest.raises(ContextError, match="17 tokens"):
            session.prefill(0, [*ids, 0])
        session.prefill(0, ids)
        session.prefill(1, ids[:3])
        before = session.logits(0), session.logits(1)
        for call in (
            lambda: session.prefill(0, [1]),
            lambda: session.verify(0, [1]),
            lambda: session.step([0], [1]),
            lambda: session.step([1, 0], [1, 1]),
            lambda: session.prefill(1, ids[:14]),
        ):
            with pytest.raises(ContextError, match="n_positions=16"):
                call()
        np.testing.assert_array_equal((session.logits(0), session.logits(1)), before)
        session.step([1], [5])
        assert_close(session.logits(1), full_forward(tiny_model, [*ids[:3], 5])[-1])
