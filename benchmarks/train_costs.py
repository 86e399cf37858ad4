"""What a training step costs along each axis: one setting of TinyGPT changed at a time.

    python -m benchmarks.train_costs [--seconds 3]

Prints a Markdown table: tokens a second, milliseconds a step, and peak memory of a process that
does nothing else. Random ids: speed does not depend on the text.
"""

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace
from typing import Any

from benchmarks.train_steps import ours
from tinygpt.account import n_params
from tinygpt.model_config import PRESETS
from tinygpt.run_config import OptimConfig, TrainConfig

AXES: dict[str, list[dict[str, Any]]] = {
    "TinyGPT": [{}],
    "block_size": [{"block_size": n, "batch_size": 1024 // n} for n in (32, 64, 256, 512, 1024)],
    "batch_size": [{"batch_size": n} for n in (1, 2, 4, 16, 32, 64)],
    "n_embd": [{"n_embd": n} for n in (64, 256, 384, 512, 768)],
    "n_layer": [{"n_layer": n} for n in (1, 2, 6, 8, 12)],
    "n_head": [{"n_head": n} for n in (1, 2, 8)],
    "vocab_size": [{"vocab_size": n} for n in (256, 1024, 8192, 50257)],
}


def measure(changes: dict[str, Any], seconds: float) -> dict[str, float]:
    """Take steps for some seconds, the first ones not counted."""
    loop = {k: v for k, v in changes.items() if k in ("block_size", "batch_size")}
    shape = {k: v for k, v in changes.items() if k not in loop}
    train = TrainConfig(**{"batch_size": 8} | loop)
    base = replace(PRESETS["tinygpt"], vocab_size=65)
    config = replace(base, **{"n_positions": max(128, train.block_size)} | shape)
    steps = ours(config, OptimConfig(), train)
    warm_s = steps(2) / 2
    n = max(2, int(seconds / warm_s))
    step_s = steps(n) / n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "tok_per_s": train.tokens_per_step / step_s,
        "step_ms": 1000 * step_s,
        "peak_mib": peak,
        "n_params": n_params(config),
    }


def main() -> None:
    """Print the table, a process for each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--one")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(json.loads(given.one), given.seconds)))
        return
    print("| changed | parameters | tokens/s | ms a step | peak memory, MiB |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    for axis, many in AXES.items():
        for changes in many:
            command = [sys.executable, "-m", "benchmarks.train_costs", "--one", json.dumps(changes)]
            command += ["--seconds", str(given.seconds)]
            out = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(out.stdout.splitlines()[-1])
            name = f"{axis} {changes[axis]}" if changes else "TinyGPT, 8 windows of 128"
            figures = f"{row['n_params']:,} | {row['tok_per_s']:,.0f} | {row['step_ms']:,.1f}"
            print(f"| {name} | {figures} | {row['peak_mib']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
