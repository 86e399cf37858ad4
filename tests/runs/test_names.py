"""Runs by path and by name."""

from pathlib import Path

import pytest

from tinygpt.runs.names import find_run, nearest_run, next_run


@pytest.fixture(autouse=True)
def _two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run-001", "mine"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "training.json").write_text("{}", "utf-8")


def test_a_name_is_a_run_only_where_there_is_no_such_path(tmp_path: Path) -> None:
    assert find_run("mine") == Path("runs/mine")
    assert find_run("none") == Path("none")
    (tmp_path / "mine").mkdir()
    assert find_run("mine") == Path("mine")
    assert find_run("x" * 5000) == Path("x" * 5000)  # longer than any file system allows


@pytest.mark.parametrize("name", ["mime", "runs/mime"])
def test_the_nearest_run_is_suggested(name: str) -> None:
    assert nearest_run(name) == '; did you mean "runs/mine"?'
    assert nearest_run("zzzzzzzz") == ""


def test_the_next_run_is_the_first_free_number(tmp_path: Path) -> None:
    assert next_run() == Path("runs/run-002")
    assert next_run(tmp_path / "other") == tmp_path / "other" / "run-001"
