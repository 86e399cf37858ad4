"""How a run learned, from its folder: metrics.jsonl in bits per byte of its own text.

Bits per byte, so that runs with different tokenizers stand in one picture; still `val_loss`, on
disjoint windows, and not the figure of a comparison (docs/measuring.md). No torch.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tinygpt.formats.model_folder import read_training
from tinygpt.runs.log import read_lines

__all__ = ["BytesPerToken", "CurvePoint", "LearningCurve", "bytes_per_token", "read_curve"]

# What the log of a folder from elsewhere may raise; a CheckpointError is an OSError.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesPerToken:
    """Of a run's own tokenizer, on both parts of its corpus: they turn nats into bits per byte."""

    train: float
    held_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One evaluation of a run."""

    step: int
    train_bytes: float
    """Bytes of training text read so far: tokens times the training part's bytes per token."""
    elapsed_s: float
    val_bits_per_byte: float
    """val_loss times tokens per byte of the held-out part, in bits."""
    train_bits_per_byte: float | None
    """Mean training loss of the steps since the point before, likewise; None without a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """All evaluations of a run, in order."""

    points: tuple[CurvePoint, ...]


def read_curve(folder: Path | None) -> LearningCurve | None:
    """Return the curve of a run folder; None where there is none that can be read."""
    with contextlib.suppress(*_UNREADABLE):
        if folder is None:
            return None
        lines = read_lines(folder)
        sizes = read_training(folder)["data"]
        points = tuple(_points((json.loads(line) for line in lines), sizes))
        known = [astuple(point)[:4] for point in points]  # NaN is no place in a picture
        if len(points) > 1 and all(math.isfinite(value) for each in known for value in each):
            return LearningCurve(points=points)
    return None


def bytes_per_token(sizes: Mapping[str, int]) -> BytesPerToken:
    """Return what the `data` of a training.json says of both parts.

    Raises:
        LookupError, TypeError, ArithmeticError: it is not of a run that was trained.
    """
    n_held_out_bytes = sizes["n_bytes"] - sizes["n_train_bytes"]
    return BytesPerToken(
        train=sizes["n_train_bytes"] / sizes["n_train_tokens"],
        held_out=n_held_out_bytes / sizes["n_held_out_tokens"],
    )


def _points(events: Iterator[dict[str, Any]], sizes: Mapping[str, int]) -> Iterator[CurvePoint]:
    per_token = bytes_per_token(sizes)
    losses: list[float] = []
    for event in events:
        if event["event"] == "step":
            losses.append(event["loss"])
        elif event["event"] == "evaluated":
            train = sum(losses) / len(losses) / math.log(2) if losses else None
            losses = []
            yield CurvePoint(
                step=event["step"],
                train_bytes=event["tokens"] * per_token.train,
                elapsed_s=event["elapsed_s"],
                val_bits_per_byte=event["val_loss"] / math.log(2) / per_token.held_out,
                train_bits_per_byte=None if train is None else train / per_token.train,
            )
