"""T10 and T12: two processes in one folder, and signals at any moment."""

import platform
import random
import re
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.battery.forked import Fork, Forks
from tests.battery.micro_run import computed, weights

from tinygpt.runs.checkpoint import load_newest

Micro = Callable[..., list[str]]
Figure = Callable[[str], None]
Size = Callable[[int, int], int]

ENDLESS = ("--max-steps", "1000000")


def first_to_end(forks: list[Fork]) -> tuple[Fork, Fork]:
    """Wait until one of two has ended; return it and the other."""
    while all(fork.process.is_alive() for fork in forks):
        time.sleep(0.002)
    first = next(fork for fork in forks if not fork.process.is_alive())
    return first, next(fork for fork in forks if fork is not first)


@pytest.mark.battery("T10")
def test_two_processes_and_one_run(
    forks: Forks, micro: Micro, tmp_path: Path, figure: Figure, size: Size
) -> None:
    n, losing_s, n_taken_over = size(6, 50), [], 0
    run = tmp_path / "r"
    for i in range(n):
        if i % 2 == 0:  # a new run, made by both at once
            shutil.rmtree(run, ignore_errors=True)
            arguments = micro(run, *ENDLESS)
        else:  # one whose owner was killed, resumed by both at once
            arguments = ["resume", str(run)]
        loser, winner = first_to_end([forks.start(arguments) for _ in range(2)])
        losing_s.append(time.monotonic() - loser.started_s)
        assert loser.wait() == 2, loser.text
        found = re.search(r"by process (\d+) on (\S+) since 20", loser.text)
        assert found, loser.text
        assert (int(found[1]), found[2]) == (winner.pid, platform.node())
        if i % 2 == 0:
            winner.wait_for(run / "checkpoints" / "step-00000005")
        else:
            n_taken_over += winner.says("its lock is taken over")
        assert winner.process.is_alive(), winner.text
        winner.signal()
        assert winner.wait() == 137
        load_newest(run / "checkpoints")
    assert n_taken_over == n // 2
    assert statistics.median(losing_s) < 1
    figure(
        f"{n} of {n} times exactly one trained; the loser named it and ended after "
        f"{statistics.median(losing_s):.2f} s ({max(losing_s):.2f} s at most); {n_taken_over} "
        "locks of killed processes taken over"
    )


@pytest.fixture
def whole(forks: Forks, micro: Micro, tmp_path: Path) -> float:
    """What a run takes of which half is evaluations and samples, in seconds."""
    began_s = time.monotonic()
    assert forks.run(busy(micro, "whole"))[0] == 0
    return time.monotonic() - began_s


def busy(micro: Micro, out: object) -> list[str]:
    more = ("--n-evals", "12", "--eval-tokens", "399", "--sample-tokens", "12")
    return micro(out, *more, "--early-stopping-patience", "100")


@pytest.mark.battery("T12")
def test_a_signal_at_any_moment(
    forks: Forks, micro: Micro, tmp_path: Path, whole: float, figure: Figure, size: Size
) -> None:
    n, rng, ending_s, n_saved = size(6, 50), random.Random(12), [], 0
    for i in range(n):
        run, number = tmp_path / f"r{i}", (signal.SIGINT, signal.SIGTERM)[i % 2]
        fork = forks.start(busy(micro, run))
        fork.wait_for(fork.output)
        time.sleep(rng.uniform(0, whole))
        sent_s = time.monotonic()
        fork.signal(number)
        code = fork.wait()
        ending_s.append(time.monotonic() - sent_s)
        assert code in (0, 128 + number), fork.text
        assert "Traceback" not in fork.text
        if run.exists() and code:
            n_saved += 1
            found = re.search(r"interrupted at step ([\d,]+) and saved", fork.text)
            assert found, fork.text
            step = int(found[1].replace(",", ""))
            assert load_newest(run / "checkpoints")[0].step == step
        if code:
            assert forks.run(["resume", str(run)] if run.exists() else busy(micro, run))[0] == 0
        assert weights(run) == weights(tmp_path / "whole")
        assert computed(run) == computed(tmp_path / "whole")
    figure(
        f"{n} of {n} runs identical, {n_saved} of them interrupted and saved at the step they were "
        f"at, {statistics.median(ending_s):.2f} s after the signal ({max(ending_s):.2f} s at most)"
    )


@pytest.mark.battery("T12")
def test_two_signals(
    forks: Forks, micro: Micro, tmp_path: Path, whole: float, figure: Figure, size: Size
) -> None:
    n, rng, ending_s = size(4, 20), random.Random(121), []
    for i in range(n):
        run = tmp_path / f"r{i}"
        fork = forks.start(busy(micro, run))
        fork.wait_for(fork.output)
        time.sleep(rng.uniform(0, whole))
        sent_s = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT):
            fork.signal(number)
            time.sleep(0.001)
        code = fork.wait()
        ending_s.append(time.monotonic() - sent_s)
        assert code in (0, 130, 143), fork.text
        if run.exists():
            assert load_newest(run / "checkpoints")[1] == ()
            assert forks.run(["resume", str(run)])[0] in (0, 2)
            assert weights(run) == weights(tmp_path / "whole")
    assert statistics.median(ending_s) < 1
    figure(
        f"{n} of {n} double signals left a whole checkpoint, {statistics.median(ending_s):.2f} s "
        f"after the first ({max(ending_s):.2f} s at most)"
    )
