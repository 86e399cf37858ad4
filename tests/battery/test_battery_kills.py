"""T1-T4: a run that is killed, wherever and however often, ends in the same weights."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.battery.forked import Forks
from tests.battery.micro_run import computed, weights

import tinygpt
from tinygpt.cli.main import main
from tinygpt.runs.checkpoint import KEEP
from tinygpt.storage import files

Micro = Callable[..., list[str]]
Figure = Callable[[str], None]
Size = Callable[[int, int], int]

POINTS = sorted(
    name
    for path in Path(tinygpt.__file__).parent.rglob("*.py")
    for name in re.findall(r'crash_point\("([^"]+)"\)', path.read_text("utf-8"))
)
SHORT = ("--max-steps", "15", "--n-evals", "2")


def finish(forks: Forks, run: Path, arguments: list[str]) -> None:
    """Train the run to its end: go on with it, or begin anew where it never appeared."""
    again = ["resume", str(run)] if run.exists() else arguments
    code, said = forks.run(again)
    assert code == 0 or (code == 2 and "is complete" in said), said


def check(run: Path, whole: Path) -> None:
    """Hold a run that was killed against one that was not."""
    assert weights(run) == weights(whole)
    assert computed(run) == computed(whole)
    assert leftovers(run) == []
    assert len(list((run / "checkpoints").iterdir())) <= KEEP + 1  # killed before the last pruning
    assert (run / "README.md").exists()


def leftovers(run: Path) -> list[Path]:
    return [*run.rglob(".*"), *run.parent.glob(f".{run.name}.*")]


@pytest.fixture
def duration_s(forks: Forks, micro: Micro, tmp_path: Path) -> float:
    """What a run takes that nobody kills; it is left in the folder whole."""
    began_s = time.monotonic()
    code, said = forks.run(micro("whole"))
    assert code == 0, said
    return time.monotonic() - began_s


@pytest.mark.battery("T1")
def test_every_crash_point(
    forks: Forks, micro: Micro, tmp_path: Path, monkeypatch, figure: Figure, size: Size
) -> None:
    monkeypatch.setattr(files, "_passed", passed := Counter())
    monkeypatch.setenv("TINYGPT_CRASH_AT", "nowhere")
    assert main(micro(tmp_path / "whole", *SHORT, "--quiet")) == 0
    monkeypatch.delenv("TINYGPT_CRASH_AT")
    assert sorted(passed) == POINTS
    at = {f"{name} {n}" for name in POINTS for n in range(1, passed[name] + 1)}
    bounded = {f"{name} {1 + (3 * i) % passed[name]}" for i, name in enumerate(POINTS)}
    for i, point in enumerate(sorted(size(bounded, at))):
        run = tmp_path / f"r{i}"
        arguments = micro(run, *SHORT)
        code, said = forks.run(arguments, environment={"TINYGPT_CRASH_AT": point})
        assert code == 137, (point, said)
        finish(forks, run, arguments)
        check(run, tmp_path / "whole")
    n = i + 1
    figure(f"{n} of {n} kills at {len(POINTS)} labelled points resumed to the identical SHA-256")


@pytest.mark.battery("T2")
@pytest.mark.parametrize("part", [0, 1])
def test_random_kills(
    part: int,
    forks: Forks,
    micro: Micro,
    tmp_path: Path,
    duration_s: float,
    figure: Figure,
    size: Size,
) -> None:
    n, rng, n_killed = size(5, 150), random.Random(part), 0
    for i in range(n):
        run = tmp_path / f"r{i}"
        fork = forks.start(micro(run))
        time.sleep(rng.uniform(0, duration_s))
        fork.signal()
        n_killed += fork.wait() == 137
        finish(forks, run, micro(run))
        check(run, tmp_path / "whole")
    figure(f"{n} of {n} runs identical, {n_killed} of them killed (kill -9) at a random moment")


@pytest.mark.battery("T3")
def test_a_chain_of_kills(
    forks: Forks,
    micro: Micro,
    tmp_path: Path,
    duration_s: float,
    figure: Figure,
    size: Size,
) -> None:
    n, rng, run, most = size(6, 20), random.Random(3), tmp_path / "r", 0
    for _ in range(n):
        fork = forks.start(["resume", str(run)] if run.exists() else micro(run))
        time.sleep(duration_s / 6 + rng.uniform(0, duration_s / 6))
        fork.signal()
        fork.wait()
        if run.exists():
            held = [path for path in (run / "checkpoints").iterdir() if any(path.iterdir())]
            most = max(most, len(held))
    finish(forks, run, micro(run))
    check(run, tmp_path / "whole")
    assert most <= KEEP + 2  # the new one before the old goes, and what a killed save left
    figure(f"{n} kills within one run: identical, no leftovers, {most} checkpoints at most")


@pytest.mark.battery("T4")
def test_a_killed_fine_tuning(
    forks: Forks, micro: Micro, tmp_path: Path, duration_s: float, figure: Figure, size: Size
) -> None:
    """Fine-tuning is the only other way to train: there is no distillation, and one process."""

    def tuning(run: Path) -> list[str]:
        arguments = micro(run, "--from", str(tmp_path / "whole"), "--seed", "7")
        for option in ("--n-layer", "--n-head", "--n-embd", "--n-positions", "--dropout"):
            i = arguments.index(option)
            del arguments[i : i + 2]
        return arguments

    assert forks.run(tuning(tmp_path / "tuned"))[0] == 0
    n, rng = size(3, 20), random.Random(4)
    for i in range(n):
        run = tmp_path / f"r{i}"
        fork = forks.start(tuning(run))
        time.sleep(rng.uniform(0.2, 1) * duration_s)
        fork.signal()
        fork.wait()
        finish(forks, run, tuning(run))
        check(run, tmp_path / "tuned")
    figure(f"{n} of {n} killed fine-tunings identical (no distributed or distilling mode exists)")
