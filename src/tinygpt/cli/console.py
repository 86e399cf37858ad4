"""What the command line prints: data on stdout, everything else on stderr.

Colour and moving bars only where a person looks at a terminal (NO_COLOR, TERM=dumb and pipes get
plain text). A reader of stdout that goes away ends the verb quietly; one of stderr ends nothing: a
training run outlives the pipe it logs to. rich is imported where it is used, never for `--help`.
"""

import contextlib
import io
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tinygpt.errors import MachineError
from tinygpt.escape import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = [
    "data",
    "emphasise",
    "error",
    "following_log",
    "is_live",
    "json_document",
    "next_commands",
    "printable",
    "refuse_unwritable",
    "rich_console",
    "say",
    "short_json",
    "show",
    "size",
    "width",
    "word",
    "write_file",
]

PIPE_WIDTH = 100
"""Columns of a table that is not shown on a terminal, unless COLUMNS says otherwise."""

MAX_LINE = 2000
"""Characters of a line on stderr: a name that a file gives may be a megabyte long."""

_RED, _BOLD, _RESET = "\x1b[1;31m", "\x1b[1m", "\x1b[0m"


def data(text: str) -> None:
    """Write a text to stdout and flush it; a terminal never gets its control characters.

    Raises:
        BrokenPipeError: nobody reads any more; `main` then ends quietly.
        MachineError: the disk behind stdout is full, or the like.
    """
    _to_stdout(printable(text) if sys.stdout.isatty() else text)


def json_document(value: Any) -> None:
    """Write the one JSON document of a `--json` verb to stdout; numbers as they are."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, of a file's key: JSON can spell it
        text = json.dumps(value, indent=2, allow_nan=False)
    data(f"{text}\n")


def show(*renderables: "RenderableType") -> None:
    """Write rich tables and texts to stdout, as wide as the terminal."""
    drawn = io.StringIO()  # and not stdout itself, whose failures are ours to explain
    console = rich_console(sys.stdout, drawn)
    for renderable in renderables:
        console.print(renderable)
    text = drawn.getvalue()  # rich's own escapes must pass; whoever made the texts escaped them
    if not sys.stdout.isatty():
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    _to_stdout(text)


def width() -> int:
    """Return the columns that `show` has."""
    return rich_console(sys.stdout).width


def say(line: str = "", *, quiet: bool = False) -> None:
    """Write a line to stderr."""
    if not quiet:
        _to_stderr(f"{printable(_shortened(line))}\n")


@contextlib.contextmanager
def following_log(quiet: bool) -> Iterator[None]:
    """Write what the modules below log (a download, a damaged cache) to stderr, unless `quiet`."""
    log, said = logging.getLogger("tinygpt"), _Said()
    log.addHandler(said)
    log.setLevel(logging.ERROR if quiet else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(said)
        log.setLevel(logging.NOTSET)


def next_commands(*commands: str, quiet: bool = False) -> None:
    """Tell on stderr what to run next."""
    for i, command in enumerate(commands):
        say(f"{'next:' if i == 0 else '     '} {command}", quiet=quiet)


def emphasise(text: str) -> None:
    """Write a text to stderr in bold, without a newline."""
    bold = _has_colour(sys.stderr)
    _to_stderr(f"{_BOLD}{printable(text)}{_RESET}" if bold else printable(text))


def error(message: str) -> None:
    """Write the one red line by which a verb ends."""
    line = " ".join(printable(_shortened(message)).split())
    head = f"{_RED}error:{_RESET}" if _has_colour(sys.stderr) else "error:"
    _to_stderr(f"{head} {line}\n")


def short_json(value: object) -> str:
    """Return a value as JSON shows it, shortened, for a table."""
    text = json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")


def size(n_bytes: float) -> str:
    """Write a number of bytes as 3.1 MiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024 or unit == "GiB":
            break
        n_bytes /= 1024
    return f"{n_bytes:,.0f} bytes" if unit == "bytes" else f"{n_bytes:,.1f} {unit}"


def word(text: str) -> str:
    """Quote a text as one word of a shell command."""
    return shlex.quote(printable(text))


def refuse_unwritable(*paths: Path | None) -> None:
    """Refuse, before the work is done, a place where a report can't be written; None is passed by.

    Raises:
        MachineError: a folder, a missing parent, or one without permission.
    """
    for path in paths:
        if path is None:
            continue
        reason = None
        if path.is_dir():
            reason = "it is a folder"
        elif not path.parent.is_dir():
            reason = f"{path.parent} is not a folder"
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            reason = "permission denied"
        if reason is not None:
            raise MachineError(f"{path} can't be written: {reason}; choose another place")


def write_file(path: Path, text: str) -> None:
    """Write a report where the user asked for it.

    Raises:
        MachineError: the file can't be written.
    """
    try:
        path.write_text(text, "utf-8")
    except OSError as problem:
        raise MachineError(
            f"{path} can't be written: {problem.strerror or problem}; choose another place"
        ) from None


def is_live(stream: TextIO) -> bool:
    """Tell whether a person looks at a stream on a terminal that can move the cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def rich_console(stream: TextIO, file: TextIO | None = None) -> "Console":
    """Make a rich console that writes to `file` (else the stream) what suits the stream.

    In a pipe that is plain text of a fixed width.
    """
    from rich.console import Console

    live = is_live(stream)
    wide = os.environ.get("COLUMNS", "")
    return Console(
        file=file or stream,
        force_terminal=live,
        force_interactive=live,
        highlight=False,
        soft_wrap=False,
        width=None if stream.isatty() or wide.isdecimal() else PIPE_WIDTH,
    )


class _Said(logging.Handler):
    """Says what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        say(record.getMessage())


def _shortened(line: str) -> str:
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}..."


def _has_colour(stream: TextIO) -> bool:
    return is_live(stream) and not os.environ.get("NO_COLOR")


def _to_stdout(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise MachineError(
            f"stdout can't be written: {problem.strerror or problem}; redirect it elsewhere"
        ) from None


def _to_stderr(text: str) -> None:
    # A log whose reader is gone or whose disk is full must not stop a run that could be saved;
    # nor a signal that comes in the middle of a write (RuntimeError: reentrant call).
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        sys.stderr.write(text)
        sys.stderr.flush()
