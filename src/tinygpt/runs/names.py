"""Where runs are and what they are called: a path, or a name in `runs/`. Standard library only."""

import os
from pathlib import Path

from tinygpt.errors import did_you_mean

__all__ = ["RUNS", "find_run", "nearest_run", "next_run"]

RUNS = Path("runs")
"""The folder, where one works, in which runs are made unless another is named."""


def find_run(name: str) -> Path:
    """Return where a run is: the path itself, or in `runs/` if only there is something so called.

    Whether there is anything is for the caller to see.
    """
    path = Path(name)
    if not os.path.exists(path) and path.name == name and os.path.isdir(RUNS / name):
        return RUNS / name
    return path


def nearest_run(name: str) -> str:
    """Return `; did you mean "runs/x"?` for the run with the nearest name, or an empty string."""
    runs = [str(path.parent) for path in RUNS.glob("*/training.json")]
    return did_you_mean(name if Path(name).name != name else str(RUNS / name), runs)


def next_run(parent: Path = RUNS) -> Path:
    """Return the next free name: runs/run-001, runs/run-002 ..."""
    n = 1
    while os.path.lexists(path := parent / f"run-{n:03d}"):
        n += 1
    return path
