"""The command line as a whole: verbs, options, exit codes, and what goes to which stream."""

import dataclasses
import errno
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from tinygpt.cli import console, options, shared_options
from tinygpt.cli.main import VERBS, _group, main
from tinygpt.cli.signals import stoppable
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import OptimConfig, TrainConfig
from tinygpt.errors import ConfigError, MachineError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def corpus_fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `corpus show` fail with an exception: a verb without torch."""

    def fail(problem: BaseException) -> None:
        def load_corpus(*_: object, **__: object) -> None:
            raise problem

        monkeypatch.setattr("tinygpt.data.corpora.load_corpus", load_corpus)

    return fail


def run_verb(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", *arguments], capture_output=True, text=True, check=False
    )


# --- verbs


def test_the_table_of_verbs_is_the_modules() -> None:
    folder = Path(importlib.import_module("tinygpt.cli.commands").__file__ or "").parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == set(VERBS)
    for name in VERBS:
        assert isinstance(
            importlib.import_module(f"tinygpt.cli.commands.{name}").command, click.Command
        )


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in VERBS:
        assert f"  {name} " in out
    assert "_TINYGPT_COMPLETE" in out
    assert main([]) == 0
    assert capsys.readouterr().out == out


def test_help_of_every_verb_needs_no_torch_and_little_time() -> None:
    code = f"""
import sys, time
from tinygpt.cli.main import _group, main
assert main(["--help"]) == 0
seconds = time.process_time()  # since the start of the interpreter
for verb in {list(VERBS)}:
    assert main([verb, "--help"]) == 0
