"""Timing: what is timed, in which order, and what is said when nothing can be."""

import dataclasses
import itertools

import pytest

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import DataError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained
from tinygpt.inference.torch_session import TorchSession
from tinygpt.profiling.result import Spread
from tinygpt.profiling.speed import measure_speeds

TEXT = "the cat sat on the mat and ran!\n" * 4


@pytest.fixture
def lm(char_tokenizer) -> LanguageModel:
    config = ModelConfig(
        vocab_size=char_tokenizer.vocab_size, n_positions=32, n_embd=16, n_layer=1, n_head=2
    )
    return untrained("x", config, char_tokenizer, "random", EngineOptions(engine="torch"))


def test_prefill_reads_the_prompt_and_decode_writes_the_continuation(lm, monkeypatch) -> None:
    """Every step is followed by the choice of the next id, and both are inside the clock."""
    log: list[tuple[object, ...]] = []

    class Recorded(TorchSession):
        def free(self, slot):
            log.append(("free",))
            super().free(slot)

        def prefill(self, slot, ids):
            log.append(("prefill", *ids))
            super().prefill(slot, ids)

        def step(self, slots, ids):
            log.append(("step", *ids))
            super().step(slots, ids)

        def argmax(self, slots):
            log.append(("argmax",))
            return super().argmax(slots)

    def clock() -> float:
        log.append(("clock",))
        return float(len(log))

    monkeypatch.setattr("tinygpt.inference.torch_session.TorchSession", Recorded)
    (speed,) = measure_speeds([lm], TEXT, n_repeats=1, clock=clock)
    prompt, continuation = (lm.tokenizer.encode(half).tolist() for half in (TEXT[:16], TEXT[16:32]))
    expected = [("free",), ("clock",), ("prefill", *prompt), ("argmax",), ("clock",)]
    for new in continuation:
        expected += [("step", new), ("argmax",)]
    expected.append(("clock",))
    warm_up = [*expected[: 5 + 2 * 8], ("clock",)]  # the whole prompt, a few steps
    assert log == warm_up + expected
    assert prompt != continuation
    assert speed.prefill_bytes_per_s.n == 1


def test_the_warm_up_does_not_count(lm) -> None:
    """The first round takes ten times as long by this clock."""
    readings = iter([0.0, 100.0, 200.0, *(v for i in range(5) for v in (i, i + 0.5, i + 1.0))])
    (speed,) = measure_speeds([lm], TEXT, n_repeats=5, clock=lambda: next(readings))
    assert speed.prefill_bytes_per_s == Spread(32.0, 32.0, 32.0, 5)
    assert speed.random_weights


@pytest.mark.parametrize(("round_s", "n"), [(2.4, 5), (3.4, 3), (90.0, 3)])
def test_slow_models_are_timed_in_fewer_rounds(lm, round_s, n) -> None:
    """Ten seconds are enough once there are three rounds to take a median of."""
    readings = itertools.chain.from_iterable(([0.0, 0.1, round_s]) for _ in itertools.count())
    (speed,) = measure_speeds([lm], TEXT, clock=lambda: next(readings))
    assert speed.decode_bytes_per_s.n == n


def test_too_short_a_text_and_too_small_a_context_are_named(lm) -> None:
    with pytest.raises(DataError, match="3 characters that every model knows"):
        measure_speeds([lm], "abc")
    config = dataclasses.replace(lm.config, n_positions=8)
    small = untrained("y", config, lm.tokenizer, "", EngineOptions(engine="torch"))
    with pytest.raises(DataError, match="in a context of 8 tokens"):
        measure_speeds([lm, small], TEXT)
