"""What a training run yields: small frozen records. Standard library only."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Evaluated", "Event", "Resumed", "Sampled", "Saved", "Step", "to_line"]

_NOT_LOGGED = ("path", "progress", "train_bits_per_byte", "bytes_per_s", "eta_s", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step."""

    step: int
    """Steps taken so far, this one included."""
    tokens: int
    """Tokens trained on so far."""
    elapsed_s: float
    """Since the start of the verb, earlier parts of the run included."""
    loss: float
    """Training loss of this step before its update, nats per token."""
    learning_rate: float
    """Of this step."""
    grad_norm: float
    """Global norm of the gradient before clipping."""
    progress: float
    """Share of the training that is done, 0 to 1."""
    train_bits_per_byte: float
    """The training loss in bits per byte: for the eye, and not logged (docs/measuring.md)."""
    bytes_per_s: float
    """Text trained on per second."""
    eta_s: float
    """Time to the end of the run, estimated."""
    last: bool = False
    """Whether the budget ends with it: the final evaluation follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A measurement on the held-out part."""

    step: int
    """Steps taken so far."""
    tokens: int
    """Tokens trained on so far."""
    elapsed_s: float
    """Since the start of the verb, earlier parts of the run included."""
    val_loss: float
    """Nats per token on disjoint windows of block_size."""
    n_tokens: int
    """Held-out tokens scored: a fixed sample on the way, all of them at the end."""
    n_total: int
    """Held-out tokens there are."""
    monitor_loss: float | None = None
    """The same on a fixed sample of the monitor slice; None in a run without one."""
    kept_step: int | None = None
    """At the end: the step whose weights are kept and measured; None where it is the last one."""
    bits_per_byte: float | None
    """Of the first 32 KiB of the held-out part; only at the end, and where the minutes allow."""
    final: bool
    """Whether it is the run's last word."""
    warning: str | None = None
    """One line: why other weights are kept than was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A text that the model wrote: a line of samples.jsonl."""

    step: int
    """Steps taken so far."""
    tokens: int
    """Tokens trained on so far."""
    elapsed_s: float
    """Since the start of the verb, earlier parts of the run included."""
    prompt: str
    """What it continues; empty for a text from its beginning."""
    text: str
    """The continuation."""
    temperature: float
    """It was drawn with; top-k and top-p keep all."""
    seed: int
    """Of the draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The run folder holds these weights, and `resume` can go on from here."""

    step: int
    """Steps taken so far."""
    tokens: int
    """Tokens trained on so far."""
    elapsed_s: float
    """Since the start of the verb, earlier parts of the run included."""
    path: Path
    """The run folder."""
    final: bool
    """Whether the run is complete."""
    reason: str
    """start, scheduled, best (of the monitor slice), interrupted, early stopping or end."""
    note: str | None = None
    """At the start of a run of minutes: the CPU threads and the batch that it chose, and why."""
    warning: str | None = None
    """One line: older checkpoints that were found damaged, and where they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A run goes on from a checkpoint."""

    step: int
    """Steps taken so far."""
    tokens: int
    """Tokens trained on so far."""
    elapsed_s: float
    """Since the start of the verb, earlier parts of the run included."""
    path: Path
    """The run folder."""
    warning: str | None
    """One line: what makes it differ from an uninterrupted run, and damaged checkpoints."""


Event = Step | Evaluated | Sampled | Saved | Resumed
"""Anything that `train` or `resume` yields."""


def to_line(event: Event) -> dict[str, Any]:
    """Return an event as its line in a log: without estimates, paths and nulls."""
    fields = {k: v for k, v in asdict(event).items() if k not in _NOT_LOGGED and v is not None}
    return {"event": type(event).__name__.lower(), **fields}