heavy = {{"torch", "numpy", "rich", "huggingface_hub", "tokenizers"}} & set(sys.modules)
print("heavy:", sorted(heavy), file=sys.stderr)
print(seconds, file=sys.stderr)
"""
    done = run_verb(code)
    assert done.returncode == 0, done.stderr
    heavy, seconds = done.stderr.splitlines()[-2:]
    assert heavy == "heavy: []"
    assert float(seconds) < 0.3


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "tinygpt 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], 'there is no verb "trian"; did you mean "train"?'),
        (["train", "--minuts", "3"], 'there is no option "--minuts"; did you mean "--minutes"?'),
        (["train", "--n-layer", "two"], "'two' is not a valid integer"),
        (["sample"], "missing argument 'MODEL'"),
        (["--qwxz"], 'there is no option "--qwxz" (help: tinygpt --help)'),
        (["train", "--corpus", "a", "b"], "extra argument (b) (help: tinygpt train"),
        (["train", "my own.txt", "more"], "extra arguments (my own.txt more) (help: tinygpt train"),
        (["train", "my.txt"], "(my.txt); did you mean --corpus my.txt? (help: tinygpt train"),
        (["train", "--config"], "'--config' requires an argument (help: tinygpt train --help)"),
        (
            ["sample", "runs/a", "hello", "my", "world"],
            "quote the prompt: tinygpt sample runs/a 'hello my world' (help: tinygpt sample --help",
        ),
        (["bench", "a", "b"], "extra argument (b) (help: tinygpt bench --help)"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert message in streams.err
    assert len(streams.err.splitlines()) == 1


# --- exit codes


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (ConfigError("bad\nsetting \x1b[31m"), 2, r"error: bad setting \x1b[31m"),
        (MachineError("disk full"), 1, "error: disk full"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (MemoryError("9 GiB"), 1, "error: out of memory (9 GiB)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "error: out of memory"),
        (OSError(errno.ENOSPC, "No space", "x"), 1, "error: No space: x"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_exit_codes(
    problem: BaseException,
    code: int,
    line: str,
    corpus_fails: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus_fails(problem)
    assert main(["corpus", "show", "python-docs"]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith(line)
    assert len(streams.err.splitlines()) == bool(line)


@pytest.mark.parametrize("problem", [KeyError("x"), RuntimeError("a bug"), OSError("a bug")])
def test_a_bug_keeps_its_traceback(
    problem: Exception, corpus_fails: Callable[[BaseException], None]
) -> None:
    corpus_fails(problem)
    with pytest.raises(type(problem), match=str(problem)):
        main(["corpus", "show", "python-docs"])


def test_a_reader_that_goes_away_ends_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tinygpt", "corpus", "show", "python-docs", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


# --- streams


def test_a_terminal_gets_no_control_characters_and_a_pipe_gets_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "a\x1b[31m\tb\r\n\x9b\u202e"
    for stream, expected in (
        (Terminal(), "a\\x1b[31m\tb\\r\n\\x9b\\u202e"),
        (io.StringIO(), text),
    ):
        monkeypatch.setattr(sys, "stdout", stream)
        console.data(text)
        assert stream.getvalue() == expected


def test_colour_only_where_a_terminal_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def written(stream: io.StringIO, **variables: str) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        console.error("no")
        return stream.getvalue()

    assert written(Terminal()) == "\x1b[1;31merror:\x1b[0m no\n"
    assert written(Terminal(), NO_COLOR="1") == "error: no\n"
    assert written(Terminal(), TERM="dumb") == "error: no\n"
    assert written(io.StringIO()) == "error: no\n"


def test_a_full_disk_behind_stdout_is_the_machines_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(MachineError, match="No space left"):
        console.data("x")
    with pytest.raises(MachineError, match="No space left"):
        console.show("x")


def test_stderr_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    console.say("a line of a log")
    console.error("no")


def test_tables_in_a_pipe_have_a_fixed_width_and_no_trailing_blanks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console.show("word " * 50)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 99  # 20 words, and no blank after the last
    assert lines == [line.rstrip() for line in lines]
    monkeypatch.setenv("COLUMNS", "40")
    console.show("word " * 50)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 39


def test_a_document_is_json_and_never_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.json_document({"é": [1.5, None]})
    assert json.loads(capsys.readouterr().out) == {"é": [1.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.json_document(float("nan"))


def test_sizes_words_and_files(tmp_path: Path) -> None:
    assert [console.size(n) for n in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == [
        "0 bytes",
        "1,023 bytes",
        "1.0 KiB",
        "5.0 MiB",
        "3,072.0 GiB",
    ]
    assert console.word("runs/a b") == "'runs/a b'"
    console.write_file(tmp_path / "a.md", "text")
    assert (tmp_path / "a.md").read_text("utf-8") == "text"
    with pytest.raises(MachineError, match="can't be written"):
        console.write_file(tmp_path / "none" / "a.md", "text")


# --- options


def probe(*arguments: str, classes: tuple[type, ...]) -> options.Flags:
    """Return the flags that a verb with the options of some classes gets."""
    found: list[options.Flags] = []

    @click.command(cls=options.Verb)
    @options.add(*classes, defaults=(PRESETS["tinygpt"],))
    def verb(flags: options.Flags) -> None:
        found.append(flags)

    verb.main(list(arguments), standalone_mode=False)
    return found[0]


@pytest.mark.parametrize("cls", [TrainConfig, OptimConfig, GenerationConfig, ModelConfig])
def test_every_field_has_its_option(cls: type, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command(cls=options.Verb)
    @options.add(cls, defaults=(PRESETS["tinygpt"],))
    def verb(flags: options.Flags) -> None: ...

    verb.main(["--help"], standalone_mode=False)
    out = capsys.readouterr().out
    for field in dataclasses.fields(cls):
        name = options.flag_name(field.name)
        assert f"{name} " in out
    assert f"{cls.__name__.removesuffix('Config')} settings:" in out


def test_flags_are_only_what_was_given_with_its_type() -> None:
    assert probe(classes=(TrainConfig, OptimConfig)) == {TrainConfig: {}, OptimConfig: {}}
    default = TrainConfig().batch_size
    given = ["--minutes", "2", "--beta1", "0.5", "--save-every", "null"]
    assert probe(*given, f"--batch-size={default}", classes=(TrainConfig, OptimConfig)) == {
        TrainConfig: {"minutes": 2.0, "save_every": None, "batch_size": default},
        OptimConfig: {"beta1": 0.5},
    }
    assert probe("--no-tie-word-embeddings", classes=(ModelConfig,)) == {
        ModelConfig: {"tie_word_embeddings": False}
    }
    flags = probe("--stop", "a", "--stop", "b", "--top-k", "none", classes=(GenerationConfig,))
    assert flags[GenerationConfig] == {"stop_strings": ("a", "b"), "top_k": None}


def test_an_optional_number_is_still_a_number() -> None:
    with pytest.raises(click.BadParameter, match="'x' is not a valid float"):
        probe("--minutes", "x", classes=(TrainConfig,))


def test_help_shows_meaning_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    n_evals = TrainConfig().n_evals
    assert f"measured on the way, evenly over the budget. [default: {n_evals}]" in out
    assert "[default: None]" not in out
    assert "Number of Transformer blocks. [default: 4]" in out  # of the preset
    assert "--minutes FLOAT|null" in out
    assert "--eos-token-id" not in out  # follows from the tokenizer


@pytest.mark.parametrize(("text", "count"), [("all", None), ("1", 1), ("32768", 32768)])
def test_byte_count(text: str, count: int | None) -> None:
    assert shared_options.byte_count(text) == count


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "ALL!"])
def test_byte_count_refuses(text: str) -> None:
    with pytest.raises(ConfigError, match="1 or more, or all"):
        shared_options.byte_count(text)


# --- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks_and_the_second_ends(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with stoppable() as stop:
        assert not stop()
        assert stop.exit_code == 0
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.exit_code == code
        assert "once more ends at once" in capsys.readouterr().err
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), number)
        assert ended.value.code == code
    assert signal.getsignal(number) is before


def test_the_budget_counts_from_the_start_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own start and the imports are part of the minutes that were asked for."""
    seen = []

    @click.command()
    @click.pass_obj
    def verb(started_s: float) -> None:
        seen.append(time.monotonic() - started_s)

    cli = importlib.import_module("tinygpt.cli.main")
    module = importlib.import_module("tinygpt.cli.commands.demo")
    monkeypatch.setattr(module, "command", verb)
    monkeypatch.setattr(cli, "_process_age_s", lambda: 7.0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli, "_set_up_stdout", lambda: None)
    monkeypatch.setattr(sys, "argv", ["tinygpt", "demo"])
    assert main() == 0
    assert main(["demo"]) == 0  # called from Python: the call is the start
    assert 7.0 <= seen[0] < 8.0
    assert seen[1] < 1.0


@pytest.mark.parametrize(
    ("before", "begun", "names", "paths"),
    [
        (["sample"], "dis", ["distilgpt2"], True),
        (["compare", "runs/a"], "runs/", [], True),
        (["train", "--corpus"], "sh", ["shakespeare"], True),
        (["train", "--config"], "runs", [], True),
        (["train", "--tokenizer"], "b", ["byte", "bpe"], False),
        (["resume"], "runs/", [], True),
        (["evaluate", "runs/a", "--text"], "p", ["python-docs"], True),
        (["convert"], "ckpt", [], True),
    ],
)
def test_a_shell_completes_names_and_places(
    before: list[str], begun: str, names: list[str], paths: bool
) -> None:
    completer = ShellComplete(_group, {}, "tinygpt", "_TINYGPT_COMPLETE")
    found = completer.get_completions(before, begun)
    assert [item.value for item in found if item.type == "plain"] == names
    assert any(item.type == "file" for item in found) == paths
