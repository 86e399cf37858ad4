"""The race of `make bench-train`: how far training gets in the same seconds, whole processes.

    python -m benchmarks.train_race [--quick] [--corpus tinyshakespeare] [--seeds 3]

Each contender is a process of its own, one after another, seed by seed; all are scored by
`val_loss` on all of the held-out part. What is done is kept in .race/train, so that an interrupted
race goes on where it was; `--again` begins anew. Tables go into docs/measuring.md and README.md,
the picture into docs/train-race.svg; --quick (5 minutes, one seed) only prints its table.
"""

import argparse
import datetime
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.train_picture import draw

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".race" / "train"
BUDGETS = (0.28, 0.32, 0.36, 0.42, 0.5, 1.0)
RATES = ("5e-4", "1e-3", "3e-3")
LEVELS = ((1.898, "plain, block 64"), (1.836, "plain, block 128"))
"""Full held-out losses that the documented settings end at, and in whose time."""
PILOT_STEPS = 150

Row = dict[str, Any]


class Race:
    """Runs contenders that have not run yet and keeps what they left."""

    def __init__(self, corpus: str, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.corpus, self.place, self.file = corpus, place, place / "rows.jsonl"
        lines = self.file.read_text("utf-8").splitlines() if self.file.exists() else []
        self.rows: list[Row] = [json.loads(line) for line in lines]

    def tinygpt(self, name: str, seed: int, minutes: float) -> Row:
        """Run `tinygpt train` for some minutes."""
        out = self.place / "run"
        command = [sys.executable, "-m", "tinygpt", "train", "--corpus", self.corpus, "--quiet"]
        command += ["--minutes", f"{minutes:.4f}", "--seed", str(seed), "--out", str(out)]
        return self._once(name, seed, command, lambda: _of_run(out))

    def peer(self, name: str, seed: int, *arguments: str) -> Row:
        """Run one of train_peers."""
        out = self.place / "peer.json"
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.train_peers", arguments[0]]
        command += [self.corpus, str(out), "--seed", str(seed), *arguments[1:]]
        return self._once(name, seed, command, lambda: json.loads(out.read_text("utf-8")))

    def _once(self, name: str, seed: int, command: list[str], read: Callable[[], Row]) -> Row:
        for row in self.rows:
            if (row["name"], row["seed"]) == (name, seed):
                return row
        shutil.rmtree(self.place / "run", ignore_errors=True)
        print(f"{name}, seed {seed} ...", end=" ", flush=True)
        load, began_s = os.getloadavg()[0], time.time()
        paths = os.pathsep.join([str(ROOT), str(ROOT / ".venv-race-train")])
        environment = os.environ | {"RACE_STARTED_S": str(began_s), "PYTHONPATH": paths}
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        log = self.place / "log.txt"
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}\n{log.read_text()[-2000:]}")
        row = read() | {"name": name, "seed": seed, "wall_s": time.time() - began_s}
        row |= {"peak_bytes": usage.ru_maxrss * 1024, "load_before": load}
        row |= {"val_loss": row["curve"][-1]["val_loss"], "tokens": row["curve"][-1]["tokens"]}
        print(f"{row['val_loss']:.4f} nats in {row['wall_s']:.1f} s", flush=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row


def _of_run(out: Path) -> Row:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    scored = [line for line in lines if line["event"] == "evaluated"]
    keys = ("elapsed_s", "tokens", "val_loss")
    # Evaluations on the way fall between two steps; the quicker half of the gaps has none.
    gaps = sorted(b["elapsed_s"] - a["elapsed_s"] for a, b in itertools.pairwise(steps))
    rate = steps[0]["tokens"] / statistics.median(gaps) if gaps else 0.0
    return {"curve": [{key: line[key] for key in keys} for line in scored], "tokens_per_s": rate}


def run(race: Race, seeds: int, quick: bool) -> None:
    """Run everyone, seed by seed."""
    pilot = race.peer("pilot", 0, "trainer", "--max-steps", str(PILOT_STEPS))
    around_s = pilot["wall_s"] - PILOT_STEPS * 1024 / pilot["tokens_per_s"]

    def steps_in(seconds: float) -> str:
        return str(max(10, int((seconds - around_s) * pilot["tokens_per_s"] / 1024)))

    best = RATES[1]
    for seed in range(seeds):
        plain = race.peer("plain, block 64", seed, "plain", "--block-size", "64")
        for minutes in (0.6, 1.0) if quick else BUDGETS:
            race.tinygpt(f"tinygpt, {minutes:g} min", seed, minutes)
        rates = RATES if not seed and not quick else (best,)
        for rate in rates:
            settings = ("trainer", "--learning-rate", rate, "--max-steps", steps_in(60))
            race.peer(f"Trainer, {rate}, 1 min", seed, *settings)
        if not seed and not quick:
            found = {r: _median(race.rows, f"Trainer, {r}, 1 min", "val_loss") for r in rates}
            best = min(found, key=lambda r: found[r])
        if quick:
            continue
        race.peer("plain, block 128", seed, "plain", "--block-size", "128")
        race.tinygpt("tinygpt, the time of block 64", seed, plain["wall_s"] / 60)
        long = ("trainer", "--learning-rate", best, "--max-steps", steps_in(plain["wall_s"]))
        race.peer("Trainer, the time of block 64", seed, *long)


def _values(rows: list[Row], name: str, key: str) -> list[float]:
    return [row[key] for row in rows if row["name"] == name]


def _median(rows: list[Row], name: str, key: str) -> float:
    return statistics.median(_values(rows, name, key))


def _spread(rows: list[Row], name: str, key: str, digits: int, scale: float = 1.0) -> str:
    values = [value * scale for value in _values(rows, name, key)]
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(rows: list[Row]) -> str:
    """Return the Markdown table: medians and ranges over the seeds."""
    head = (
        "| contender | whole process, s | full held-out loss, nats | tokens trained on | tokens/s "
    )
    lines = [f"{head}| peak memory, MiB | seeds |", "|---|---|---|---|---|---|---|"]
    for name in dict.fromkeys(row["name"] for row in rows if row["name"] != "pilot"):
        cells = (
            _spread(rows, name, "wall_s", 1),
            _spread(rows, name, "val_loss", 4),
            f"{_median(rows, name, 'tokens'):,.0f}",
            _spread(rows, name, "tokens_per_s", 0),
            _spread(rows, name, "peak_bytes", 0, 2**-20),
            str(len(_values(rows, name, "wall_s"))),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(rows: list[Row]) -> list[str]:
    """Return what the race says in sentences, each with its figures."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    ours = [name for name in names if name.startswith("tinygpt")]
    said = []
    for level, peer in LEVELS:
        if peer not in names:
            continue
        there = [name for name in ours if max(_values(rows, name, "val_loss")) <= level]
        their_s = _median(rows, peer, "wall_s")
        if not there:
            said.append(f"No budget of tinygpt reached {level} with every seed.")
            continue
        best = min(there, key=lambda name: _median(rows, name, "wall_s"))
        own_s = _median(rows, best, "wall_s")
        said.append(
            f"To {level} nats: {own_s:.1f} s ({best}; every seed) against {their_s:.1f} s "
            f"({peer}, which ends at {_median(rows, peer, 'val_loss'):.4f}): "
            f"{their_s / own_s:.1f} times as fast."
        )
    return said


def on_the_way(rows: list[Row]) -> str:
    """Return a table of when each contender's sampled loss first fell to a level, medians."""
    levels = (2.2, 2.0, 1.9, 1.8, 1.7)
    lines = ["| contender | " + " | ".join(f"{level} nats" for level in levels) + " |"]
    lines.append("|---" * (len(levels) + 1) + "|")
    for name in dict.fromkeys(row["name"] for row in rows if row["name"] != "pilot"):
        cells = []
        for level in levels:
            times = [
                next((p["elapsed_s"] for p in row["curve"] if p["val_loss"] <= level), None)
                for row in rows
                if row["name"] == name
            ]
            known = [seconds for seconds in times if seconds is not None]
            cells.append(f"{statistics.median(known):.0f} s" if len(known) == len(times) else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_in(path: Path, marker: str, body: str) -> None:
    """Replace what stands between the two comments of a marker in a Markdown file."""
    text = path.read_text("utf-8")
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no {begin} ... {end}")
    path.write_text(f"{before}{begin}\n{body}\n{end}{after}", "utf-8")


def main() -> None:
    """Run the race and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--corpus", default="tinyshakespeare")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    place = PLACE.with_name("train-quick") if given.quick else PLACE
    if given.again or given.quick:
        shutil.rmtree(place, ignore_errors=True)
    race = Race(given.corpus, place)
    run(race, 1 if given.quick else given.seeds, given.quick)
    found, said = table(race.rows), "\n".join(f"- {line}" for line in ratios(race.rows))
    print(f"\n{found}\n\n{said}")
    if given.quick:
        return
    seeds = f" --seeds {given.seeds}" if given.seeds != parser.get_default("seeds") else ""
    date = datetime.datetime.now(datetime.UTC).date()
    made = f"`make bench-train` (`python -m benchmarks.train_race{seeds}`), {date}."
    (ROOT / "docs" / "train-race.svg").write_text(draw(race.rows) + "\n", "utf-8")
    way = "When a loss was first seen on the way (on a sample of at most 8,192 tokens):\n\n"
    way += on_the_way(race.rows)
    write_in(ROOT / "docs" / "measuring.md", "train race", f"{made}\n\n{found}\n\n{said}\n\n{way}")
    short = "\n".join(line for line in found.splitlines() if "min |" not in line or "1 min" in line)
    write_in(ROOT / "README.md", "train race", f"{short}\n\n{said}\n\n{made}")


if __name__ == "__main__":
    main()
