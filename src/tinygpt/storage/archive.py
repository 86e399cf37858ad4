"""Package archives: fetched by pip, and chosen files read out of them.

pip runs as a subprocess, so the user's own index, proxy and certificates apply. Nothing is
unpacked: paths in an archive are only names.
"""

import importlib.util
import re
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from tinygpt.errors import MachineError
from tinygpt.storage.network import MAX_DOWNLOAD_S

__all__ = ["fetch_archive", "has_pip", "read_members"]


def has_pip() -> bool:
    """Tell whether this Python can run pip."""
    return bool(sys.executable) and importlib.util.find_spec("pip") is not None


def fetch_archive(requirement: str, sha256: str, work: Path) -> Path:
    """Let pip fetch one archive; return its path inside `work`.

    Args:
        requirement: "name==version".
        sha256: of the archive; pip checks it before it runs anything of a source archive.

    Raises:
        MachineError: no pip, or what pip complains of.
    """
    if not has_pip():
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
        try:
            done = subprocess.run(
                command + way,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=MAX_DOWNLOAD_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MachineError(f"pip took longer than {MAX_DOWNLOAD_S:.0f} s") from None
        if done.returncode == 0:
            return next((work / "archive").iterdir())
        output = done.stdout.decode("utf-8", errors="replace")
        if "Preparing metadata" not in output and "Getting requirements" not in output:
            break  # pip never got the archive: another way will not help
    raise MachineError(f"pip says: {_last_complaint(output)}")


def read_members(
    archive: Path, members: Callable[[str], str | None], max_bytes: int
) -> dict[str, bytes]:
    """Read the chosen members; refuse whatever is no plain file under a plain name.

    Args:
        archive: a wheel (zip) or a source archive (tar.gz).
        members: given a member's path, the name to keep it under, or None to leave it.
        max_bytes: of all chosen members together.

    Returns:
        Name -> contents, at least one.

    Raises:
        MachineError: a chosen member is a link, leaves the archive, or is too large.
    """
    files: dict[str, bytes] = {}
    room = max_bytes
    for member, is_file, size, read in _members(archive):
        name = members(member)
        if name is None:
            continue
        path = PurePosixPath(member)
        if not is_file or path.is_absolute() or ".." in path.parts or "\\" in member:
            raise MachineError(f"{member!r} in {archive.name} is not a plain file of the archive")
        if name in files or name in ("", ".", "..") or set(name) & set("/\\:\0"):
            raise MachineError(f"{member!r} in {archive.name} can't be called {name!r}")
        if size > room:
            raise MachineError(f"{member!r} in {archive.name} makes more than {max_bytes:,} bytes")
        files[name] = read()
        room -= size
    if not files:
        raise MachineError(f"{archive.name} holds none of the files that were looked for")
    return files


def _members(archive: Path) -> Iterator[tuple[str, bool, int, Callable[[], bytes]]]:
    """Yield (path, whether a plain file, size in bytes, how to read it) for each member."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                is_file = not info.is_dir() and kind in (0, stat.S_IFREG)
                yield info.filename, is_file, info.file_size, partial(wheel.read, info)
    else:
        with tarfile.open(archive, mode="r:gz") as source:
            for item in source:
                yield item.name, item.isreg(), item.size, partial(_read_item, source, item)


def _read_item(source: tarfile.TarFile, item: tarfile.TarInfo) -> bytes:
    stream = source.extractfile(item)
    assert stream is not None  # only plain files are read
    return stream.read()


def _last_complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # A silent index is only a warning to pip, which then claims that there is no such package.
    broken = re.findall(r"connection broken by .*|Could not fetch URL .*", output)
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (broken or errors or lines or ["nothing"])[-1][:300]
