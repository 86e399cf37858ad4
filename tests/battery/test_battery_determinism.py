"""T5: what is repeated is the same to the last bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.battery.forked import Forks
from tests.battery.micro_run import computed, weights


@pytest.mark.battery("T5")
def test_two_runs_are_identical(
    forks: Forks,
    micro: Callable[..., list[str]],
    tmp_path: Path,
    figure: Callable[[str], None],
    size: Callable[[int, int], int],
) -> None:
    n = size(2, 10)
    for i in range(n):
        assert forks.run(micro(f"r{i}"))[0] == 0
    runs = [tmp_path / f"r{i}" for i in range(n)]
    assert len({weights(run) for run in runs}) == 1
    assert all(computed(run) == computed(runs[0]) for run in runs)
    figure(f"{n} of {n} runs identical in weights and in {len(computed(runs[0]))} log lines")
