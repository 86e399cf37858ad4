"""Ctrl-C and SIGTERM during long work: the first asks for an orderly end, the second ends it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tinygpt.cli import console

__all__ = ["Stop", "stoppable"]

_WORDS = "stopping as soon as all is safe; once more ends at once, without saving"


class Stop:
    """Callable that tells a run whether to stop."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Return True once a signal has come."""
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 0 without a signal."""
        return 0 if self.signal_number is None else 128 + self.signal_number


@contextmanager
def stoppable(words: str = _WORDS) -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM inside the block and give the flag that they set.

    Args:
        words: what is said at the first one.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # Python allows it only there
        yield stop
        return

    def asked(number: int, frame: object) -> None:
        if stop():
            raise SystemExit(128 + number)
        stop.signal_number = number
        console.say(words)

    before = {n: signal.signal(n, asked) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
