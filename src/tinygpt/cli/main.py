"""The command line: one verb, one module of this package, imported when it is called.

`main` is the only place where errors become lines and exit codes: 0 well, 2 what the user can mend,
1 the machine, 130 after Ctrl-C, 143 after SIGTERM. What is not a TinyGPTError is a bug and keeps
its traceback.
"""

import atexit
import contextlib
import errno
import gc
import importlib
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from tinygpt.cli import console
from tinygpt.errors import TinyGPTError, did_you_mean
from tinygpt.version import __version__

__all__ = ["VERBS", "main"]

VERBS = {
    "demo": "Train TinyGPT on Shakespeare, sample from it, compare it with distilgpt2.",
    "train": "Train a new model, or fine-tune one (--from).",
    "resume": "Continue a run exactly where it stopped.",
    "sample": "Write text with a model.",
    "compare": "Put models side by side, in the same units and on the same bytes.",
    "ladder": "Climb from TinyGPT to distilgpt2, one change at a time, each rung measured.",
    "evaluate": "Score a text: bits per byte, perplexity, loss by position.",
    "lens": "Colour a text by the bits that each character costs one model or two.",
    "bench": "Time a model here: prefill and decode speed, memory, start-up.",
    "serve": "Serve models to a page in the browser and to OpenAI's clients.",
    "inspect": "Show parameters, FLOPs and memory by component; needs no weights.",
    "doctor": "Say where each key of a config belongs, and split a mixed one.",
    "convert": "Write a model as a model folder or GGUF file; opens nanoGPT's and minGPT's.",
    "corpus": "Fetch and describe a named corpus.",
}
"""Each verb is a module of this package with a click command called `command`."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk may say at any moment; everywhere else an OSError is a bug."""

_EPILOG = (
    "MODEL is a run folder, a Hugging Face model folder or a hub name such as distilgpt2. "
    'Completion: put  eval "$(_TINYGPT_COMPLETE=bash_source tinygpt)"  into ~/.bashrc '
    "(zsh_source, fish_source for the others)."
)


class _Verbs(click.Group):
    """Finds verbs by the table, so that listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"tinygpt.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest verb for one that does not exist."""
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(
                f'there is no verb "{name}"{did_you_mean(name, VERBS)} (verbs: {", ".join(VERBS)})',
                ctx,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    name="tinygpt",
    invoke_without_command=True,
    epilog=_EPILOG,
    options_metavar="",
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="tinygpt %(version)s")
@click.pass_context
def _group(ctx: click.Context) -> None:
    """One readable Transformer at two scales: train TinyGPT, open distilgpt2, compare them."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: without the program's name; None takes those of the process, which then also
            counts `--minutes` from its own start and obeys SIGTERM.
    """
    started_s = time.monotonic()
    if arguments is None:
        started_s -= _process_age_s()
        atexit.register(gc.freeze)  # to search torch's objects for cycles in the end takes long
        signal.signal(signal.SIGTERM, _terminated)
        _set_up_stdout()
    if "_TINYGPT_COMPLETE" in os.environ:
        _group.main(prog_name="tinygpt")  # click writes the completions and exits
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with _group.make_context("tinygpt", given, obj=started_s) as ctx:
            result = _group.invoke(ctx)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ending:  # --help, --version
        return ending.exit_code
    except click.UsageError as problem:
        return _explain_usage(problem)
    except KeyboardInterrupt:
        console.error("interrupted")
        return 130
    except TinyGPTError as problem:
        console.error(str(problem))
        return problem.exit_code
    except BrokenPipeError:  # whoever read stdout has seen enough
        _forget_stdout()
        return 0
    except OSError as problem:
        if problem.errno not in _DISK_ERRORS:
            raise
        console.error(f"{problem.strerror or problem}: {problem.filename or 'stdout'}")
        return 1
    except (MemoryError, RuntimeError) as problem:
        if not _is_out_of_memory(problem):
            raise
        console.error(f"out of memory ({problem}); try a smaller batch, context or model")
        return 1


def _explain_usage(problem: click.UsageError) -> int:
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        click.echo(problem.format_message(), err=True)
        return problem.exit_code
    message = problem.format_message().rstrip(".")
    if isinstance(problem, click.NoSuchOption):  # in the words of every other suggestion
        near = f'; did you mean "{problem.possibilities[0]}"?' if problem.possibilities else ""
        message = f'there is no option "{problem.option_name}"{near}'
    message += _meant(problem)
    path = problem.ctx.command_path if problem.ctx else "tinygpt"
    console.error(f"{message[:1].lower()}{message[1:]} (help: {path} --help)")
    return problem.exit_code


def _meant(problem: click.UsageError) -> str:
    """Return what an argument too many was probably meant to be, or nothing."""
    said, _, words = problem.message.partition(" (")
    if problem.ctx is None or not said.startswith("Got unexpected extra argument"):
        return ""
    extra, verb, params = words.rstrip(")"), problem.ctx.info_name, problem.ctx.params
    if verb == "train" and not params.get("corpus") and " " not in extra:
        return f"; did you mean --corpus {console.word(extra)}?"
    if verb == "sample":
        model, prompt = (str(params.get(name)) for name in ("model", "prompt"))
        whole = console.word(f"{prompt} {extra}")
        return f"; quote the prompt: tinygpt sample {console.word(model)} {whole}"
    return ""


def _is_out_of_memory(problem: Exception) -> bool:
    # torch's own class is not imported for this; on the CPU it is a plain RuntimeError.
    words = ("can't allocate memory", "not enough memory", "out of memory")
    named = type(problem).__name__ in ("MemoryError", "OutOfMemoryError")
    return named or any(word in str(problem) for word in words)


def _terminated(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)  # unwinds, so that temporary files go away


def _process_age_s() -> float:
    """Return the seconds since the process began, where the system tells, else 0."""
    try:
        fields = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
        began_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - began_s
    except (OSError, ValueError, AttributeError, IndexError):
        return 0.0
    return age_s if 0 < age_s < 60 else 0.0


def _set_up_stdout() -> None:
    """Write UTF-8 into files and pipes, whatever the locale; a terminal says what it can show."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8")


def _forget_stdout() -> None:
    """Let what Python flushes at its end go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
