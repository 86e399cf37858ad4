"""What a training step costs along each axis: one setting of TinyGPT changed at a time.

    python -m benchmarks.train_costs [--seconds 1.5] [--rounds 3]

Prints a Markdown table: tokens a second, milliseconds a step, and peak memory, on the compiled
engine and on torch. All rows and both engines take turns, each time in a process that does nothing
else; figures are medians. Random ids: speed does not depend on the text.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from dataclasses import replace
from typing import Any

from benchmarks.train_steps import ours
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import OptimConfig, TrainConfig
from tinygpt.inference.device import pick_device, without_denormals
from tinygpt.model.costs import n_params
from tinygpt.training.native_step import training_engine

AXES: dict[str, list[int]] = {
    "TinyGPT, 8 windows of": [128],
    "block_size": [32, 64, 256, 512, 1024],
    "batch_size": [1, 2, 4, 16, 32, 64],
    "n_embd": [64, 256, 384, 512, 768],
    "n_layer": [1, 2, 6, 8, 12],
    "n_head": [1, 2, 8],
    "vocab_size": [256, 1024, 8192, 50257],
}
ENGINES = ("native", "torch")


def settings(axis: str, value: int) -> tuple[ModelConfig, TrainConfig]:
    """Return TinyGPT and its training with one setting changed; block_size keeps 1,024 tokens."""
    config, train = replace(PRESETS["tinygpt"], vocab_size=65), TrainConfig(batch_size=8)
    if axis == "block_size":
        train = replace(train, block_size=value, batch_size=1024 // value)
        return replace(config, n_positions=max(128, value)), train
    if axis == "batch_size":
        return config, replace(train, batch_size=value)
    return (replace(config, **{axis: value}) if hasattr(config, axis) else config), train


def measure(axis: str, value: int, engine: str, seconds: float) -> dict[str, float]:
    """Take steps for some seconds, the first ones not counted."""
    config, train = settings(axis, value)
    steps = ours(config, OptimConfig(), train, engine)
    with without_denormals():
        warm_s = steps(2) / 2
        n = max(2, int(seconds / warm_s))
        step_s = steps(n) / n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step_ms": 1000 * step_s, "peak_mib": peak}


def show(axis: str, value: int, found: dict[str, list[dict[str, float]]]) -> None:
    """Print a row; what `train` takes by itself is bold."""
    config, train = settings(axis, value)
    taken = training_engine(config, train, pick_device("cpu"))[0].split()[0]
    cells = []
    for engine in ENGINES:
        step_ms, peak = (
            statistics.median(row[key] for row in found[engine]) for key in ("step_ms", "peak_mib")
        )
        rate = f"{1000 * train.tokens_per_step / step_ms:,.0f}"
        cells += [f"**{rate}**" if engine == taken else rate, f"{step_ms:,.1f}", f"{peak:,.0f}"]
    pairs = zip(found["torch"], found["native"], strict=True)
    times = [slow["step_ms"] / fast["step_ms"] for slow, fast in pairs]
    ratio = f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
    print(f"| {axis} {value} | {n_params(config):,} | {' | '.join(cells)} | {ratio} |")


def main() -> None:
    """Measure row by row, again and again, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3)
    given = parser.parse_args()
    if given.one:
        axis, value, engine = given.one
        print(json.dumps(measure(axis, int(value), engine, given.seconds)))
        return
    rows = [(axis, value) for axis, values in AXES.items() for value in values]
    found: dict[Any, dict[str, list[dict[str, float]]]] = {
        row: {engine: [] for engine in ENGINES} for row in rows
    }
    for done in range(given.rounds):
        for axis, value in rows:
            print(f"\r{done + 1}/{given.rounds} {axis} {value}        ", end="", file=sys.stderr)
            for engine in ENGINES:
                command = [sys.executable, "-m", "benchmarks.train_costs"]
                command += ["--seconds", str(given.seconds), "--one", axis, str(value), engine]
                out = subprocess.run(command, capture_output=True, text=True, check=True)
                found[axis, value][engine].append(json.loads(out.stdout.splitlines()[-1]))
    print(file=sys.stderr)
    each = " | ".join(f"{engine}: tokens/s | ms a step | peak MiB" for engine in ENGINES)
    print(f"| changed | parameters | {each} | native is so many times as fast |")
    print(f"|{'---|' * 9}")
    for axis, value in rows:
        show(axis, value, found[axis, value])


if __name__ == "__main__":
    main()
