"""T8 and T9: a full disk, and places where no run can be."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.battery.forked import Forks
from tests.battery.micro_run import weights

from tinygpt.runs.checkpoint import load_newest

Micro = Callable[..., list[str]]
LONG = ("--max-steps", "280", "--save-every", "50", "--n-evals", "1", "--quiet")
"""Its metrics outgrow its other files; what it says stays smaller than any."""


def whole(run: Path) -> int:
    """Return the step of the newest checkpoint of a run that has nothing else to show."""
    found, notes = load_newest(run / "checkpoints")
    assert notes == ()
    assert not [path for path in run.rglob(".*") if path.name.endswith(".tmp")]
    return found.step


@pytest.mark.battery("T8")
def test_a_limit_on_files(
    forks: Forks, micro: Micro, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """RLIMIT_FSIZE: a file can't grow past a size, as on a full disk."""
    assert forks.run(micro("whole", *LONG))[0] == 0
    run, arguments = tmp_path / "r", micro("r", *LONG)
    sizes = {
        path.name: path.stat().st_size
        for path in (tmp_path / "whole" / "checkpoints" / "step-00000280").iterdir()
    }
    assert sizes["optimizer.safetensors"] + 5000 < (tmp_path / "whole/metrics.jsonl").stat().st_size
    places = []

    def full(limit: int, what: str) -> None:
        again = ["resume", str(run), "--quiet"] if run.exists() else arguments
        code, said = forks.run(again, largest_file=limit)
        (line,) = [line for line in said.splitlines() if line.startswith("error:")]
        assert code == 1, said
        assert what in line
        assert "bytes needed" in line
        assert " free)" in line
        places.append(what)

    for limit, what in ((350, "config.json"), (4000, "model.safetensors")):
        full(limit, what)
        assert not run.exists()
        assert not list(tmp_path.glob(".r.*"))
    full(sizes["optimizer.safetensors"] - 1, "optimizer.safetensors")
    assert not run.exists()
    assert forks.run(arguments, environment={"TINYGPT_CRASH_AT": "checkpoint: begun 3"})[0] == 137
    full(sizes["optimizer.safetensors"] - 1, "optimizer.safetensors")
    assert whole(run) == 50
    full(sizes["optimizer.safetensors"] + 1000, "metrics.jsonl")
    assert whole(run) > 50
    assert forks.run(["resume", str(run)])[0] == 0
    assert weights(run) == weights(tmp_path / "whole")
    figure(f"{len(places)} of {len(places)} refusals by size named path and bytes, lost nothing")


@pytest.mark.battery("T8")
def test_a_small_disk(
    forks: Forks, micro: Micro, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert forks.run(micro("whole", *LONG))[0] == 0
    code, said = forks.run(micro(disk / "r", *LONG), small_disk=(disk, "160k"))
    if "no small disk" in said:
        pytest.skip(f"a tmpfs in a namespace of our own is not allowed here: {said.strip()}")
    assert code == 1, said
    assert "its checkpoints need" in said
    assert not (tmp_path / "disk.copy" / "r").exists()
    shutil.rmtree(tmp_path / "disk.copy")
    code, said = forks.run(micro(disk / "r", *LONG), small_disk=(disk, "1m"), fill_it=True)
    assert code == 1, said
    assert "No space left on device" in said
    copy = tmp_path / "disk.copy" / "r"
    step = whole(copy)
    assert forks.run(["resume", str(copy)])[0] == 0
    assert weights(copy) == weights(tmp_path / "whole")
    figure(f"a tmpfs too small is refused before step 1; one filled later: resumed from {step}")


@pytest.mark.battery("T9")
def test_places_where_no_run_can_be(
    forks: Forks, micro: Micro, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    read_only = tmp_path / "read-only"
    read_only.mkdir(mode=0o555)
    places = {
        "read-only/r": "Permission denied",
        "read-only/deep/r": "Permission denied",
        "file": "exists already",
        "file/r": "Not a directory",
        "x" * 256: "File name too long",
        "x" * 250: "File name too long",
        "/".join(["y" * 200] * 25): "...",  # the line is cut
        "loop": "exists already",
        "loop/r": "Too many levels of symbolic links",
        "dangling": "exists already",
    }
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for place, why in places.items():
        code, said = forks.run(micro(tmp_path / place, "--quiet"), as_user=True)
        assert code == 2, (place, said)
        assert why in said
        assert len(said.splitlines()) == 1
    after = sorted(path.name for path in tmp_path.rglob("*"))
    assert [name for name in after if not name.startswith("output-")] == before
    figure(f"{len(places)} of {len(places)} places refused before step 1 with exit code 2")
