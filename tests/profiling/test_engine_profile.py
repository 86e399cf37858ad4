"""One model alone: what is measured, in which order, and what has nothing to be measured by."""

import dataclasses

import pytest

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.model_config import ModelConfig
from tinygpt.evaluation.eval_texts import own_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained
from tinygpt.profiling.engine_profile import measure
from tinygpt.profiling.memory_bandwidth import bytes_per_step

TEXT = "the cat sat on the mat and ran!\n" * 4


@pytest.fixture
def lm(char_tokenizer) -> LanguageModel:
    config = ModelConfig(
        vocab_size=char_tokenizer.vocab_size, n_positions=32, n_embd=16, n_layer=1, n_head=2
    )
    options = EngineOptions(engine="torch", device="cpu")
    return untrained("x", config, char_tokenizer, "random", options)


def test_one_model_alone(lm, monkeypatch) -> None:
    real = dataclasses.replace(lm, missing_weights=None)
    opened = []
    found = measure(real, TEXT, start_up_s=1.5, reopen=lambda: opened.append(1), n_loads=3)
    assert len(opened) == 3
    assert found.load_s.n == 3
    assert 0 <= found.load_s.min <= found.load_s.median <= found.load_s.max
    assert found.start_up_s == 1.5
    assert found.speed.prompt_bytes == found.speed.decoded_bytes == 16
    assert found.weights_bytes == 4 * sum(p.numel() for p in set(lm.model.parameters()))
    assert found.kv_cache_bytes == 2 * 4 * 16 * 32  # keys and values, float32, 1 layer
    assert found.peak_device_bytes is None
    rate, tokens = found.speed.prefill_tok_per_s, found.speed.prompt_tokens
    assert rate.median / found.speed.prefill_bytes_per_s.median == pytest.approx(tokens / 16)


def test_peak_memory_is_of_the_process(lm) -> None:
    found = measure(lm, TEXT, start_up_s=0.0, reopen=lambda: None)
    block = bytearray(64 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])  # touched, so that it is there
    after = measure(lm, TEXT, start_up_s=0.0, reopen=lambda: None)
    assert 32 * 2**20 < found.peak_memory_bytes <= after.peak_memory_bytes
    assert after.peak_memory_bytes < 64 * 2**30


def test_random_weights_have_nothing_to_open(lm) -> None:
    found = measure(lm, TEXT, start_up_s=0.0, reopen=lambda: pytest.fail("nothing to open"))
    assert found.load_s is None
    assert found.speed.random_weights


def test_writing_is_counted_from_the_first_token_of_each_on(lm) -> None:
    """By this clock every round takes a second, however many tokens it writes."""
    ticks = iter(range(10_000))
    found = measure(lm, TEXT, start_up_s=0.0, reopen=lambda: None, clock=lambda: next(ticks))
    one, eight = found.writing
    assert (one.batch_size, eight.batch_size) == (1, 8)
    assert one.new_tokens == eight.new_tokens == 16  # half of the context is the prompt
    assert (one.tok_per_s.median, eight.tok_per_s.median) == (15.0, 8 * 15.0)
    assert one.tok_per_s.n == 3


def test_the_share_of_the_memory_s_speed(lm) -> None:
    found = measure(lm, TEXT, start_up_s=0.0, reopen=lambda: None)
    speed = found.speed
    assert found.step_bytes == bytes_per_step(lm.config, "float32", 16 + 8)
    rate = found.step_bytes * speed.decode_tok_per_s.median
    assert found.memory_share == pytest.approx(rate / found.read_bytes_per_s)


def test_quality_is_scored_by_the_engine_that_is_timed(lm) -> None:
    real, text = dataclasses.replace(lm, missing_weights=None), own_text("the €\n" + TEXT, None)
    found = measure(real, TEXT, start_up_s=0.0, reopen=lambda: None, scored=text)
    expected = real.evaluate(text.text.replace("!", "!"), prefix="the \n")
    assert found.evaluation == expected
    assert found.evaluation.engine == "torch float32"
    assert measure(lm, TEXT, start_up_s=0.0, reopen=lambda: None, scored=text).evaluation is None
