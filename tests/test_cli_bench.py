"""`tinygpt bench`: one model alone, from the call to the figures."""

import json
from pathlib import Path

import pytest

from tinygpt import model_report
from tinygpt.cli import main
from tinygpt.errors import MachineError

TEXT = "The king is dead.\nLong live the king!\nTo be, or not to be: that is the question.\n" * 60


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> str:
    """A run, which is a Hugging Face folder too."""
    monkeypatch.chdir(tmp_path)
    Path("own.txt").write_text(TEXT, "utf-8")
    smoke = "--max-steps 1 --n-evals 0 --n-layer 1 --n-embd 16 --n-head 2 --batch-size 2 --quiet"
    assert main(["train", "--corpus", "own.txt", "--out", "runs/own", *smoke.split()]) == 0
    return "runs/own"


def test_bench_shows_speed_memory_and_start_up(run, capsys) -> None:
    assert main(["bench", run, "--threads", "1"]) == 0
    streams = capsys.readouterr()
    shown = " ".join(streams.out.split())
    for words in ("prefill", "decode", "bytes/s", "start-up", "load", "peak memory", "KV cache"):
        assert words in shown
    assert "torch, cpu, float32, 1 threads; medians of 5 rounds" in shown
    assert streams.err.endswith("next: tinygpt inspect runs/own\n")


def test_bench_json_is_one_document(run, capsys) -> None:
    assert main(["bench", run, "--json", "--quiet"]) == 0
    streams = capsys.readouterr()
    data = json.loads(streams.out)
    assert streams.err == ""
    assert (data["model"], data["missing_weights"]) == ("own", None)
    assert data["speed"]["decode_bytes_per_s"]["n"] == data["load_s"]["n"] == 5
    assert data["speed"]["prompt_bytes"] == data["speed"]["decoded_bytes"] == 64
    assert data["start_up_s"] > 0
    assert data["weights_bytes"] < data["peak_memory_bytes"]


def test_bench_without_weights_or_model(run, capsys, monkeypatch, byte_bpe) -> None:
    assert main(["bench", "runs/none"]) == 2
    assert "runs/none" in capsys.readouterr().err

    def unreachable(*_args, **_kwargs):
        raise MachineError("the hub did not answer; run `hf download distilbert/distilgpt2`")

    monkeypatch.setattr(model_report, "load", unreachable)
    monkeypatch.setattr(model_report, "gpt2_vocabulary", unreachable)
    assert main(["bench", "distilgpt2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "hf download" in line
