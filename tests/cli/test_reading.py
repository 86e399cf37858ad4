"""sample, evaluate, inspect and corpus on the command line."""

import hashlib
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinygpt.cli.commands import sample
from tinygpt.cli.main import main

LINES = "".join(f"{i}. To be, or not to be: that is the question.\n" for i in range(60))
MIXED = {
    "vocab_size": 65,
    "block_size": 128,
    "n_layer": 4,
    "n_head": 4,
    "d_model": 128,
    "dropout": 0.1,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "max_iters": 2000,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of three steps on a small text; runs are read here, never written."""
    folder = tmp_path_factory.mktemp("reading")
    (folder / "my.txt").write_text(LINES, "utf-8")
    sizes = "--n-layer 1 --n-embd 8 --n-head 2 --n-positions 8 --block-size 8 --batch-size 2"
    budget = "--max-steps 3 --n-evals 1 --eval-tokens 32 --threads 1 --quiet"
    out = str(folder / "run")
    corpus = str(folder / "my.txt")
    command = ["train", "--corpus", corpus, "--out", out, *sizes.split(), *budget.split()]
    assert main(command) == 0
    return out


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a verb with --json and return the one document on stdout."""

    def read(*arguments: str) -> dict[str, Any]:
        assert main([*arguments, "--json", "--quiet"]) == 0
        streams = capsys.readouterr()
        assert streams.err == ""
        return json.loads(streams.out)

    return read


def write(path: Path, content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, "utf-8")
    return str(path)


# --- sample


def test_sample_writes_the_continuation_and_nothing_else(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = ["--engine", "torch", "--device", "cpu", "--threads", "1"]
    assert main(["sample", run, "To be", "--max-new-tokens", "7", *torch]) == 0
    streams = capsys.readouterr()
    assert len(streams.out) == 8  # seven characters and a newline at the end
    assert streams.err.splitlines() == [
        "engine: torch (cpu, float32, 1 thread): asked for",
        f"next: tinygpt evaluate {run} --text python-docs",
    ]
    assert main(["sample", run, "To be", "--max-new-tokens", "7", "--quiet"]) == 0
    assert capsys.readouterr() == (streams.out, "")  # the same seed, the same text


def test_sample_settings_come_from_flags(run: str, document: Callable[..., dict[str, Any]]) -> None:
    def texts(*arguments: str) -> list[str]:
        found = document("sample", run, "To", "--max-new-tokens", "20", *arguments)
        assert found["prompt"] == "To"
        return [sample["text"] for sample in found["samples"]]

    first, second = texts("--num-samples", "2")
    assert first != second
    assert texts() == [first]
    assert texts("--seed", "1") != [first]
    greedy = texts("--temperature", "0")
    assert greedy == texts("--top-k", "1", "--seed", "7")
    assert texts("--stop", first[3]) == [first[: first.index(first[3])]]


def test_sample_document(run: str, document: Callable[..., dict[str, Any]]) -> None:
    found = document("sample", run, "--num-samples", "2", "--max-new-tokens", "3", "--seed", "5")
    assert [(s["seed"], s["sample_index"], s["n_characters"]) for s in found["samples"]] == [
        (5, 0, 3),
        (5, 1, 3),
    ]


def test_several_samples_have_headings(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", run, "--num-samples", "2", "--max-new-tokens", "0", "-q"]) == 0
    out = capsys.readouterr().out
    assert out == "--- sample 1 (seed 0) ---\n\n--- sample 2 (seed 0) ---\n\n"


def test_sample_reads_a_prompt_from_stdin(
    run: str, document: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"be\n")))
    found = document("sample", run, "-", "--max-new-tokens", "1")
    assert found["prompt"] == "be\n"  # nothing is taken off
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9")))
    assert main(["sample", run, "-"]) == 2


def test_a_prompt_on_stdin_is_taken_whole_or_refused(
    run: str,
    document: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sample, "MAX_PROMPT_BYTES", 4)
    for data in (b"", b"be\n", b"be\n\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert document("sample", run, "-", "--max-new-tokens", "1")["prompt"] == data.decode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"be be")))
    assert main(["sample", run, "-"]) == 2
    assert "longer than 4 bytes; give its end" in capsys.readouterr().err


def test_a_person_is_told_that_the_prompt_is_awaited(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for quiet, told in (([], True), (["--quiet"], False)):
        monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"be")))
        assert main(["sample", run, "-", "--max-new-tokens", "1", *quiet]) == 0
        assert ("Ctrl-D" in capsys.readouterr().err) == told


