"""What checksums and flushing cost a one-minute run of TinyGPT: seconds and share of the minute.

    python -m benchmarks.saving [FOLDER]

It saves checkpoints of TinyGPT's size (weights and two moments of AdamW) as a run does, on the disk
of FOLDER, and takes the median of several; then again without SHA-256, and without fsync.
"""

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np

from tinygpt.config.model_config import PRESETS
from tinygpt.model.costs import n_params
from tinygpt.runs import manifest
from tinygpt.runs.checkpoint import prune, save

N_SAVES = 3
"""Of a run of one minute: at its start, at most once on the way, and at its end."""
RUN_S = 60.0


def save_s(folder: Path, *, repeats: int, checksums: bool = True, flushes: bool = True) -> float:
    """Return the median seconds of a save with pruning, as a run of TinyGPT does it."""
    n = n_params(PRESETS["tinygpt"])
    rng = np.random.default_rng(0)
    model = {"weights": rng.standard_normal(n, np.float32)}
    optimizer = {name: rng.standard_normal(n, np.float32) for name in ("exp_avg", "exp_avg_sq")}
    took = []
    with ExitStack() as patches:
        if not checksums:
            patches.enter_context(mock.patch.object(manifest, "_sha256", return_value="0" * 64))
        if not flushes:
            patches.enter_context(mock.patch.object(os, "fsync", return_value=None))
        with tempfile.TemporaryDirectory(dir=folder) as place:
            checkpoints, published = Path(place) / "checkpoints", Path(place) / "model.safetensors"
            for step in range(repeats):
                began_s = time.perf_counter()
                save(
                    checkpoints,
                    step,
                    model=model,
                    optimizer=optimizer,
                    state={},
                    publish=published,
                )
                prune(checkpoints)
                took.append(time.perf_counter() - began_s)
    return statistics.median(took)


def main() -> None:
    """Print what a save takes with and without its safety."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    kinds = {
        "as a run saves": {},
        "without SHA-256": {"checksums": False},
        "without fsync": {"flushes": False},
        "with neither": {"checksums": False, "flushes": False},
    }
    for name, given in kinds.items():
        seconds = save_s(folder, repeats=9, **given)
        share = N_SAVES * seconds / RUN_S
        print(f"{name:16} {1000 * seconds:7.1f} ms a save, {share:.2%} of a minute's run")


if __name__ == "__main__":
    main()
