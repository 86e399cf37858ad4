"""The logs of a run, metrics.jsonl and samples.jsonl: JSON Lines that only grow by whole lines."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tinygpt.storage.files import read_small, refused, write_file

__all__ = ["METRICS", "SAMPLES", "Lines", "last_evaluation", "last_losses", "read_lines"]

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"

MAX_LOG_BYTES = 2**28
"""A larger metrics.jsonl is not read: some two million steps."""

LAST_STEPS = 50
"""Steps whose mean is the training loss at the end: one batch is too noisy."""


def read_lines(folder: Path) -> list[str]:
    """Return the lines of a metrics.jsonl.

    Raises:
        ValueError: larger than any run's, or no text.
        OSError: it can't be read.
    """
    return read_small(folder / METRICS, MAX_LOG_BYTES).decode().splitlines()


def last_evaluation(folder: Path) -> dict[str, Any] | None:
    """Return the last measurement in metrics.jsonl; None where there is none to be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        for line in reversed(read_lines(folder)):
            if '"evaluated"' in line and isinstance(event := json.loads(line), dict):
                return event
    return None


def last_losses(folder: Path) -> tuple[float, float] | None:
    """Return training loss and val_loss at the end of a run, nats per token; None if unknown.

    The training loss is the mean of the last steps: 50, but no more than a quarter of the run.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        lines = read_lines(folder)
        steps = [float(json.loads(line)["loss"]) for line in lines if '"step", "step"' in line]
        evaluation = last_evaluation(folder)
        if steps and evaluation is not None:
            last = steps[-max(1, min(LAST_STEPS, len(steps) // 4)) :]
            ends = sum(last) / len(last), float(evaluation["val_loss"])
            return ends if math.isfinite(sum(ends)) else None
    return None


class Lines:
    """A log of JSON Lines, metrics.jsonl or samples.jsonl: one object per event."""

    def __init__(self, path: Path, n_lines: int) -> None:
        """Open it for appending after the first n_lines; the others are cut off.

        Lines after a checkpoint are written again by the resumed run. `n_missing` counts those of
        the first n_lines that are lost.
        """
        self._path, self.name = path, path.name
        self.n_missing = 0
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if len(lines) != n_lines or not all(line.endswith(b"\n") for line in lines):
            kept = [line for line in lines[:n_lines] if line.endswith(b"\n")]
            write_file(path, b"".join(kept))
            self.n_missing, n_lines = n_lines - len(kept), len(kept)
        self.n_lines = n_lines
        with self._machine_errors():
            self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, event: Mapping[str, Any]) -> None:
        """Append a line and hand it to the operating system.

        Raises:
            MachineError: the disk refused.
        """
        line = json.dumps(event, allow_nan=False, ensure_ascii=False) + "\n"
        with self._machine_errors(len(line.encode())):
            self._file.write(line)
            self._file.flush()
        self.n_lines += 1

    def sync(self) -> None:
        """Flush to the disk: before a checkpoint that counts these lines."""
        with self._machine_errors():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()

    @contextlib.contextmanager
    def _machine_errors(self, n_bytes: int = 0) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise refused(self._path, error, n_bytes) from None
