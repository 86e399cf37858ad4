"""The native engine alone: decode, prefill and start, against what the memory allows, on the spot.

    python -m benchmarks.native_speed [--threads N] [--rounds N] [distilgpt2|tinygpt ...]

Random weights of a preset's shape; precisions and tasks alternate, median and range of the rounds.
The limit is what this machine's threads read per second (the same weights, summed), divided by the
bytes that a token needs: the matrices, with the head's 8-bit screen for `exact`, and the keys and
values at the mean context. Wall-clock time: a busy machine lowers everything.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.formats.weights import read_weights, write_safetensors
from tinygpt.inference.native_session import NativeSession
from tinygpt.inference.packed_weights import PRECISIONS, PackedModel, available_cpus, open_packed
from tinygpt.model.hf_weights import expected_shapes, turned

GREEDY = GenerationConfig(temperature=0.0)
DRAWN = GenerationConfig(temperature=0.8)
PROMPT, NEW = 32, 60


def weights(config: ModelConfig) -> dict[str, np.ndarray[Any, Any]]:
    """Draw weights whose greedy text is no fixed point."""
    rng = np.random.default_rng(1234)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        if len(shape) == 1:
            return np.full(shape, float("ln_" in name and name.endswith("weight")), np.float32)
        return np.float32(0.04 if "wte" in name else 0.06) * rng.standard_normal(shape, np.float32)

    return turned({name: draw(name, shape) for name, shape in expected_shapes(config).items()})


def read_bytes_per_s(threads: int) -> float:
    """Sum a large array on all threads, a few times; the best is what the memory gives."""
    array = np.ones(2**25, np.int64)  # 256 MB
    pieces = np.array_split(array, threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(8):
            began_s = time.perf_counter()
            list(pool.map(np.max, pieces))  # without the GIL
            best = max(best, array.nbytes / (time.perf_counter() - began_s))
    return best


def token_bytes(config: ModelConfig, precision: str, context: float) -> float:
    """Count the bytes that one token reads."""
    c = config.n_embd
    block = config.n_layer * (4 * c * c + 2 * c * config.inner_dim)
    head = config.vocab_size * c  # in 8 bits, whether screen or head
    return block * (4 if precision == "exact" else 1) + head + 8 * config.n_layer * c * context


def decode(model: PackedModel, threads: int, batch: int, settings: GenerationConfig) -> float:
    """Return seconds per token and slot after the prompt."""
    session = NativeSession(model, batch, threads=threads)
    rng = np.random.default_rng(batch)
    for slot in range(batch):
        session.prefill(slot, rng.integers(0, model.config.vocab_size, PROMPT))
    session.decode(range(batch), 4, settings)
    session.step(range(batch), [0] * batch)
    began_s = time.perf_counter()
    session.decode(range(batch), NEW, settings)
    elapsed_s = time.perf_counter() - began_s
    session.close()
    return elapsed_s / NEW


def prefill(model: PackedModel, threads: int) -> float:
    """Return seconds per token of a long prompt, the first new id among the time."""
    n = min(512, model.config.n_positions)
    session = NativeSession(model, threads=threads)
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, n)
    began_s = time.perf_counter()
    session.prefill(0, ids)
    session.argmax([0])
    elapsed_s = time.perf_counter() - began_s
    session.close()
    return elapsed_s / n


def shown(name: str, seconds: list[float], n: int = 1, limit_s: float | None = None) -> None:
    """Print median and range of tokens per second, and the share of the limit."""
    speeds = sorted(n / s for s in seconds)
    share = "" if limit_s is None else f"   {statistics.median(speeds) * limit_s:4.0%} of the limit"
    print(
        f"  {name:<34}{statistics.median(speeds):>10,.1f} tok/s"
        f"   ({speeds[0]:,.1f} to {speeds[-1]:,.1f}){share}"
    )


def measure(name: str, threads: int, rounds: int) -> None:
    """Measure one shape in all precisions."""
    config, limit = PRESETS[name], read_bytes_per_s(threads)
    print(f"{name}: {threads} threads, memory read at {limit / 1e9:.1f} GB/s")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_safetensors(folder / "model.safetensors", weights(config))
        time.sleep(2.5)  # a file of this moment would be hashed at every start
        models = {}
        for precision in PRECISIONS:
            for what in ("packed", "opened again"):
                began_s = time.perf_counter()
                models[precision] = open_packed(
                    read_weights(folder), config, precision=precision, source=folder
                )
                print(f"  {precision}: {what} in {time.perf_counter() - began_s:.2f} s")
    tasks: dict[str, Callable[[PackedModel], float]] = {
        "decode 1": lambda model: decode(model, threads, 1, GREEDY),
        "decode 1, drawn from all": lambda model: decode(model, threads, 1, DRAWN),
        "decode 8": lambda model: decode(model, threads, 8, GREEDY),
        "prefill": lambda model: prefill(model, threads),
    }
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for precision, model in models.items():
            for task, run in tasks.items():
                times.setdefault((precision, task), []).append(run(model))
    for (precision, task), seconds in times.items():
        batch = 8 if task == "decode 8" else 1
        needed = token_bytes(config, precision, PROMPT + 5 + NEW / 2) / limit
        is_limited = task == "decode 1" and name != "tinygpt"  # which lives in the caches
        shown(f"{precision}, {task}", seconds, batch, needed if is_limited else None)


def main() -> None:
    """Measure the named shapes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("shapes", nargs="*", default=["distilgpt2", "tinygpt"])
    options = parser.parse_args()
    for name in options.shapes:
        measure(name, options.threads, options.rounds)


if __name__ == "__main__":
    main()
