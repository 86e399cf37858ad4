"""Tests of serve/playground/logs.py: logs read on while they are written, whoever wrote them."""

import os
from pathlib import Path

import pytest

from tinygpt.errors import DataError
from tinygpt.serve.playground import logs
from tinygpt.serve.playground.logs import last_event, number, read_on


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {i}}}\n' for i in range(5)), "utf-8")
    return path


def test_it_reads_on_from_a_line(log: Path) -> None:
    found = read_on(log, 0)
    assert [event["step"] for event in found.events] == [0, 1, 2, 3, 4]
    assert (found.first, found.end, found.more) == (0, 5, False)
    assert [event["step"] for event in read_on(log, 3).events] == [3, 4]
    assert read_on(log, 5).events == ()
    assert read_on(log, 5).end == 5


def test_a_half_written_line_waits(log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 5')
        file.flush()
        assert read_on(log, 5).end == 5
        assert last_event(log) == {"step": 4}
        file.write("}\n")
    assert [event["step"] for event in read_on(log, 5).events] == [5]
    assert last_event(log) == {"step": 5}


def test_a_log_that_began_anew_is_read_from_its_start(log: Path) -> None:
    log.write_text('{"step": 0}\n', "utf-8")
    found = read_on(log, 5)
    assert (found.first, found.end) == (0, 1)
    assert found.events == ({"step": 0},)


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert read_on(tmp_path / "none", 7).end == 0
    assert last_event(tmp_path / "none") is None


def test_lines_that_are_no_events_are_counted(log: Path) -> None:
    log.write_bytes(b'{"a": 1}\nnothing\n[1]\n\xff\n' + b"[" * 5000 + b"\n")
    found = read_on(log, 0)
    assert (len(found.events), found.unreadable, found.end) == (1, 4, 5)
    assert last_event(log) is None


def test_an_answer_is_bounded(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LINES", 2)
    found = read_on(log, 1)
    assert (found.first, found.end, found.more) == (1, 3, True)
    assert not read_on(log, 3).more
    monkeypatch.setattr(logs, "MAX_LINES", 100)
    monkeypatch.setattr(logs, "MAX_ANSWER_BYTES", 1)
    assert (read_on(log, 0).end, read_on(log, 0).more) == (1, True)


def test_a_line_without_end_is_refused(log: Path) -> None:
    log.write_bytes(b"x" * (logs.MAX_LINE_BYTES + 2))
    with pytest.raises(DataError, match="no log"):
        read_on(log, 0)
    assert last_event(log) is None


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_links_and_pipes_are_not_read(log: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(log)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(DataError) as caught:
            read_on(tmp_path / name, 0)
        assert str(tmp_path.parent) not in str(caught.value)


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), 10**400, [1]])
def test_numbers_are_finite(value: object) -> None:
    with pytest.raises(ValueError, match="step"):
        number({"step": value}, "step")
    assert number({"step": 2.5}, "step") == 2.5
