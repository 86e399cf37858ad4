"""archive.py: how pip is called (what is read out of archives is tested in test_download.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinygpt.errors import MachineError
from tinygpt.storage import archive
from tinygpt.storage.download import fetch_from_index

OTHER = "0" * 64


@pytest.fixture
def pip_answers(monkeypatch):
    """Makes the subprocess answer with the given (exit code, output) pairs; yields the commands."""
    commands = []

    def answer(*answers):
        left = list(answers)

        def run(command, **_):
            commands.append(command)
            code, output = left.pop(0)
            if code == 0:
                Path(command[command.index("-d") + 1]).mkdir()
                (Path(command[command.index("-d") + 1]) / "pack.whl").touch()
            return subprocess.CompletedProcess(command, code, stdout=output.encode())

        monkeypatch.setattr(archive.subprocess, "run", run)
        monkeypatch.setattr(archive.importlib.util, "find_spec", lambda name: object())
        return commands

    return answer


def test_pip_is_called_with_hashes_and_short_waits(pip_answers, tmp_path):
    commands = pip_answers((0, ""))
    archive.fetch_archive("pack==1", OTHER, tmp_path)
    assert (tmp_path / "requirements.txt").read_text() == f"pack==1 --hash=sha256:{OTHER}\n"
    assert commands[0][:5] == [sys.executable, "-P", "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes", "--no-input", "--timeout"} <= set(commands[0])
    assert not [word for word in commands[0] if "://" in word or "index" in word]


def test_a_failed_build_is_repeated_with_a_fetched_setuptools(pip_answers, tmp_path):
    commands = pip_answers((1, "Preparing metadata (setup.py): error"), (0, ""))
    archive.fetch_archive("pack==1", OTHER, tmp_path)
    assert ["--no-build-isolation" in command for command in commands] == [True, False]


def test_a_silent_index_is_not_asked_twice(pip_answers):
    said = (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'Refused': /simple/pack/\n"
        "ERROR: No matching distribution found for pack==1\n"
    )
    commands = pip_answers((1, said))
    with pytest.raises(MachineError, match="pip says: connection broken by 'Refused'") as caught:
        fetch_from_index("pack==1", OTHER, lambda name: name, "pack-1")
    assert "pip config set global.index-url" in str(caught.value)
    assert len(commands) == 1


def test_pip_that_never_ends(monkeypatch):
    def run(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(archive.subprocess, "run", run)
    with pytest.raises(MachineError, match="pip took longer than 120 s"):
        fetch_from_index("pack==1", OTHER, lambda name: name, "pack-1")


def test_real_pip_without_an_index(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(MachineError, match="pip says: ERROR: No matching distribution") as caught:
        fetch_from_index("pack==1", OTHER, lambda name: name, "pack-1")
    assert "\n" not in str(caught.value)
