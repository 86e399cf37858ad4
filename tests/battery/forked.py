"""The command line in a forked process that has imported torch already: a kill costs a second.

`Forks.start` gives a process to signal, kill and wait for; what it wrote is in files, so that it
is there after a SIGKILL too.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PRELOADED = [
    "pytest",
    "torch",
    "torch.utils.serialization",
    "tinygpt.cli.follow",
    "tinygpt.cli.resume",
    "tinygpt.cli.train",
    "tinygpt.resuming",
    "tinygpt.training",
]
PATIENCE_S = 120.0
"""A process that takes longer has hung, and the test fails."""


@dataclass
class Fork:
    """A forked command line."""

    process: multiprocessing.process.BaseProcess
    output: Path
    """Its stderr and stdout, in one file."""
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
        cwd: Path | None = None,
    ) -> Fork:
        """Start `tinygpt ARGUMENTS`.

        Args:
            environment: variables on top of the test's own.
            largest_file: bytes that any file may reach (RLIMIT_FSIZE): a full disk.
            as_user: without root's right to write where nobody may.
            cwd: where it works; None takes the folder of the test.
        """
        self._n += 1
        output = self.folder / f"output-{self._n}.txt"
        process = self._context.Process(
            target=_run,
            args=(
                list(arguments),
                str(cwd or self.folder),
                str(output),
                {**os.environ, **(environment or {})},
                largest_file,
                as_user,
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
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    if as_user:
        _drop_capabilities()
    from tinygpt import cli

    signal.signal(signal.SIGTERM, cli._terminated)  # what `main` does in a process of its own
    code = cli.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _drop_capabilities() -> None:
    """Make root obey the permissions of files."""
    version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(version_3, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")
