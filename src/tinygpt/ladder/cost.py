"""What a rung costs on this machine: sizes from its config, and speeds from a few timed steps.

Whether a rung can be trained is decided here too, from these steps and the memory that is free:
what can't gets a reason, never a quality.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tinygpt.config.model_config import ModelConfig
from tinygpt.config.train_config import TrainConfig
from tinygpt.data.batches import Data
from tinygpt.errors import ConfigError
from tinygpt.inference.device import Device
from tinygpt.inference.language_model import LanguageModel
from tinygpt.ladder.results import Cost, DecodeSpeed, Pace
from tinygpt.ladder.rung import Rung
from tinygpt.model.costs import (
    flops_per_token,
    forward_flops,
    kv_cache_bytes_per_token,
    n_params,
    training_memory,
)
from tinygpt.profiling.speed import measure_speeds
from tinygpt.tokenizers.char_byte import Tokenizer
from tinygpt.training.learner import Learner, trainable

__all__ = [
    "LEAST_STEPS",
    "Allowance",
    "cost",
    "decode_speed",
    "free_memory",
    "pace",
    "training_flops",
]

LEAST_STEPS = 30
"""Optimizer steps below which a quality would say nothing about the rung."""

_LEAST_TIMED, _MOST_STEPS, _LEAST_S, _MOST_S = 3, 20, 1.0, 10.0  # of the steps that are timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What each rung may spend on its training: the same for all of them."""

    minutes: float | None = None
    """Per run, as `tinygpt train --minutes`; beside another budget the most that a run may take."""
    max_steps: int | None = None
    """Optimizer steps."""
    train_bytes: int | None = None
    """Bytes of text trained on, repetitions included."""
    flops: float | None = None
    """FLOPs of the training, forward and backward."""

    def __post_init__(self) -> None:
        """Refuse two budgets or none, and impossible ones."""
        given = [n for n in ("max_steps", "train_bytes", "flops") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} were given: give one budget, not two")
        for name in ("minutes", *given):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name}={value} is not allowed: must be above 0")
        if not given and self.minutes is None:
            raise ConfigError("no budget: give minutes, max_steps, train_bytes or flops")

    def steps(self, step_bytes: float, step_flops: float) -> int | None:
        """Return the optimizer steps that a rung gets; None where minutes alone decide."""
        if self.train_bytes is not None:
            return max(1, round(self.train_bytes / step_bytes))
        if self.flops is not None:
            return max(1, round(self.flops / step_flops))
        return self.max_steps

    def refusal(self, steps: int | None, step_s: float) -> str | None:
        """Say why a rung can't be trained for so many steps of so many seconds; None if it can."""
        if steps is None:
            assert self.minutes is not None
            affordable = int(60 * self.minutes / step_s)
            if affordable < LEAST_STEPS:
                return (
                    f"a step takes {step_s:.2g} s here, so {self.minutes:g} min are {affordable} "
                    f"step(s), and fewer than {LEAST_STEPS} say nothing"
                )
        elif self.max_steps is None and steps < LEAST_STEPS:
            return f"the budget is {steps} step(s), and fewer than {LEAST_STEPS} say nothing"
        elif self.minutes is not None and steps * step_s > 60 * self.minutes:
            return (
                f"{steps:,} steps take about {steps * step_s / 60:.2g} min here, more than the "
                f"{self.minutes:g} allowed"
            )
        return None


def cost(rung: Rung, tokenizer: Tokenizer | None, text: str) -> Cost:
    """Add up a rung."""
    config, train = rung.model, rung.train
    per_token = flops_per_token(config, config.n_positions)
    bytes_per_token = None
    if tokenizer is not None:
        bytes_per_token = len(text.encode()) / len(tokenizer.encode(text))
    memory = None
    if rung.trained:
        memory = sum(
            training_memory(config, train.windows, train.block_size, rung.optim.optimizer).values()
        )
    return Cost(
        n_params=n_params(config),
        flops_per_token=per_token,
        bytes_per_token=bytes_per_token,
        flops_per_byte=None if bytes_per_token is None else per_token / bytes_per_token,
        training_memory_bytes=memory,
        weights_bytes=4 * n_params(config),
        kv_cache_bytes=kv_cache_bytes_per_token(config) * config.n_positions,
    )


def training_flops(config: ModelConfig, train: TrainConfig) -> int:
    """Return the FLOPs of one optimizer step: three forwards of its windows."""
    n_windows = train.windows * train.gradient_accumulation_steps
    return 3 * n_windows * sum(forward_flops(config, train.block_size).values())


def decode_speed(lm: LanguageModel, text: str, clock: Callable[[], float]) -> DecodeSpeed:
    """Time how fast a model writes the second half of a text.

    Raises:
        DataError: the text is too short.
    """
    (speed,) = measure_speeds([lm], text, clock=clock)
    found = speed.decode_bytes_per_s
    return DecodeSpeed(
        bytes_per_s=found.median,
        min_bytes_per_s=found.min,
        max_bytes_per_s=found.max,
        decoded_bytes=speed.decoded_bytes,
        random_weights=speed.random_weights,
    )


def pace(
    lm: LanguageModel,
    rung: Rung,
    data: Data,
    device: Device,
    *,
    clock: Callable[[], float],
    stop: Callable[[], bool],
) -> Pace | None:
    """Time a few optimizer steps of a copy of a model; None if stopped.

    Raises:
        ConfigError: the loss is not finite.
    """
    model = trainable(lm.model.config, lm.model.state_dict())
    learner = Learner(model, rung.optim, device, rung.train)
    seconds: list[float] = []
    while not _enough(seconds):
        began_s = clock()
        if learner.update(data.train, rung.train, len(seconds), 0.0, stop) is None:
            return None
        seconds.append(clock() - began_s)
    counted = seconds[1:] or seconds
    step_s = statistics.median(counted)
    step_bytes = rung.train.tokens_per_step * data.bytes_per_token
    return Pace(step_s=step_s, n_steps=len(counted), bytes_per_s=step_bytes / step_s)


def _enough(seconds: list[float]) -> bool:
    """Say whether so many steps are enough; the first one warms up, unless it is very slow."""
    if not seconds or sum(seconds) >= _MOST_S:
        return bool(seconds)
    n = len(seconds) - 1
    return n >= _MOST_STEPS or (n >= _LEAST_TIMED and sum(seconds[1:]) >= _LEAST_S)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free on the device, or on the machine where it tells (Linux)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    path = Path("/proc/meminfo")
    if device.type == "cpu" and path.exists():
        for line in path.read_text("ascii", "replace").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None
