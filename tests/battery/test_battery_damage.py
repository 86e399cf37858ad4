"""T6 and T7: a checkpoint that was damaged is named, set aside, and never used."""

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.battery.forked import Forks
from tests.battery.micro_run import weights

from tinygpt.errors import CheckpointError
from tinygpt.runs.checkpoint import load, load_newest

FILES = ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "state.json"]
NEWEST, BEFORE = "step-00000010", "step-00000005"


@pytest.fixture
def run(forks: Forks, micro: Callable[..., list[str]], tmp_path: Path) -> Path:
    """A run that was killed after step 10, and `whole`, which was not."""
    arguments = ("--max-steps", "15", "--n-evals", "1")
    assert forks.run(micro("whole", *arguments))[0] == 0
    at = {"TINYGPT_CRASH_AT": "checkpoint: begun 4"}  # the one of step 15
    assert forks.run(micro("r", *arguments), environment=at)[0] == 137
    checkpoints = tmp_path / "r" / "checkpoints"
    assert sorted(path.name for path in checkpoints.glob("step-*")) == [BEFORE, NEWEST]
    return tmp_path / "r"


def refused(checkpoints: Path) -> str:
    """Return what is said about the newest one; the one before it must be taken instead."""
    with pytest.raises(CheckpointError) as caught:
        load(checkpoints / NEWEST)
    found, (note,) = load_newest(checkpoints)
    assert found.path == checkpoints / BEFORE
    assert note == f"{caught.value}; set aside as {NEWEST}.corrupt-1"
    (checkpoints / f"{NEWEST}.corrupt-1").rename(checkpoints / NEWEST)
    return str(caught.value)


@pytest.mark.battery("T6")
def test_flipped_bits(run: Path, figure: Callable[[str], None]) -> None:
    n, rng, checkpoints = 400, random.Random(6), run / "checkpoints"
    for i in range(n):
        name = FILES[i % len(FILES)]
        path = checkpoints / NEWEST / name
        data = path.read_bytes()
        bit = rng.randrange(8 * len(data))
        path.write_bytes(
            data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
        )
        said = refused(checkpoints)
        assert NEWEST in said
        # A flip in the manifest may look like one in the file whose sum it holds.
        assert name in said or name == "MANIFEST.json"
        path.write_bytes(data)
    assert load(checkpoints / NEWEST).step == 10
    figure(f"{n} of {n} flipped bits detected and named, and the checkpoint before taken")


def damages() -> dict[str, Callable[[Path], None]]:
    """What can happen to a checkpoint, by what must be named."""
    found: dict[str, Callable[[Path], None]] = {}
    for name in FILES:
        for keep in ("0", "1", "8", "half", "n-1"):

            def shorten(folder: Path, name: str = name, keep: str = keep) -> None:
                data = (folder / name).read_bytes()
                sizes = {"half": len(data) // 2, "n-1": len(data) - 1}
                (folder / name).write_bytes(data[: sizes.get(keep) or int(keep)])

            found[f"{name} cut to {keep}"] = shorten
        found[f"{name} deleted"] = lambda folder, name=name: (folder / name).unlink()
        found[f"{name} a folder"] = lambda folder, name=name: (
            (folder / name).unlink(),
            (folder / name).mkdir(),
        )
        found[f"{name} of the one before"] = lambda folder, name=name: shutil.copy(
            folder.parent / BEFORE / name, folder / name
        )
    for one, other in itertools.combinations(FILES, 2):

        def swap(folder: Path, one: str = one, other: str = other) -> None:
            (folder / one).rename(folder / "third")
            (folder / other).rename(folder / one)
            (folder / "third").rename(folder / other)

        found[f"{one} and {other} swapped"] = swap
    found["all files gone"] = lambda folder: [path.unlink() for path in folder.iterdir()]
    return found


@pytest.mark.battery("T7")
def test_cut_deleted_and_swapped_files(
    run: Path, forks: Forks, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    checkpoints, kinds = run / "checkpoints", damages()
    shutil.copytree(run, tmp_path / "safe")
    (checkpoints / "step-x").mkdir()
    (checkpoints / "step-00000099.old").mkdir()
    for what, damage in kinds.items():
        damage(checkpoints / NEWEST)
        said = refused(checkpoints)
        assert any(name in said for name in FILES), (what, said)
        shutil.rmtree(checkpoints / NEWEST)
        shutil.copytree(tmp_path / "safe" / "checkpoints" / NEWEST, checkpoints / NEWEST)
    (checkpoints / NEWEST / "state.json").unlink()
    code, said = forks.run(["resume", str(run), "--quiet"])
    assert code == 0, said
    assert "state.json is missing; set aside as step-00000010.corrupt-1" in said
    assert (checkpoints / "step-00000010.corrupt-1").exists()
    assert weights(run) == weights(tmp_path / "whole")
    for path in (tmp_path / "safe" / "checkpoints").iterdir():
        (path / "optimizer.safetensors").write_bytes(b"")
    code, said = forks.run(["resume", str(tmp_path / "safe")])
    assert code == 2
    assert said.count("optimizer.safetensors") == 2
    assert "Traceback" not in said
    figure(f"{len(kinds)} of {len(kinds)} kinds of damage named, the checkpoint before taken")
