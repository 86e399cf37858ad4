"""Memory as a limit: what this process held of it, how fast it is read, and what a token reads.

A step of decoding reads every weight once and does little with it, so on a CPU the memory sets the
speed: no engine writes faster than bytes per second / bytes per token.
"""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.model.external_config import AnyConfig, account_of

__all__ = ["bytes_per_step", "peak_memory_bytes", "read_bytes_per_s"]

_WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "exact": 4, "int8": 1, "int8-dynamic": 1}
_READ_BYTES = 2**28
"""Read at least so much between two looks at the clock."""


def bytes_per_step(config: AnyConfig, precision: str, n_context: int) -> int | None:
    """Return the bytes that one step of one sequence has to read; None where it is not known.

    Matrices, and keys and values of the context in float32. `exact` finds the most likely id by an
    8-bit copy of the output matrix, so only that one is read.

    Args:
        config: the architecture.
        precision: an engine's.
        n_context: tokens that the step looks at.
    """
    costs = account_of(config)
    cache_bytes = costs.kv_cache_bytes_per_token
    if costs.counted or cache_bytes is None or precision not in _WEIGHT_BYTES:
        return None
    width, parts = _WEIGHT_BYTES[precision], costs.n_params_by_component
    blocks = parts["attention"] + parts["mlp"] + parts["layer_norm"]
    head = config.vocab_size * config.n_embd * (1 if precision == "exact" else width)
    return width * blocks + head + n_context * cache_bytes


def read_bytes_per_s(
    n_bytes: int,
    threads: int,
    *,
    n_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return how fast so many bytes are read over and over: the best of some repeats.

    As many bytes as a model has are read from where such a model is: what fits into a cache is
    read from it.

    Args:
        n_bytes: of the array that is read.
        threads: that read parts of it at the same time.
    """
    array = np.ones(max(threads, n_bytes // 4), np.float32)
    parts = np.array_split(array, threads)
    n_times = max(1, _READ_BYTES // array.nbytes)

    def read(part: np.ndarray[Any, Any]) -> None:
        for _ in range(n_times):
            part.max()  # without Python's lock

    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(1 + n_repeats):  # the first one starts the threads
            began_s = clock()
            list(pool.map(read, parts))
            seconds.append(clock() - began_s)
    return n_times * array.nbytes / min(seconds[1:])


def peak_memory_bytes() -> int | None:
    """Return the most memory that this process held, where the system tells."""
    with contextlib.suppress(OSError):  # Linux; getrusage would count the parent before exec too
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    if importlib.util.find_spec("resource") is None:  # Windows
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
