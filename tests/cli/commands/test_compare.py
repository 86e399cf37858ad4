"""`tinygpt demo` and `tinygpt compare`, from the call to the files they leave."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygpt.cli.commands import demo
from tinygpt.cli.main import main
from tinygpt.config.model_config import PRESETS
from tinygpt.errors import MachineError
from tinygpt.inference import load as opening

TEXT = "The king is dead.\nLong live the king!\nTo be, or not to be: that is the question.\n" * 60


@pytest.fixture
def desk(tmp_path: Path, monkeypatch, byte_bpe) -> Path:
    """A folder with a text, no hub, and a small stand-in for distilgpt2's shape and vocabulary."""

    def unreachable(*_args, **_kwargs):
        raise MachineError("the hub did not answer; run `hf download distilbert/distilgpt2`")

    tokenizer = byte_bpe([("t", "h"), ("th", "e")])
    tokenizer.save(tmp_path / "vocabulary", 64)
    small = dataclasses.replace(
        PRESETS["distilgpt2"],
        vocab_size=tokenizer.vocab_size,
        n_positions=64,
        n_embd=24,
        n_layer=2,
        n_head=3,
        bos_token_id=None,
        eos_token_id=None,
    )
    monkeypatch.setitem(PRESETS, "distilgpt2", small)
    real_load = opening.load_with
    monkeypatch.setattr(
        opening,
        "load_with",
        lambda name, *rest, **kw: (
            unreachable() if name == "distilgpt2" else real_load(name, *rest, **kw)
        ),
    )
    monkeypatch.setattr(opening, "gpt2_vocabulary", lambda: tmp_path / "vocabulary")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(TEXT, "utf-8")
    return tmp_path


@pytest.fixture
def run(desk: Path) -> Path:
    smoke = "--max-steps 2 --n-evals 0 --n-layer 1 --batch-size 2 --quiet --out runs/own"
    assert main(["train", "--corpus", "own.txt", *smoke.split()]) == 0
    return Path("runs/own")


@pytest.mark.slow
def test_demo_leaves_a_run_and_a_comparison(desk, capsys) -> None:
    assert main(["demo", "--corpus", "own.txt", "--minutes", "0.15"]) == 0
    streams = capsys.readouterr()
    for words in ("TinyGPT (runs/demo)", "distilgpt2", "needs the weights", "random weights"):
        assert words in streams.out
    assert "hf download distilbert/distilgpt2" in streams.out.replace("\n", " ")
    assert "own.txt" in streams.err
    assert "next: tinygpt sample runs/demo" in streams.err
    data = json.loads(Path("runs/demo/comparison.json").read_text("utf-8"))
    assert data["schema_version"] == 1
    tiny, distil = data["models"]
    assert tiny["quality"][0]["evaluation"]["bits_per_byte"] > 0
    assert distil["quality"][0]["evaluation"] is None
    assert "| n\\_layer | 4 | 2 |" in Path("runs/demo/comparison.md").read_text("utf-8")
    samples = Path("runs/demo/samples.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["event"] for line in samples] == ["sampled"]
    assert all(sample["text"] for sample in tiny["samples"])
    lines = Path("runs/demo/metrics.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[-1])["event"] == "saved"
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained("runs/demo").config.n_layer == 4
    capsys.readouterr()  # transformers shows a bar
    assert main(["demo", "--corpus", "own.txt", "--minutes", "0.15", "--quiet"]) == 0
    assert Path("runs/demo-1/comparison.json").exists()
    assert capsys.readouterr().err == ""


def test_demo_refuses_before_it_fetches(desk, capsys) -> None:
    assert main(["demo", "--minutes", "0"]) == 2
    assert "minutes=0" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_compare_on_a_text_of_ones_own(run, desk, capsys) -> None:
    argv = ["compare", str(run), "distilgpt2", "--text", "own.txt", "--bytes", "200"]
    assert main([*argv, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in data["models"]] == ["own", "distilgpt2"]
    assert data["texts"][0]["n_bytes"] <= 200
    assert data["texts"][0]["prefix_bytes"] >= len("The king is dead.\n")
    assert main([*argv, "--markdown", "out.md", "--html", "out.html"]) == 0
    streams = capsys.readouterr()
    assert "bits per byte" in streams.out
    assert "written: out.md" in streams.err
    assert "written: out.html" in streams.err
    assert Path("out.md").read_text("utf-8").startswith("# own and distilgpt2")
    assert "<title>own and distilgpt2, side by side</title>" in Path("out.html").read_text("utf-8")
    assert main([*argv, "--html", "nowhere/out.html"]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_compare_unknown_characters(run, desk, capsys) -> None:
    Path("odd.txt").write_text("the king\nthe king is ö\n" * 5, "utf-8")
    assert main(["compare", str(run), "--text", "odd.txt", "--unknown", "refuse"]) == 2
    assert "ö" in capsys.readouterr().err
    assert main(["compare", str(run), "--text", "odd.txt"]) == 0
    assert "outside its vocabulary" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["compare"], 2, "missing argument"),
        (["compare", "runs/nothing"], 2, "runs/nothing"),
        (["compare", "distilgpt2", "--text", "none.txt"], 2, "none.txt"),
        (["compare", "distilgpt2", "--bytes", "few"], 2, 'bytes="few"'),
    ],
)
def test_compare_refuses_in_one_line(desk, capsys, argv, code, message) -> None:
    assert main(argv) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_demo_compares_on_32_kib_and_renames_the_last_run(desk, capsys, monkeypatch) -> None:
    """The whole verb but for the minute of training, which two steps of a small model replace."""
    Path("own.txt").write_text(TEXT * 100, "utf-8")
    smoke = "--max-steps 2 --n-evals 0 --n-layer 1 --n-embd 8 --n-head 2 --batch-size 2 --quiet"

    def trained(*arguments: object) -> SimpleNamespace:
        assert main(["train", "--corpus", "own.txt", "--out", "runs/demo", *smoke.split()]) == 0
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(demo, "_train", trained)
    assert main(["demo", "--corpus", "own.txt"]) == 0
    said = capsys.readouterr().err
    assert "the last run is now" not in said
    assert f"open in a browser: {Path('runs/demo/comparison.html').absolute()}" in said
    page = Path("runs/demo/comparison.html").read_text("utf-8")
    assert "The blocks, to one scale" in page
    data = json.loads(Path("runs/demo/comparison.json").read_text("utf-8"))
    assert [text["n_bytes"] for text in data["texts"]] == [32_768]
    before = Path("runs/demo/comparison.json").read_bytes()
    assert main(["demo", "--corpus", "own.txt"]) == 0
    assert "the last run is now runs/demo-1" in capsys.readouterr().err
    assert Path("runs/demo-1/comparison.json").read_bytes() == before
    assert main(["demo", "--corpus", "own.txt", "--quiet"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["demo", "demo-1", "demo-2"]
