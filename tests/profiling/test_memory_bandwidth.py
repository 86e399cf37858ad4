"""Bytes that a step reads, and how fast they are read."""

from dataclasses import replace

import pytest

from tinygpt.config.model_config import PRESETS
from tinygpt.model.costs import account, kv_cache_bytes_per_token
from tinygpt.profiling.memory_bandwidth import bytes_per_step, read_bytes_per_s


def test_a_step_reads_every_matrix_and_the_context_once() -> None:
    config = PRESETS["distilgpt2"]
    position_bytes, cache = 4 * config.n_positions * config.n_embd, kv_cache_bytes_per_token(config)
    whole = bytes_per_step(config, "float32", 0)
    assert whole == account(config).weights_bytes - position_bytes  # a tied head is read, once
    assert bytes_per_step(config, "float32", 100) - whole == 100 * cache
    head = config.vocab_size * config.n_embd
    assert whole - bytes_per_step(config, "exact", 0) == 3 * head  # its 8-bit copy stands for it
    assert bytes_per_step(config, "int8", 0) == bytes_per_step(config, "int8-dynamic", 0)
    assert bytes_per_step(config, "int8", 0) == whole // 4
    assert bytes_per_step(config, "bfloat16", 0) == whole // 2
    assert bytes_per_step(config, "float16", 0) is None
    untied = replace(config, tie_word_embeddings=False)
    assert bytes_per_step(untied, "float32", 0) == whole


def test_reading_speed_is_the_best_of_the_counted_repeats() -> None:
    readings = iter([0.0, 0.1, 1.0, 3.0, 4.0, 5.0, 6.0, 10.0])  # the first takes 0.1: not counted
    found = read_bytes_per_s(2**20, 2, n_repeats=3, clock=lambda: next(readings))
    assert found == pytest.approx(2**28)  # 256 MiB are read between two looks at the clock
