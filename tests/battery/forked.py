"""The command line in a forked process that has imported torch already: a kill costs a second.

`Forks.start` gives a process to signal, kill and wait for; what it wrote is in files, so that it
is there after a SIGKILL too.
"""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PRELOADED = [
    "pytest",
    "torch",
    "torch.utils.serialization",
    "tinygpt.cli.follow",
    "tinygpt.cli.commands.resume",
    "tinygpt.cli.commands.train",
    "tinygpt.training.resume",
    "tinygpt.training.train",
]
PATIENCE_S = 120.0
"""A process that takes longer has hung, and the test fails."""


@dataclass
class Fork:
    """A forked command line."""

    process: multiprocessing.process.BaseProcess
    output: Path
    """Its stderr and stdout, in one file that appears just before the command line begins."""
    started_s: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""

    def signal(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; one that is gone already does not mind."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self) -> int:
        """Return its exit code: 137 after SIGKILL, as a shell has it."""
        self.process.join(PATIENCE_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"hung for {PATIENCE_S:.0f} s; it said: {self.text[-2000:]}")
        code = self.process.exitcode
        return 128 - code if code < 0 else code

    def wait_for(self, path: Path) -> None:
        """Wait until a file or folder is there, or the process has ended."""
        while not path.exists() and self.process.is_alive():
            time.sleep(0.002)

    def says(self, words: str) -> bool:
        """Wait until it has written these words; return False if it ends without them."""
        while words not in self.text:
            if not self.process.is_alive():
                return words in self.text
            time.sleep(0.002)
        return True


class Forks:
    """Starts command lines in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._n = folder, 0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        largest_file: int | None = None,
        as_user: bool = False,
        small_disk: tuple[Path, str] | None = None,
        fill_it: bool = False,
    ) -> Fork:
        """Start `tinygpt ARGUMENTS`.

        Args:
            environment: variables on top of the test's own.
            largest_file: bytes that any file may reach (RLIMIT_FSIZE): a full disk.
            as_user: without root's right to write where nobody may.
            small_disk: a folder that becomes a disk of its own, of such a size; at the end its
                contents are copied to FOLDER.copy. Where that is not allowed, the output says
                "no small disk".
            fill_it: fill that disk as soon as the run has begun.
        """
        self._n += 1
        output = self.folder / f"output-{self._n}.txt"
        process = self._context.Process(
            target=_run,
            args=(
                list(arguments),
                str(self.folder),
                str(output),
                {**os.environ, **(environment or {})},
                largest_file,
                as_user,
                small_disk,
                fill_it,
            ),
            daemon=True,
        )
        process.start()
        return Fork(process, output)

    def run(self, arguments: Sequence[str], **options: object) -> tuple[int, str]:
        """Run `tinygpt ARGUMENTS` to its end and return its exit code and output."""
        fork = self.start(arguments, **options)  # type: ignore[arg-type]
        return fork.wait(), fork.text


def _run(
    arguments: list[str],
    cwd: str,
    output: str,
    environment: dict[str, str],
    largest_file: int | None,
    as_user: bool,
    small_disk: tuple[Path, str] | None,
    fill_it: bool,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    if as_user:
        _drop_capabilities()
    from tinygpt.cli import main as cli

    signal.signal(signal.SIGTERM, cli._terminated)  # what `main` does in a process of its own
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))
    if small_disk is not None:
        _mount(*small_disk)
    if fill_it:
        threading.Thread(target=_fill, args=(small_disk[0],), daemon=True).start()
    code = cli.main(arguments)
    if small_disk is not None:
        shutil.copytree(small_disk[0], f"{small_disk[0]}.copy")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # too late to end it with anything but its code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _drop_capabilities() -> None:
    """Make root obey the permissions of files."""
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(version_3, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _mount(folder: Path, size: str) -> None:
    """Put a disk of that size there, for this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    user = (os.getuid(), os.getgid())
    new_user, new_mounts = 0x10000000, 0x00020000
    if libc.unshare(new_mounts if user[0] == 0 else new_user | new_mounts) == 0:
        if user[0] != 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user[0]} 1")
            Path("/proc/self/gid_map").write_text(f"0 {user[1]} 1")
        private = 1 << 18 | 1 << 14  # MS_PRIVATE, MS_REC
        libc.mount(b"none", b"/", None, private, None)
        if libc.mount(b"none", bytes(folder), b"tmpfs", 0, f"size={size}".encode()) == 0:
            return
    sys.stderr.write(f"no small disk: {os.strerror(ctypes.get_errno())}\n")
    sys.stderr.flush()
    os._exit(3)


def _fill(folder: Path) -> None:
    """Fill a disk to the last byte once a checkpoint of a run there follows the first one."""
    while len(list(folder.glob("*/checkpoints/step-*"))) < 2:
        time.sleep(0.001)
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        for n in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(n))