def test_a_piped_text_that_is_not_read_is_pointed_out(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompt").write_text("be")
    hint = "give - as PROMPT"
    for path, arguments, told in (
        (tmp_path / "prompt", [], True),
        (tmp_path / "prompt", ["To"], False),
        (tmp_path / "prompt", [""], False),
        (Path("/dev/null"), [], False),
    ):
        with path.open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert main(["sample", run, *arguments, "--max-new-tokens", "1"]) == 0
            assert not file.closed
            assert file.tell() == 0
        assert (hint in capsys.readouterr().err) == told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["é"], "'é' (U+00E9)"),
        (["To be, or not"], "--truncate-prompt"),
        (["To", "--temperature", "-1"], "temperature=-1.0 is not allowed"),
        (["To", "--num-samples", "0"], "num_samples=0 is not allowed"),
        (["To", "--top-p", "2"], "top_p=2.0 is not allowed"),
    ],
)
def test_what_sample_refuses(
    run: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", run, *arguments]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err


def test_truncate_prompt_keeps_the_tail(run: str, document: Callable[..., dict[str, Any]]) -> None:
    short = document("sample", run, ", or not")
    long = document("sample", run, "To be, or not", "--truncate-prompt")
    assert long["samples"] == short["samples"]
    assert (short["n_prompt_tokens_cut"], long["n_prompt_tokens_cut"]) == (0, 5)


def test_truncate_prompt_says_how_much_is_left_out(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "the prompt is too long: its first 5 tokens are left out, the last 8 are kept"
    for arguments, told in (
        (["To be, or not"], True),
        (["To be, or not", "--quiet"], False),
        ([", or not"], False),
    ):
        assert main(["sample", run, *arguments, "--truncate-prompt", "--max-new-tokens", "1"]) == 0
        assert (line in capsys.readouterr().err) == told


def test_penalty_and_min_p_are_flags(run: str, document: Callable[..., dict[str, Any]]) -> None:
    def text(*arguments: str) -> str:
        found = document("sample", run, "To", "--max-new-tokens", "20", *arguments)
        return found["samples"][0]["text"]

    assert text("--min-p", "1") == text("--temperature", "0")
    penalised = text("--temperature", "0", "--repetition-penalty", "1000")
    assert len(set(penalised)) > len(set(text("--temperature", "0")))


def test_samples_of_a_batch_come_in_order(
    run: str, document: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """More samples than are drawn together, which end at different times."""
    arguments = ["To", "--num-samples", "11", "--max-new-tokens", "12", "--stop", "e"]
    arguments += ["--temperature", "2"]
    samples = document("sample", run, *arguments)["samples"]
    assert len({found["n_characters"] for found in samples}) > 1
    assert main(["sample", run, *arguments, "--quiet"]) == 0
    assert capsys.readouterr().out == "".join(
        f"--- sample {i + 1} (seed 0) ---\n{found['text']}\n" for i, found in enumerate(samples)
    )


def test_a_person_sees_the_prompt_before_the_text(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["sample", run, "To be", "--max-new-tokens", "2"]) == 0
    assert "\n\x1b[1mTo be\x1b[0m" in err.getvalue()
    assert "To be" not in out.getvalue()


# --- evaluate


def test_evaluate_a_run_scores_its_held_out_part(
    run: str, document: Callable[..., dict[str, Any]]
) -> None:
    found = document("evaluate", run)
    held_out = LINES[int(0.9 * len(LINES)) :]
    assert found["sha256"] == hashlib.sha256(held_out.encode()).hexdigest()
    assert found["n_bytes"] == len(held_out)
    assert (found["context"], found["stride"], found["prefix_bytes"]) == (8, 4, 7)
    bits = found["total_nats"] / math.log(2) / found["n_bytes"]
    assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-12)


def test_evaluate_a_text_of_ones_own(
    run: str, document: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    text = write(tmp_path / "own.txt", "To be,\nor not to be: that is the question.\n")
    options = ["--context", "4", "--stride", "2"]
    found = document("evaluate", run, "--text", text, "--bytes", "10", *options)
    assert found["sha256"] == hashlib.sha256(b"or not to ").hexdigest()
    assert (found["context"], found["stride"], found["n_bytes"]) == (4, 2, 10)
    assert found["text"]["name"] == "own.txt"


def test_evaluate_shows_figures_with_their_conditions(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run, "--bytes", "50"]) == 0
    streams = capsys.readouterr()
    for words in (
        "bits per byte ",
        "per token (comparable only with the same vocabulary)",
        "50 bytes, 50 characters, 50 tokens",
        "8 tokens, stride 4",
        "7 bytes, not scored",
        "sha256 ",
        "Loss by position",
    ):
        assert words in streams.out
    assert "with --stride 8 there are targets with little context" in streams.out
    assert f"next: tinygpt compare {run} distilgpt2" in streams.err


def test_evaluate_a_short_text_on_a_narrow_terminal(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash stays in one piece, and nothing is advised where the context just isn't filled."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["evaluate", run, "--text", write(tmp_path / "a.txt", "To be"), "-q"]) == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(b"To be").hexdigest() in shown
    assert "--stride" not in shown


def test_unknown_characters_are_refused_or_paid_for(
    run: str,
    document: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = write(tmp_path / "own.txt", "To be,\nor ö\n")
    assert main(["evaluate", run, "--text", text]) == 2
    err = capsys.readouterr().err
    assert "'ö' (U+00F6)" in err
    assert "--unknown escape" in err
    found = document("evaluate", run, "--text", text, "--unknown", "escape")
    n_train = int(0.9 * len(LINES))
    price = math.log(n_train + 1) + 16 * math.log(2)
    assert found["n_unknown"] == 1
    assert found["unknown_nats"] == pytest.approx(price, rel=1e-12)


def test_a_model_that_is_no_run_needs_a_text(
    model_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["evaluate", str(model_folder)]) == 2
    assert "no held-out text; give a text with --text FILE" in capsys.readouterr().err
    text = write(tmp_path / "own.txt", "abc\nabc\n")
    assert main(["evaluate", str(model_folder), "--text", text, "--unknown", "escape"]) == 2
    assert "the escape code has no price" in capsys.readouterr().err
    assert main(["evaluate", str(model_folder), "--text", text]) == 0


# --- inspect


def test_inspect_a_preset(document: Callable[..., dict[str, Any]]) -> None:
    found = document("inspect", "distilgpt2")
    assert found["account"]["n_params"] == 81_912_576
    assert found["head_dim"] == 64
    assert (found["account"]["batch_size"], found["account"]["block_size"]) == (8, 128)
    assert {key["key"] for key in found["keys"]} == set(found["config"])
    assert found["stray_keys"] == []
    assert found["path"] is None
    other = document("inspect", "tinygpt", "--batch-size", "3", "--block-size", "5")["account"]
    assert (other["n_params"], other["batch_size"], other["block_size"]) == (818_048, 3, 5)


def test_inspect_shows_tables(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", run]) == 0
    streams = capsys.readouterr()
    for words in ("tied to wte", "KV cache of one token", "n_positions", "training.json: "):
        assert words in streams.out
    assert streams.err == f"next: tinygpt sample {run}\n"


def test_inspect_names_stray_keys(
    model_folder: Path, document: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_folder / "config.json"
    write(path, json.loads(path.read_text("utf-8")) | {"learning_rate": 3e-4})
    found = document("inspect", str(model_folder))
    assert found["stray_keys"] == ["learning_rate"]
    labels = {key["key"]: key["labels"] for key in found["keys"]}
    assert labels["learning_rate"] == ["training"]
    assert main(["inspect", str(model_folder)]) == 0
    assert "'learning_rate'" in capsys.readouterr().err


# --- corpus


def test_corpus_show(document: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    path = write(tmp_path / "my.txt", "äb\nb")
    assert document("corpus", "show", path) == {
        "name": path,
        "n_characters": 4,
        "n_bytes": 5,
        "n_distinct": 3,
        "sha256": hashlib.sha256("äb\nb".encode()).hexdigest(),
        "source": "the file my.txt, 5 bytes",
        "begins": "äb\nb",
    }


def test_corpus_show_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "my.txt", "a\x1b[31m b")
    assert main(["corpus", "show", path]) == 0
    streams = capsys.readouterr()
    assert "\x1b" not in streams.out
    assert "a\\x1b[31m b" in streams.out
    assert f"next: tinygpt train --corpus {path}" in streams.err
    assert main(["corpus", "show", "none"]) == 2
    assert main(["corpus"]) == 2  # says how it is used
    assert "Usage: tinygpt corpus" in capsys.readouterr().err
