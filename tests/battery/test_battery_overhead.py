"""T18: what checksums and flushing cost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.saving import N_SAVES, RUN_S, save_s


@pytest.mark.battery("T18")
def test_the_cost_of_safety(
    tmp_path: Path, figure: Callable[[str], None], size: Callable[[int, int], int]
) -> None:
    repeats = size(3, 9)
    seconds = save_s(tmp_path, repeats=repeats)
    plain = save_s(tmp_path, repeats=repeats, checksums=False, flushes=False)
    share = N_SAVES * seconds / RUN_S
    assert share < 0.05
    figure(
        f"{N_SAVES} saves are {share:.2%} of a one-minute run (target < 5%), of which checksums "
        f"and flushing {N_SAVES * max(0.0, seconds - plain) / RUN_S:.2%}"
    )
