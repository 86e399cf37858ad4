"""Results of profiling: spreads of timings, speeds, costs of precisions. No torch."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PrecisionCost", "Speed", "Spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise the measurements."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Prefill and decode speed of one model on one machine, batch 1."""

    prefill_bytes_per_s: Spread
    """Bytes of the prompt / time from an empty cache to the logits of the next token."""
    prefill_tok_per_s: Spread
    """The same in tokens, for readers who know the tokenizer."""
    decode_bytes_per_s: Spread
    """Bytes of the continuation / time to feed it token by token."""
    decode_tok_per_s: Spread
    """The same in tokens, for readers who know the tokenizer."""
    prompt_bytes: int
    prompt_tokens: int
    decoded_bytes: int
    decoded_tokens: int
    engine: str
    device: str
    precision: str
    threads: int
    isa: str | None
    """The CPU's instructions that the native engine uses; None for others."""
    random_weights: bool
    """True where the weights were drawn at random: the time is real, the text would not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCost:
    """A text scored by one engine in one precision."""

    engine: str
    """"native int8" ..."""
    bits_per_byte: float
    difference: float
    """From torch in float32, in bits per byte; above 0 is worse."""
    n_bytes: int
    """Bytes scored: the beginning of the text."""
