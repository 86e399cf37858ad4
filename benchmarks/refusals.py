"""What a refusal costs: every hostile folder of tests/security/hostile.py through `tinygpt sample`.

    python -m benchmarks.refusals

In one process, after the imports; prints milliseconds of wall clock, the slowest folders first.
"""

import contextlib
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tinygpt.cli.main import main as tinygpt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
QUICK_MS, SHOWN = 30, 5


def sample(folder: Path) -> tuple[float, int]:
    """Sample with the output thrown away; return the milliseconds and the exit code."""
    nowhere = io.StringIO()
    began_s = time.perf_counter()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        code = tinygpt(["sample", str(folder), "a", "--max-new-tokens", "1"])
    return 1000 * (time.perf_counter() - began_s), code


def main(place: Path) -> None:
    """Time every folder and print the summary."""
    from tests.security.hostile import FOLDERS, good

    sys.modules["transformers"] = None  # type: ignore[assignment]  # as in the tests
    folder = place / "m"
    taken: list[tuple[float, str]] = []
    good(folder)
    sample(folder)  # what a good one imports counts for none
    for name, (build, _) in FOLDERS.items():
        shutil.rmtree(folder, ignore_errors=True)
        good(folder)
        build(folder)
        spent_ms, code = sample(folder)
        if code == 2:
            taken.append((spent_ms, name))
    taken.sort(reverse=True)
    n_quick = sum(spent_ms < QUICK_MS for spent_ms, _ in taken)
    print(
        f"{len(taken)} of {len(FOLDERS)} folders refused, in {taken[0][0]:.0f} ms at most, ", end=""
    )
    print(f"{n_quick} of them below {QUICK_MS} ms")
    for spent_ms, name in taken[:SHOWN]:
        print(f"  {spent_ms:6.1f}  {name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        main(Path(temporary))
