"""What a refusal costs: every hostile folder of tests/hostile.py through `inspect` and `sample`.

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

from tinygpt.cli import main as tinygpt
from tinygpt.opening import load

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
VERBS = (["inspect", "m"], ["sample", "m", "a"])
QUICK_MS, SHOWN = 30, 5


def milliseconds(arguments: list[str]) -> tuple[float, int]:
    """Run a verb with its output thrown away; return what it took and its exit code."""
    nowhere = io.StringIO()
    began_s = time.perf_counter()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        code = tinygpt(arguments)
    return 1000 * (time.perf_counter() - began_s), code


def main() -> None:
    """Time every folder and print the summary of each verb."""
    from hostile import FOLDERS, good

    taken: dict[str, list[tuple[float, str]]] = {verb: [] for verb, *_ in VERBS}
    folder = Path("m").absolute()
    good(folder)
    load(folder).generate("a", max_new_tokens=1)
    for arguments in VERBS:  # what is imported by a good one counts for none
        milliseconds(arguments)
    for name, (build, _) in FOLDERS.items():
        for arguments in VERBS:
            shutil.rmtree(folder, ignore_errors=True)
            good(folder)
            build(folder)
            spent_ms, code = milliseconds(arguments)
            if code:  # `inspect` needs no weights, so it may take a folder that `sample` refuses
                taken[arguments[0]].append((spent_ms, name))
    for verb, found in taken.items():
        found.sort(reverse=True)
        n_quick = sum(spent_ms < QUICK_MS for spent_ms, _ in found)
        print(f"{verb}: {len(found)} of {len(FOLDERS)} folders refused, ", end="")
        print(f"in {found[0][0]:.0f} ms at most, {n_quick} of them below {QUICK_MS} ms")
        for spent_ms, name in found[:SHOWN]:
            print(f"  {spent_ms:6.1f}  {name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        main()
