"""One process at a time, whatever the file system offers."""

import errno
import fcntl
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.runs import lock
from tinygpt.runs.lock import LOCK, holder, is_alive, locked

SINCE = "since 2026-01-01T00:00:00+00:00"


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(params=["flock", "no flock"])
def system(request, monkeypatch):
    """A file system with flock, and one without."""
    if request.param == "no flock":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)


def owned(folder: Path, owner: str, silent_s: float = 0.0) -> None:
    """Leave the lock that such an owner would have left."""
    (folder / LOCK).write_text(f"{owner} {SINCE}\n")
    (folder / "run.claim").touch()
    then = time.time() - silent_s
    os.utime(folder / LOCK, (then, then))


@pytest.mark.usefixtures("system")
def test_the_second_one_is_told_who_has_it(tmp_path):
    assert holder(tmp_path) is None
    for _ in range(2):
        with locked(tmp_path) as note:
            assert note is None
            assert holder(tmp_path).startswith(
                f"process {os.getpid()} on {platform.node()} since 20"
            )
            with (
                pytest.raises(CheckpointError, match=f"by process {os.getpid()} on .*wait until"),
                locked(tmp_path),
            ):
                pass
        assert holder(tmp_path) is None
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        assert (tmp_path / LOCK).read_text() == ""


@pytest.mark.usefixtures("system")
def test_the_lock_of_a_dead_process_is_taken_over_and_that_is_said(tmp_path, dead):
    owned(tmp_path, f"process {dead} on {platform.node()}")
    with locked(tmp_path) as note:
        assert f"process {dead} on {platform.node()} {SINCE} ended without a word" in note
    with locked(tmp_path) as note:
        assert note is None


@pytest.mark.usefixtures("system")
def test_another_machine_has_it_for_as_long_as_it_gives_signs_of_life(tmp_path):
    owned(tmp_path, "process 1 on elsewhere", silent_s=30)
    assert holder(tmp_path) == f"process 1 on elsewhere {SINCE}"
    with (
        pytest.raises(CheckpointError, match="trained by process 1 on elsewhere"),
        locked(tmp_path),
    ):
        pass
    owned(tmp_path, "process 1 on elsewhere", silent_s=61)
    assert holder(tmp_path) is None
    with locked(tmp_path) as note:
        assert "process 1 on elsewhere" in note


def test_the_owner_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / LOCK).stat().st_mtime < 60


@pytest.mark.usefixtures("system")
def test_a_folder_that_gets_another_name_stays_held(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    with locked(one):
        one.rename(other)
        assert holder(other).startswith(f"process {os.getpid()} on ")
    assert holder(other) is None
    assert [path.name for path in other.iterdir()] == [LOCK]


@pytest.mark.usefixtures("system")
def test_an_error_gives_the_lock_back(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path) as note:
        assert note is None


def test_a_folder_that_is_not_there_is_a_machine_error(tmp_path):
    with pytest.raises(MachineError, match=r"run\.lock can't be written"), locked(tmp_path / "no"):
        pass


def test_alive_or_not(dead):
    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(dead)


def test_a_held_run_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "training.json").write_text(
        '{"train": {}, "optim": {}, "corpus": {}, "tokenizer": {}}'
    )
    code = (
        "import sys; from tinygpt.cli.main import main\n"
        f"code = main(['resume', {str(tmp_path)!r}])\n"
        "print(code, 'torch' in sys.modules)"
    )
    with locked(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2 False\n", done.stderr
    assert f"is being trained by process {os.getpid()} on " in done.stderr
