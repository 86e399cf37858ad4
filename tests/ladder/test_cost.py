"""Budgets of a rung, what they refuse, and the timing of a few steps."""

import dataclasses

import pytest
from tests.training.test_train import CORPUS, VOCAB_SIZE

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.train_config import OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.data.batches import prepare
from tinygpt.errors import ConfigError
from tinygpt.inference.device import pick_device
from tinygpt.inference.load import untrained
from tinygpt.ladder.cost import Allowance, cost, free_memory, pace, training_flops
from tinygpt.ladder.rung import Rung
from tinygpt.model.costs import account
from tinygpt.tokenizers.char_byte import CharTokenizer


@pytest.fixture
def rung(tiny_config):
    return Rung(
        name="a",
        model=dataclasses.replace(tiny_config, vocab_size=VOCAB_SIZE),
        tokenizer=TokenizerConfig(),
        train=TrainConfig(block_size=16, batch_size=4),
        optim=OptimConfig(),
        start=None,
        trained=True,
    )


def test_equal_bytes_and_flops_become_steps() -> None:
    assert Allowance(minutes=1.0).steps(10, 10) is None
    assert Allowance(max_steps=7).steps(10, 10) == 7
    assert Allowance(train_bytes=1000).steps(300, 1) == 3
    assert Allowance(flops=1e6).steps(1, 3e5) == 3
    assert Allowance(flops=1.0).steps(1, 3e5) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "no budget"),
        ({"minutes": 0.0}, "minutes=0.0 is not allowed"),
        ({"minutes": float("nan")}, "minutes=nan is not allowed"),
        ({"max_steps": -1}, "max_steps=-1 is not allowed"),
        ({"flops": 1e9, "train_bytes": 5}, "give one budget, not two"),
    ],
)
def test_impossible_budgets(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        Allowance(**arguments)


def test_too_few_steps_are_refused_with_the_reason() -> None:
    minute = Allowance(minutes=1.0)
    assert minute.refusal(None, 1.9) is None
    assert "a step takes 41 s here, so 1 min are 1 step(s)" in (minute.refusal(None, 41.0) or "")
    assert "budget is 29 step(s)" in (Allowance(flops=1e9).refusal(29, 0.1) or "")
    assert Allowance(max_steps=2).refusal(2, 100.0) is None  # asked for by name
    late = Allowance(train_bytes=10**9, minutes=1.0).refusal(900, 0.1)
    assert late == "900 steps take about 1.5 min here, more than the 1 allowed"


def test_costs_are_those_of_the_account(rung) -> None:
    tokenizer = CharTokenizer(CORPUS.characters)
    found, expected = cost(rung, tokenizer, "the cat"), account(rung.model, batch_size=4)
    assert found.n_params == expected.n_params
    assert found.training_memory_bytes == expected.training_memory_bytes
    assert found.flops_per_byte == found.flops_per_token == expected.flops_per_token
    assert found.kv_cache_bytes == expected.kv_cache_bytes
    assert found.weights_bytes == expected.weights_bytes
    assert training_flops(rung.model, rung.train) == expected.training_flops_per_step
    unknown = cost(dataclasses.replace(rung, trained=False), None, "")
    assert unknown.flops_per_byte is unknown.training_memory_bytes is None


class Clock:
    """Moves on by so many seconds a step; it is read twice in each."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.seconds, self.reads = 0.0, seconds, 0

    def __call__(self) -> float:
        if self.reads % 2:
            self.now += self.seconds[min(self.reads // 2, len(self.seconds) - 1)]
        self.reads += 1
        return self.now


def timed(rung, clock, stop=lambda: False):
    tokenizer = CharTokenizer(CORPUS.characters)
    lm = untrained("a", rung.model, tokenizer, "random", EngineOptions(device="cpu"))
    before = lm.model.lm_head.weight.clone()
    data = prepare(CORPUS, tokenizer, 16)
    found = pace(lm, rung, data, pick_device("cpu"), clock=clock, stop=stop)
    assert before.equal(lm.model.lm_head.weight)  # a copy was trained
    return found


def test_a_few_steps_are_timed_after_a_warm_up(rung) -> None:
    found = timed(rung, Clock(5.0, 0.25, 0.5, 0.25, 0.25))
    assert (found.step_s, found.n_steps) == (0.25, 3)
    assert found.bytes_per_s == 64 / 0.25
    assert timed(rung, Clock(0.001)).n_steps == 20


def test_one_very_slow_step_is_enough(rung) -> None:
    found = timed(rung, Clock(40.0))
    assert (found.step_s, found.n_steps) == (40.0, 1)
    assert timed(rung, Clock(1.0), stop=lambda: True) is None


def test_free_memory_is_known_or_none() -> None:
    free = free_memory(pick_device("cpu").device)
    assert free is None or free > 2**20
