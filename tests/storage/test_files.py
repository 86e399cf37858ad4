"""Files are replaced whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinygpt.errors import MachineError
from tinygpt.storage import files
from tinygpt.storage.files import clear_leftovers, copy_file, free_bytes, write_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path, other = tmp_path / "f", tmp_path / "other"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    other.write_bytes(b"x" * 3_000_000)

    def refuse(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(MachineError, match=r"Input/output error \(5 bytes needed, [\d,]+ free\)"):
        write_file(path, b"newer")
    with pytest.raises(MachineError, match="3,000,000 bytes needed"):
        copy_file(other, path)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["f", "other"]
    monkeypatch.undo()
    copy_file(other, path)
    assert path.read_bytes() == other.read_bytes()


def test_a_source_that_is_gone_is_named(tmp_path):
    with pytest.raises(MachineError, match="gone can't be read"):
        copy_file(tmp_path / "gone", tmp_path / "f")


def test_leftovers_are_known_by_their_names(tmp_path):
    files.temporary_name(tmp_path / "f").touch()
    (tmp_path / ".step-1.7.tmp" / "deep").mkdir(parents=True)
    for name in (".hidden", "kept.tmp"):
        (tmp_path / name).touch()
    clear_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "kept.tmp"]
    clear_leftovers(tmp_path / "nowhere")


def test_free_bytes_of_what_is_not_there_yet(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(("at", "n_passed"), [("here", 0), ("here 3", 2), ("there", 5)])
def test_a_crash_point_kills_where_it_is_told_to(at, n_passed):
    code = (
        "from tinygpt.storage.files import crash_point\n"
        "for n in range(5): crash_point('here'); print(n, flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TINYGPT_CRASH_AT": at},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if n_passed < 5 else 0)
    assert len(done.stdout.split()) == n_passed
