"""One process at a time trains a run: run.lock says which one, and since when.

The kernel's lock (flock) goes with the process, however it ends. A file system may lack it or keep
it to one machine, as some network ones do; so the owner also touches the file every few seconds,
and where flock is missing a second file that only one can create stands for it.
"""

import contextlib
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tinygpt.errors import CheckpointError, MachineError

__all__ = ["LOCK", "holder", "is_alive", "locked", "refuse_held"]

LOCK = "run.lock"
_CLAIM = "run.claim"

BEAT_S, SILENT_S = 10.0, 60.0
"""How often the owner touches the lock, and after which silence it counts as dead elsewhere."""

_TRIES, _PAUSE_S = 10, 0.01  # an owner that has just come has not yet written its name
_OWNER = re.compile(r"process (\d+) on (\S+) since \S+")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[str | None]:
    """Hold a run for this process alone.

    Yields:
        A line about the process that held it before, if that one was killed; else None.

    Raises:
        CheckpointError: another process holds it.
        MachineError: the folder can't be written.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{folder / LOCK} can't be written: {error.strerror or error}") from None
    with file, contextlib.ExitStack() as held:
        for attempt in range(_TRIES):
            owner = _held_by(folder, file, held)
            if owner is None:
                break
            if attempt < _TRIES - 1:  # it may be one that only looks
                time.sleep(_PAUSE_S)
        else:
            raise _held(folder, owner)
        before = _read(file)
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {_host()} since {since}\n")
        file.flush()
        held.callback(file.truncate, 0)  # killed, it stays and tells the next one
        held.enter_context(_heart(file))
        yield f"{before} ended without a word; its lock is taken over" if before else None


def holder(folder: Path) -> str | None:
    """Return which process trains a run now, as "process 12 on host since ..."; None if none."""
    owner = None
    with contextlib.suppress(OSError), (folder / LOCK).open(encoding="utf-8") as file:
        for _ in range(_TRIES):
            with contextlib.ExitStack() as held:
                owner = _held_by(folder, file, held, shared=True)
            if owner is None or _OWNER.fullmatch(owner):
                break
            time.sleep(_PAUSE_S)
    return owner


def refuse_held(folder: Path) -> None:
    """Raise CheckpointError if a process trains a run now, before anything long is begun."""
    if owner := holder(folder):
        raise _held(folder, owner)


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine lives; where that can't be asked it may."""
    if os.name != "posix":  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _held_by(
    folder: Path, file: IO[str], held: contextlib.ExitStack, *, shared: bool = False
) -> str | None:
    """Take the lock for as long as `held` lasts; return who has it if it can't be had.

    Args:
        shared: only look; then two that look don't see each other.
    """
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        held.callback(fcntl.flock, file, fcntl.LOCK_UN)
    except BlockingIOError:
        return _read(file) or "another process"
    except (ImportError, OSError):  # no flock here
        return _claimed_by(folder, file, held)
    found = _OWNER.fullmatch(owner := _read(file))
    if found and found[2] != _host() and _silence_s(file) < SILENT_S:
        held.close()
        return owner
    return None


def _claimed_by(folder: Path, file: IO[str], held: contextlib.ExitStack) -> str | None:
    """Do with a file that only one process can create what `_held_by` does with flock."""
    claim = folder / _CLAIM
    found = _OWNER.fullmatch(owner := _read(file))
    if claim.exists():
        is_dead = found and found[2] == _host() and not is_alive(int(found[1]))
        if not is_dead and _silence_s(file) < SILENT_S:
            return owner or "another process"
        aside = claim.with_name(f".{_CLAIM}.{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):  # somebody else was faster
            claim.rename(aside)
            aside.unlink()
    try:
        claim.open("x").close()
    except FileExistsError:
        return owner or "another process"
    held.enter_context(_claimed(folder))
    return None


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Delete the claim in the end, wherever the folder is by then."""
    here = os.open(folder, os.O_RDONLY) if os.name == "posix" else None
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_CLAIM if here is not None else folder / _CLAIM, dir_fd=here)
        if here is not None:
            os.close(here)


def _held(folder: Path, owner: str | None) -> CheckpointError:
    return CheckpointError(
        f"{folder} is being trained by {owner}; wait until it ends, or stop it first"
    )


def _host() -> str:
    return platform.node() or "localhost"


def _silence_s(file: IO[str]) -> float:
    return time.time() - os.fstat(file.fileno()).st_mtime


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()


@contextlib.contextmanager
def _heart(file: IO[str]) -> Iterator[None]:
    """Touch the lock now and then, for machines that can't see this process."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(file.fileno() if os.utime in os.supports_fd else file.name)

    thread = threading.Thread(target=beat, name="run.lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
