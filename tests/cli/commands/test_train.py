"""train and resume on the command line: settings, streams, signals, repetition."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinygpt.cli.main import main
from tinygpt.cli.signals import Stop
from tinygpt.runs.events import Evaluated, Saved, Step

TINY = ["--n-layer=1", "--n-embd=8", "--n-head=2", "--n-positions=8", "--block-size=8"]
TINY += ["--batch-size=2", "--n-evals=2", "--eval-tokens=32", "--threads=1"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "".join(f"{i}. To be, or not to be: that is the question.\n" for i in range(60))
    (tmp_path / "my.txt").write_text(text, "utf-8")


def train(*arguments: str, steps: int = 3, out: str = "runs/a") -> int:
    budget = ["--max-steps", str(steps)] if steps else []
    return main(["train", "--corpus", "my.txt", "--out", out, *TINY, *budget, *arguments])


def recipe(folder: str = "runs/a") -> dict[str, dict[str, object]]:
    return json.loads((Path(folder) / "training.json").read_text("utf-8"))


def weights(folder: str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def test_train_writes_a_run_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    streams = capsys.readouterr()
    assert streams.out == ""
    for line in (
        "corpus  my.txt, 2,",
        "model   1,",
        "tokens  vocabulary 28, context 8",
        "device  cpu",
        "budget  3 steps; 2 windows of 8 tokens a step",
        "run     runs/a",
        "step 0  val_loss ",
        "step 3  val_loss ",
        "bits per byte on the held-out text, 32 KiB at most",
        "saved in runs/a",
        "next: tinygpt sample runs/a '0. To be, or not to be",
        "tinygpt compare runs/a distilgpt2",
        "tinygpt serve runs/a   # in a browser",
    ):
        assert line in streams.err
    config = json.loads(Path("runs/a/config.json").read_text("utf-8"))
    assert (config["n_layer"], config["n_embd"], config["vocab_size"]) == (1, 8, 28)
    assert recipe()["train"]["max_steps"] == 3


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_without_a_budget_it_is_one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def fake(model_config, train_config, corpus, **arguments):
        seen.update(arguments, minutes=train_config.minutes)
        yield Saved(step=0, tokens=0, elapsed_s=1.0, path=Path("runs/a"), final=True, reason="end")

    monkeypatch.setattr("tinygpt.training.train.train", fake)
    before_s = time.monotonic()
    assert train(steps=0) == 0
    assert seen["minutes"] == 1.0
    assert before_s <= seen["started_s"] <= time.monotonic()  # the budget counts from main


def test_flags_go_before_a_toml_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.toml").write_text(
        "[train]\nmax_steps = 900\nseed = 5\n[optim]\nbeta1 = 0.8\n[model]\nn_layer = 7\n", "utf-8"
    )
    assert train("--config", "a.toml", "--dropout", "0.2", "--embd-pdrop", "0.1") == 0
    saved = recipe()
    assert saved["train"]["max_steps"] == 3
    assert saved["train"]["seed"] == 5
    assert saved["optim"]["beta1"] == 0.8
    config = json.loads(Path("runs/a/config.json").read_text("utf-8"))
    assert config["n_layer"] == 1
    dropout = [config[f"{place}_pdrop"] for place in ("resid", "embd", "attn")]
    assert dropout == [0.2, 0.1, 0.2]


def test_config_run_repeats_the_run_bit_for_bit() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        assert train("--seed", "3", "--quiet", "--threads", "2") == 0
        torch.set_num_threads(1)  # what the repeated run began with counts, not what holds now
        assert main(["train", "--config", "runs/a", "--out", "runs/b", "-q"]) == 0
        recorded = json.loads(Path("runs/b/environment.json").read_text("utf-8"))
        assert recorded["threads"] == min(2, os.cpu_count() or 1)
    finally:
        torch.set_num_threads(before)
    assert weights("runs/b") == weights("runs/a")
    other = ["train", "--config", "a", "--seed", "4", "--out", "runs/c", "--threads", "1", "-q"]
    assert main(other) == 0
    assert weights("runs/c") != weights("runs/a")
    changed = Path("my.txt").read_text("utf-8") + "more"
    Path("my.txt").write_text(changed, "utf-8")
    assert main(["train", "--config", "runs/a", "--out", "runs/d"]) == 2  # another text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "1"], "give one budget, not two"),
        (["--n-head", "3"], "n_embd=8 is not divisible by n_head=3"),
        (["--tokenizer", "cahr"], 'did you mean "char"?'),
        (["--tokenizer", "byte", "--vocab-size", "300"], 'tokenizer "byte" makes it 256; leave'),
        (["--tokenizer", "bpe", "--vocab-size", "255"], "it must be at least 256"),
        (["--block-size", "9"], "block_size=9 is longer than the model's n_positions=8"),
        (["--corpus", "none.txt"], "neither a named corpus nor a file"),
        (["--device", "cdua"], 'did you mean "cuda"?'),
        (["--from", "runs/x"], "fine-tuning runs/x keeps its architecture"),
        (["--config", "none.toml"], 'config "none.toml" does not exist; give a TOML file'),
        (["--learning-rate", "nan"], "learning_rate=nan is not allowed"),
    ],
)
def test_what_can_be_mended_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1]
    assert not Path("runs/a").exists()


def test_vocab_size_in_a_file_must_be_the_tokenizers(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.toml").write_text("[model]\nvocab_size = 65\n", "utf-8")
    assert train("--config", "a.toml") == 2
    assert 'vocab_size=65 was given, but tokenizer "char" makes it 28' in capsys.readouterr().err


def test_a_bpe_is_trained_in_the_size_asked_for_and_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("--tokenizer", "bpe", "--vocab-size", "270") == 0
    assert "tokens  vocabulary 270, context 8" in capsys.readouterr().err
    assert main(["train", "--config", "runs/a", "--out", "runs/b", "-q"]) == 0
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "config.json"):
        assert Path("runs/a", name).read_bytes() == Path("runs/b", name).read_bytes()
    assert weights("runs/b") == weights("runs/a")
    assert recipe("runs/b")["tokenizer"] == {"tokenizer": "bpe"}


def test_a_bpe_has_1024_tokens_unless_another_size_is_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("--tokenizer", "bpe") == 2  # more than this text gives
    assert "vocab_size=1024 is more than the training text gives" in capsys.readouterr().err


def test_a_byte_model_is_shown_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.txt").write_text("é to be, or not to be\n" * 60, "utf-8")
    assert train("--tokenizer", "byte", "--vocab-size", "256", "-q") == 0
    assert "| vocabulary | 256 bytes |" in Path("runs/a/README.md").read_text("utf-8")
    assert train("--quiet", out="runs/char") == 0
    Path("text.txt").write_text("é\né to be\n", "utf-8")
    assert main(["compare", "runs/a", "runs/char", "--text", "text.txt", "--json", "-q"]) == 0
    byte, char = json.loads(capsys.readouterr().out)["models"]
    assert (byte["tokenization"], char["tokenization"]) == ("raw bytes", "raw characters")
    assert byte["first_tokens"][:3] == ["\\xc3", "\\xa9", " "]
    assert byte["bytes_per_token"] == 1.0


def test_an_existing_run_is_refused_before_anything_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("runs/a").mkdir(parents=True)
    assert train("--corpus", "none.txt") == 2
    assert "runs/a exists already" in capsys.readouterr().err


def test_fine_tuning_takes_a_small_learning_rate() -> None:
    assert train("--quiet") == 0
    tune = ["train", "--from", "runs/a", "--corpus", "my.txt", "--block-size", "8", "-q"]
    assert main([*tune, "--max-steps", "2", "--out", "runs/b", "--warmup-steps", "0"]) == 0
    assert recipe("runs/b")["from"] == str(Path("runs/a").resolve())
    assert recipe("runs/b")["optim"]["learning_rate"] == 5e-5
    assert recipe("runs/b")["optim"]["warmup_steps"] == 0
    assert main(["train", "--config", "runs/b", "--out", "runs/c", "-q"]) == 0
    assert weights("runs/c") == weights("runs/b")


# --- signals and resumption


class StopsSoon(Stop):
    """As if Ctrl-C came after a while."""

    n_calls = 0

    def __call__(self) -> bool:
        StopsSoon.n_calls += 1
        if StopsSoon.n_calls == 8:
            self.signal_number = signal.SIGINT
        return super().__call__()


def test_an_interrupted_run_resumes_to_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--quiet", steps=12, out="runs/whole") == 0
    with monkeypatch.context() as patched:
        patched.setattr("tinygpt.cli.signals.Stop", StopsSoon)
        assert train("--quiet", steps=12) == 130
    err = capsys.readouterr().err
    assert "and saved; go on with: tinygpt resume runs/a" in err  # even if quiet
    assert main(["resume", "a"]) == 0  # by its name in runs/
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "going on from step " in streams.err
    assert "next: tinygpt sample runs/a" in streams.err
    assert weights("runs/a") == weights("runs/whole")
    assert main(["resume", "runs/a"]) == 2
    assert "is complete (12 steps)" in capsys.readouterr().err


def test_resume_needs_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert main(["resume", "empty"]) == 2
    assert "empty is not a run folder" in capsys.readouterr().err
    assert train("-q", out="runs/mine") == 0
    assert main(["resume", "mime"]) == 2
    assert 'mime does not exist; did you mean "runs/mine"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--block-size", "9"],
        ["--corpus", "short.txt"],
        ["--tokenizer", "bpe", "--vocab-size", "10"],
    ],
)
def test_what_is_refused_is_not_announced(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("short.txt").write_text("to be", "utf-8")
    assert train(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_a_complete_run_is_not_announced_as_going_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("-q") == 0
    assert main(["resume", "runs/a"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: runs/a is complete (3 steps)")


def test_the_engine_is_said_kept_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--engine", "torch") == 0
    assert "CPU thread(s); steps by torch (as asked)" in capsys.readouterr().err
    assert json.loads(Path("runs/a/environment.json").read_text("utf-8"))["engine"] == "torch"
    assert main(["train", "--config", "runs/a", "--out", "runs/b"]) == 0
    said = capsys.readouterr().err
    assert "steps by torch (as the run began)" in said
    assert "not bit-exact" not in said
    assert weights("runs/b") == weights("runs/a")
    refused = ["--engine", "native", "--dropout", "0.1"]
    assert train(*refused, out="runs/c") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: engine=native can't train this: the native engine has no dropout"
    )
    assert not Path("runs/c").exists()


def test_a_repeated_run_keeps_its_sampling_and_its_devices_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("-q") == 0
    path = Path("runs/a/generation_config.json")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"temperature": 0.3}), "utf-8")
    assert main(["train", "--config", "runs/a", "--out", "runs/b"]) == 0
    assert "device  cpu (as the run began), float32 (as the run began)" in capsys.readouterr().err
    assert json.loads(Path("runs/b/generation_config.json").read_text())["temperature"] == 0.3
    tune = ["train", "--from", "runs/b", "--corpus", "my.txt", "--block-size", "8", "-q"]
    assert main([*tune, "--max-steps", "1", "--out", "runs/c"]) == 0  # as what it starts from
    assert json.loads(Path("runs/c/generation_config.json").read_text())["temperature"] == 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends_the_process(number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "tinygpt", "train", "--corpus", "my.txt", "--out", "runs/a"]
    process = subprocess.Popen(
        [*command, *TINY, "--max-steps", "1000000"], stderr=subprocess.PIPE, text=True
    )
    metrics = Path("runs/a/metrics.jsonl")
    deadline_s = time.monotonic() + 60
    while not (metrics.exists() and '"step"' in metrics.read_text("utf-8")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "go on with: tinygpt resume runs/a" in err
    assert "Traceback" not in err
    assert os.listdir("runs/a/checkpoints")


# --- progress


def events() -> list[object]:
    steps = [
        Step(
            step=i,
            tokens=10 * i,
            elapsed_s=i * 4.0,
            loss=2.0,
            learning_rate=1e-3,
            grad_norm=1.0,
            progress=i / 6,
            train_bits_per_byte=2.885,
            bytes_per_s=2500.0,
            eta_s=100.0 - i,
            last=i == 6,
        )
        for i in range(1, 7)
    ]
    evaluated = Evaluated(
        step=6,
        tokens=60,
        elapsed_s=25.0,
        val_loss=1.5,
        n_tokens=99,
        n_total=99,
        bits_per_byte=2.2,
        final=True,
    )
    return [*steps, evaluated]


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tinygpt.cli.progress import progress_for_training

    given = events()
    assert list(progress_for_training(given)) == given
    lines = capsys.readouterr().err.splitlines()
    assert lines == [  # at 4, 16 seconds: ten or more after the last
        " 17%  step 1  loss 2.000 nats  2.885 bits/byte  2 kB/s  1m39s left",
        " 67%  step 4  loss 2.000 nats  2.885 bits/byte  2 kB/s  1m36s left",
        "step 6  val_loss 1.5000 nats/token (all 99 held-out tokens)",
    ]
    assert list(progress_for_training(given, quiet=True)) == given
    assert capsys.readouterr().err == ""


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from tinygpt.cli.progress import progress_for_training, working

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    for event in progress_for_training(events()):
        if isinstance(event, Evaluated):
            time.sleep(0.3)  # the bar is drawn five times a second
    shown = stream.getvalue()
    assert "100%" in shown
    assert "step 6  evaluating" in shown
    assert "step 6  loss" not in shown
    assert "\x1b[?25h" in shown  # the cursor is back
    assert "step 6  val_loss 1.5000 nats/token" in shown
    with working() as tell:
        tell("reading \x1b[31m", 0.5)
        time.sleep(0.3)
    assert "reading \\x1b[31m" in stream.getvalue()
    assert "-:--:--" in stream.getvalue()  # the time left, not known yet


def test_a_run_that_stops_early_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    from tinygpt.cli.follow import follow

    for reason, said in (("early stopping", True), ("end", False)):
        saved = Saved(
            step=3, tokens=9, elapsed_s=1.0, path=Path("runs/a"), final=True, reason=reason
        )
        assert follow(lambda stop, tell, saved=saved: [saved], quiet=False).exit_code == 0
        line = "stopped early, at step 3: the monitor_loss no longer improved"
        assert (line in capsys.readouterr().err) is said


def test_durations() -> None:
    from tinygpt.cli.progress import duration

    assert [duration(s) for s in (-1, 0.4, 59.4, 59.6, 3599, 3600, 7500)] == [
        "0s",
        "0s",
        "59s",
        "1m00s",
        "59m59s",
        "1h00m",
        "2h05m",
    ]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_diverged_run_ends_in_one_line(steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    """After one step only the evaluation can see it, after two also the loss of the step."""
    assert train("--learning-rate", "1e30", "--warmup-steps", "0", "-q", steps=steps) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: step 1: val_loss (nan) is not finite; lower learning_rate")


def test_a_folder_of_texts_is_trained_on_and_found_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = Path("my.txt").read_text("utf-8")
    (tmp_path / "texts" / "more").mkdir(parents=True)
    (tmp_path / "texts" / "a.txt").write_text(text.rstrip("\n"), "utf-8")
    (tmp_path / "texts" / "more" / "b.txt").write_text(text, "utf-8")
    assert train("--corpus", "texts") == 0
    said = "the folder texts, 2 .txt files, 5,620 bytes, a newline added after 1 of the files"
    assert f"({said})" in capsys.readouterr().err
    assert recipe()["corpus"]["corpus"] == str(tmp_path / "texts")


def test_resume_takes_a_text_that_was_moved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__call__", lambda self: True)
        train()
    Path("my.txt").rename("moved.txt")
    assert main(["resume", "runs/a", "--threads", "1"]) == 2
    assert "`tinygpt resume runs/a --corpus FILE`" in capsys.readouterr().err
    Path("other.txt").write_text("another text", "utf-8")
    assert main(["resume", "runs/a", "--threads", "1", "--corpus", "other.txt"]) == 2
    assert "give the same text" in capsys.readouterr().err
    assert main(["resume", "runs/a", "--threads", "1", "--corpus", "moved.txt"]) == 0


def test_a_signal_ends_the_encoding_of_a_large_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygpt.data.text_files.LARGE_BYTES", 100)

    def asked(self: Stop) -> bool:
        self.signal_number = signal.SIGTERM
        return True

    monkeypatch.setattr(Stop, "__call__", asked)
    with pytest.raises(SystemExit) as ended:
        train()
    assert ended.value.code == 143
    assert not Path("runs/a").exists()
