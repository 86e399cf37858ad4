"""The logs of a run, metrics.jsonl and samples.jsonl, read on from a line while they are written.

A folder may be anyone's, so a link, a pipe, an endless line or a number that is none is no log. The
last line may be half written: it is left for the next time.
"""

import io
import itertools
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tinygpt.errors import DataError

__all__ = ["Log", "last_event", "number", "read_on", "regular"]

MAX_LINE_BYTES, MAX_ANSWER_BYTES = 2**20, 2**22
TAIL_BYTES = 2**16
MAX_LINES = 5000
"""Of one answer: who wants more asks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Some lines of a log."""

    events: tuple[dict[str, Any], ...]
    first: int
    """Lines before them: what was asked for, or 0 where the log began anew."""
    end: int
    """Lines up to their end: where to read on."""
    unreadable: int
    """Lines among them that are no JSON object."""
    more: bool
    """Whether there is another whole line."""


def read_on(path: Path, after: int) -> Log:
    """Read the whole lines of a log after the first ones; a log that is not there has none.

    Args:
        path: of the file.
        after: lines to pass over; where there are fewer, the log began anew, and so does this.

    Raises:
        DataError: no log: a link, a device, a line that does not end.
    """
    with _opened(path) as file:
        if sum(1 for _ in itertools.islice(_lines(file), after)) < after:
            file.seek(0)
            after = 0
        return _taken(file, after)


def last_event(path: Path) -> dict[str, Any] | None:
    """Return the last whole line of a log; None where there is none, or it is no event.

    Raises:
        DataError: as `read_on`.
    """
    with _opened(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).rpartition(b"\n")[0].splitlines()
        return _event(lines[-1]) if lines else None


def _opened(path: Path) -> IO[bytes]:
    """Open a regular file, never through a link; one that is not there is empty."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = open(os.open(path, flags), "rb")  # noqa: SIM115  # the caller closes it
    except FileNotFoundError:
        return io.BytesIO()
    except OSError as error:
        raise DataError(f"{path.name} can't be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{path.name} is no regular file")
    return file


def _taken(file: IO[bytes], first: int) -> Log:
    """Take lines until there are enough."""
    events, n, n_bytes, more = [], 0, 0, False
    for line in _lines(file):
        n_bytes += len(line)
        if n == MAX_LINES or (n and n_bytes > MAX_ANSWER_BYTES):
            more = True
            break
        n += 1
        event = _event(line)
        if event is not None:
            events.append(event)
    return Log(
        events=tuple(events),
        first=first,
        end=first + n,
        unreadable=n - len(events),
        more=more,
    )


def regular(path: Path) -> bool:
    """Tell whether there is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def number(event: dict[str, Any], key: str) -> float:
    """Return a number of an event; ValueError where it is none, or not finite."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} is no number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise ValueError(f"{key} is not finite")
    return value


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield whole lines; DataError for one that does not end."""
    while (line := file.readline(MAX_LINE_BYTES + 1)).endswith(b"\n"):
        yield line
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"a line of more than {MAX_LINE_BYTES:,} bytes is in no log of a run")


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
