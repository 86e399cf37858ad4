"""What a run of minutes spends beside its arithmetic: its own timers, in a process like any other.

    python -m benchmarks.train_overhead [--minutes 1] [--runs 3] [--corpus tinyshakespeare]

The whole process, and in it: `import torch`, optimizer steps, the final evaluation, and the rest:
reading and encoding the text, batches, threads and batch size tried, evaluations on the way,
checkpoints, samples, the run folder. A batch counts as rest, though it is drawn within its step.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any


def one(minutes: float, corpus: str, began_s: float) -> None:
    """Train, and print the seconds as JSON."""
    took = {"start of Python": time.time() - began_s}
    began_torch_s = time.perf_counter()
    importlib.import_module("torch")
    took["import torch"] = time.perf_counter() - began_torch_s
    from tinygpt.cli.main import main
    from tinygpt.training import learner, loop

    def timed(owner: Any, name: str, label: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        def wrapper(*arguments: Any, **more: Any) -> Any:
            begun_s = time.perf_counter()
            result = function(*arguments, **more)
            took[label] = took.get(label, 0.0) + time.perf_counter() - begun_s
            return result

        setattr(owner, name, wrapper)

    timed(learner.Learner, "update", "steps")
    timed(learner, "batch", "batches")
    timed(loop, "evaluate_finally", "final evaluation")
    timed(loop, "evaluate_on_the_way", "evaluations on the way")
    timed(loop, "save_checkpoint", "checkpoints")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--corpus", corpus, "--minutes", str(minutes), "--quiet"]
        sys.argv = ["tinygpt", "train", *arguments, "--out", f"{folder}/run"]
        if main():
            raise SystemExit(1)
        took["whole process"] = time.time() - began_s
    took["steps"] -= took["batches"]
    print(json.dumps(took))


def main() -> None:
    """Run, and print medians, ranges and shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--corpus", default="tinyshakespeare")
    parser.add_argument("--one", type=float)
    given = parser.parse_args()
    if given.one:
        one(given.minutes, given.corpus, given.one)
        return
    command = [sys.executable, "-m", "benchmarks.train_overhead", *sys.argv[1:], "--one"]
    runs = []
    for _ in range(given.runs):
        done = subprocess.run(
            [*command, str(time.time())], stdout=subprocess.PIPE, text=True, check=True
        )
        took = json.loads(done.stdout.splitlines()[-1])
        arithmetic = ("import torch", "steps", "final evaluation")
        took["the rest"] = took["whole process"] - sum(took[name] for name in arithmetic)
        runs.append(took)
    print("| part | seconds | share of the process |\n|---|---|---|")
    for name in runs[0]:
        seconds = [took[name] for took in runs]
        shares = [took[name] / took["whole process"] for took in runs]
        span = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        print(f"| {name} | {span} | {statistics.median(shares):.1%} |")


if __name__ == "__main__":
    main()
