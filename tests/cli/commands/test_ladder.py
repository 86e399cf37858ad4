"""`tinygpt ladder`, from the call to what it draws."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tinygpt.cli.main import main
from tinygpt.ladder import train as rung_training
from tinygpt.runs.events import Step

RUNGS = """
[[rung]]
name = "small"
[rung.model]
n_layer = 1
n_embd = 8
n_head = 2
n_positions = 32
[rung.train]
block_size = 32
batch_size = 2
n_evals = 1
sample_tokens = 2

[[rung]]
name = "deep"
[rung.model]
n_layer = 2

[[rung]]
name = "pretrained"
from = "distilgpt2"
trained = false
"""


@pytest.fixture(autouse=True)
def _desk(tmp_path, monkeypatch) -> None:
    """A folder with my.txt and rungs.toml; no hub, and no vocabulary either."""
    from tinygpt.errors import MachineError
    from tinygpt.inference import load as opening

    def unreachable(*_arguments, **_keywords):
        raise MachineError("the hub did not answer; run `hf download distilbert/distilgpt2`")

    real = opening.load_with
    monkeypatch.setattr(
        opening,
        "load_with",
        lambda name, *rest, **kw: (
            unreachable() if name == "distilgpt2" else real(name, *rest, **kw)
        ),
    )
    monkeypatch.setattr(opening, "gpt2_vocabulary", unreachable)
    monkeypatch.chdir(tmp_path)
    text = "".join(f"{i}. To be, or not to be: that is the question.\n" for i in range(60))
    Path("my.txt").write_text(text, "utf-8")
    Path("rungs.toml").write_text(RUNGS, "utf-8")


def ladder(*arguments: str) -> int:
    fixed = "--corpus my.txt --rungs rungs.toml --max-steps 2 --bytes 100 --threads 1"
    return main(["ladder", *fixed.split(), *arguments])


@pytest.mark.parametrize("columns", [80, 120])
def test_the_staircase_fits_the_terminal(columns, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert ladder() == 0
    streams = capsys.readouterr()
    lines = streams.out.splitlines()
    assert lines[0] == "From small to pretrained, one change at a time"
    assert max(map(len, lines)) <= columns
    small, deep = (next(line for line in lines if line.startswith(n)) for n in ("1 sm", "2 deep"))
    for line in (small, deep):
        assert re.fullmatch(r"\d \w+ +\d\.\d{3} █+[▏▎▍▌▋▊▉]?", line)
    assert any(line.strip() == "n_layer 1 -> 2" for line in lines)
    joined = " ".join(streams.out.split())
    assert "3 pretrained - no quality weights random -> distilgpt2" in joined
    assert "`hf download distilbert/distilgpt2`" in joined
    assert "all rungs score the same bytes: 100 of my.txt" in joined
    assert "weights trained elsewhere" in joined
    row = next(line for line in lines if line.startswith("3 pretrained") and "81.9 M" in line)
    assert " ".join(row.split()) == "3 pretrained 81.9 M - - 348.5 MiB - - -"
    assert "rung 1 of 3, small: training, 0%" in streams.err
    assert "next: tinygpt sample runs/ladder/0" in streams.err


def test_json_and_markdown(capsys) -> None:
    files = ("--markdown", "l.md", "--html", "l.html")
    assert ladder("--json", *files, "--out", "l", "--quiet") == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    data = json.loads(streams.out)
    assert data == json.loads(Path("l/ladder.json").read_text("utf-8"))
    assert [rung["quality"] is None for rung in data["rungs"]] == [False, False, True]
    page = Path("l.md").read_text("utf-8")
    assert page.startswith("# From small to pretrained")
    assert "<h1>From small to pretrained" in Path("l.html").read_text("utf-8")
    assert "| 2 deep | n\\_layer 1 -&gt; 2 |" in page
    assert page.count("\n| 1 small | ") == 2
    bars = [line for line in page.splitlines() if "█" in line]
    assert [line[:6] for line in bars] == ["1 smal", "2 deep"]
    widths = {line.count("|") for line in page.splitlines() if line.startswith(("| 1", "| p"))}
    assert widths == {3, 9}


def test_ctrl_c_saves_and_the_same_command_goes_on(monkeypatch, capsys) -> None:
    real, hit = rung_training.train, []

    def train(*arguments, **keywords):
        for event in real(*arguments, **keywords):
            if isinstance(event, Step) and keywords["out"].name == "02-deep" and not hit:
                hit.append(event.step)
                os.kill(os.getpid(), signal.SIGINT)
            yield event

    monkeypatch.setattr(rung_training, "train", train)
    assert ladder() == 130
    streams = capsys.readouterr()
    assert "(1 of 3 so far)" in streams.out
    assert "interrupted and saved in runs/ladder; the same command goes on" in streams.err
    assert ladder() == 0
    streams = capsys.readouterr()
    assert "rung 2 of 3, deep: training" in streams.err
    assert "rung 1 of 3" not in streams.err
    assert ladder("--seeds", "2") == 2
    assert "seeds=1, now it is 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--flops", "1e9"], "give one budget, not two"),
        (["--minutes", "0"], "minutes=0.0 is not allowed"),
        (["--seeds", "0"], "seeds=0 is not allowed"),
        (["--rungs", "none.toml"], "none.toml can't be read"),
    ],
)
def test_what_is_refused(arguments, words, capsys) -> None:
    assert ladder(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not Path("runs").exists()


def test_without_a_budget_it_is_a_minute_a_rung(monkeypatch) -> None:
    seen = []

    def climb(changes, corpus, allowance, options, **arguments):
        seen.append((len(changes), allowance.minutes, arguments["out"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygpt.ladder.climb.climb", climb)
    assert main(["ladder", "--corpus", "my.txt"]) == 130
    assert main(["ladder", "--corpus", "my.txt", "--flops", "1e12"]) == 130
    assert seen == [(10, 1.0, Path("runs/ladder")), (10, None, Path("runs/ladder"))]


def test_compare_shows_the_ladder(capsys) -> None:
    assert ladder("--out", "l") == 0
    command = re.findall(r"tinygpt (compare .*)", capsys.readouterr().err)[-1]
    assert command.endswith("--ladder l --html comparison.html")
    assert main([*command.split(), "--text", "my.txt", "--bytes", "60"]) == 0
    page = Path("comparison.html").read_text("utf-8")
    assert "The ladder, rung by rung" in page
    assert page.count('json" id="ladder-numbers"') == 1
    capsys.readouterr()
    assert main(["compare", "l/01-small", "--ladder", "l"]) == 2
    assert "add --html" in capsys.readouterr().err
    assert main(["compare", "l/01-small", "--ladder", "l/01-small", "--html", "p.html"]) == 2
    assert "no ladder.json; give the folder that `tinygpt ladder` wrote" in capsys.readouterr().err
