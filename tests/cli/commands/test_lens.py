"""`tinygpt lens`, from the call to what it prints and writes."""

import io
import json
import sys
from pathlib import Path

import pytest

from tinygpt.cli.main import main
from tinygpt.config.limits import LENS_BYTES

LINES = "".join(f"{i}. To be, or not to be: that is the question.\n" for i in range(600))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A character run and a BPE run of two steps; they are read here, never written."""
    folder = tmp_path_factory.mktemp("lens")
    (folder / "my.txt").write_text(LINES, "utf-8")
    sizes = "--n-layer 1 --n-embd 8 --n-head 2 --n-positions 16 --block-size 16 --batch-size 2"
    rest = "--max-steps 2 --n-evals 0 --threads 1 --quiet"
    for name, tokenizer in (("char", "char"), ("bpe", "bpe --vocab-size 300")):
        out = f"--corpus {folder / 'my.txt'} --out {folder / name} --tokenizer {tokenizer}"
        assert main(["train", *out.split(), *sizes.split(), *rest.split()]) == 0
    return str(folder / "char"), str(folder / "bpe")


def read(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json", "--quiet"]) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    return json.loads(streams.out)


def test_by_default_the_held_out_part_as_evaluate_scores_it(runs, capsys) -> None:
    lens = read(capsys, "lens", runs[0])
    evaluation = read(capsys, "evaluate", runs[0], "--bytes", str(LENS_BYTES))
    assert len(lens["text"].encode()) == LENS_BYTES
    assert lens["source"] == evaluation["text"]["source"]
    (view,) = lens["views"]
    assert view["evaluation"] == {name: evaluation[name] for name in view["evaluation"]}
    assert sum(t["bits"] for t in view["tokens"]) == pytest.approx(
        evaluation["bits_per_byte"] * evaluation["n_bytes"], rel=1e-9
    )


def test_two_models_as_compare_scores_them(runs, tmp_path, capsys) -> None:
    (tmp_path / "own.txt").write_text("To be.\n" + "To be, or nöt to be.\n" * 4, "utf-8")
    text = ["--text", str(tmp_path / "own.txt"), "--bytes", "60"]
    lens = read(capsys, "lens", *runs, *text)
    comparison = read(capsys, "compare", *runs, *text)
    for view, model in zip(lens["views"], comparison["models"], strict=True):
        expected = model["quality"][0]["evaluation"]
        assert view["evaluation"]["total_nats"] == pytest.approx(expected["total_nats"], rel=1e-6)
        assert view["evaluation"]["sha256"] == expected["sha256"]
    assert lens["views"][0]["evaluation"]["n_unknown"] == 3
    assert main(["lens", *runs, *text, "--unknown", "refuse"]) == 2
    assert "ö" in capsys.readouterr().err
    assert main(["lens", runs[0], *text]) == 2
    assert "--unknown escape" in capsys.readouterr().err
    assert read(capsys, "lens", runs[0], *text, "--unknown", "escape")["views"][0]["bits"] > 0


def test_the_window_can_be_chosen(runs, capsys) -> None:
    lens = read(capsys, "lens", runs[0], "--bytes", "50", "--context", "4", "--stride", "1")
    found = lens["views"][0]["evaluation"]
    assert (found["context"], found["stride"]) == (4, 1)


def test_a_pipe_gets_numbers_and_a_terminal_colours(runs, capsys, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    argv = ["lens", runs[0], "--bytes", "40"]
    assert main(argv) == 0
    streams = capsys.readouterr()
    assert "\x1b" not in streams.out
    assert "below each character" in streams.out
    assert f"next: tinygpt lens {runs[0]} --html lens.html" in streams.err
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for variables, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            for name, value in variables.items():
                patch.setenv(name, value)
            assert main([*argv, "--quiet"]) == 0
        assert ("\x1b[48;" in terminal.getvalue() or ";48;" in terminal.getvalue()) == colours
        assert ("below each character" in terminal.getvalue()) != colours


def test_html_is_one_file_that_holds_the_text(runs, tmp_path, capsys) -> None:
    page = tmp_path / "lens.html"
    assert main(["lens", *runs, "--bytes", "100", "--html", str(page)]) == 0
    streams = capsys.readouterr()
    assert f"written: {page}" in streams.err
    assert "next: tinygpt compare" in streams.err
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["lens.html"]


def test_without_weights_one_line_says_so_as_evaluate_does(runs, monkeypatch, capsys) -> None:
    said = []
    for argv in (
        ["lens", runs[0], "distilgpt2"],
        ["evaluate", "distilgpt2", "--text", "python-docs"],
    ):
        code = main([*argv, "--quiet"])
        streams = capsys.readouterr()
        assert streams.out == ""
        said.append((code, streams.err))
    assert said[0] == said[1]
    assert said[0][0] == 1
    assert len(said[0][1].splitlines()) == 1
    assert "hf download" in said[0][1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "missing argument"),
        (["a", "b", "c"], 2, "one or two models"),
        (["runs/nothing"], 2, "runs/nothing"),
        (["RUN", "--text", "none.txt"], 2, "none.txt"),
        (["RUN", "--bytes", "0"], 2, "1 or more"),
        (["RUN", "--context", "17"], 2, "context=17"),
        (["RUN", "--html", "none/lens.html"], 1, "can't be written"),
    ],
)
def test_refusals_are_one_line(runs, tmp_path: Path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(["lens", *(a.replace("RUN", runs[0]) for a in arguments)]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert "Traceback" not in streams.err
