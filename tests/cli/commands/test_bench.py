"""`tinygpt bench`: one model alone, from the call to the figures."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygpt.cli.bench_tables import renderables
from tinygpt.cli.commands import bench
from tinygpt.cli.main import main
from tinygpt.errors import MachineError
from tinygpt.inference import load as opening

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
    assert main(["bench", run, "--threads", "1", "--engine", "torch", "--device", "cpu"]) == 0
    streams = capsys.readouterr()
    shown = " ".join(streams.out.split())
    for words in ("prefill", "decode", "bytes/s", "start-up", "load", "peak memory", "KV cache"):
        assert words in shown
    for words in ("in a batch of 8", "tokens/s; decode is", "bits per byte on"):
        assert words in shown
    assert "difference" not in shown  # one engine was asked for
    assert "torch, cpu, float32, 1 threads; medians of 5 rounds" in shown
    assert streams.err.endswith("next: tinygpt inspect runs/own\n")


def test_bench_json_is_one_document(run, capsys) -> None:
    assert main(["bench", run, "--json", "--quiet", "--engine", "torch", "--device", "cpu"]) == 0
    streams = capsys.readouterr()
    data = json.loads(streams.out)
    assert streams.err == ""
    assert (data["model"], data["missing_weights"]) == ("own", None)
    assert data["speed"]["decode_bytes_per_s"]["n"] == data["load_s"]["n"] == 5
    assert data["speed"]["prompt_bytes"] == data["speed"]["decoded_bytes"] == 64
    assert data["start_up_s"] > 0
    assert [w["batch_size"] for w in data["writing"]] == [1, 8]
    assert data["evaluation"]["engine"] == "torch float32"
    assert data["engine"].endswith(": asked for")
    assert data["others"] == []
    assert data["weights_bytes"] < data["peak_memory_bytes"]


def test_bench_without_weights_or_model(run, capsys, monkeypatch, byte_bpe) -> None:
    assert main(["bench", "runs/none"]) == 2
    assert "runs/none" in capsys.readouterr().err

    def unreachable(*_args, **_kwargs):
        raise MachineError("the hub did not answer; run `hf download distilbert/distilgpt2`")

    monkeypatch.setattr(opening, "load_with", unreachable)
    monkeypatch.setattr(opening, "gpt2_vocabulary", unreachable)
    assert main(["bench", "distilgpt2"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "hf download" in line


def test_every_other_engine_is_measured_in_a_process_of_its_own(run, capsys, monkeypatch) -> None:
    assert main(["bench", run, "--json", "-q", "--engine", "torch", "--device", "cpu"]) == 0
    torch = json.loads(capsys.readouterr().out)
    calls = []

    def call(command, **_):
        calls.append(command[3:])
        if "int8" in command:
            return SimpleNamespace(returncode=2, stdout="", stderr="warning\nerror: no\n")
        return SimpleNamespace(returncode=0, stdout=json.dumps(torch), stderr="")

    monkeypatch.setattr(bench.subprocess, "run", call)
    monkeypatch.setenv("COLUMNS", "200")  # however long the speeds are, a row is one line
    native = {**torch, "speed": {**torch["speed"], "engine": "native", "precision": "exact"}}
    worse = {**torch["evaluation"], "bits_per_byte": torch["evaluation"]["bits_per_byte"] + 0.5}
    said: list[str] = []
    others = bench._others(run, ["--threads", "1"], {}, lambda what, share: said.append(what))
    assert said == ["timing native int8", "timing native int8-dynamic", "timing torch"]
    asked = ["--engine", "torch", "--precision", "exact", "--device", "cpu", "--json", "-q"]
    assert calls[2] == ["bench", "--threads", "1", *asked, "--", run]
    bench.console.show(*renderables({**native, "evaluation": worse, "others": others}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "native int8: not measured: no" in shown
    assert "+0.50000 torch float32" in shown  # the line of native exact ends so
    assert "+0.00000" in shown


@pytest.mark.slow
def test_bench_shows_what_each_precision_costs(run, capsys) -> None:
    from tinygpt.inference.native_library import unavailable

    if (why := unavailable()) is not None:
        pytest.skip(why)
    assert main(["bench", run, "--threads", "1", "--json", "--quiet"]) == 0
    data = json.loads(capsys.readouterr().out)
    found = {(d["speed"]["engine"], d["speed"]["precision"]): d for d in [data, *data["others"]]}
    assert list(found) == [
        ("native", "exact"),
        ("native", "int8"),
        ("native", "int8-dynamic"),
        ("torch", "float32"),
    ]
    bits = {way: d["evaluation"]["bits_per_byte"] for way, d in found.items()}
    assert bits["native", "exact"] == pytest.approx(bits["torch", "float32"], rel=1e-6)
    assert 0 < abs(bits["native", "int8"] - bits["torch", "float32"]) < 0.1
    memory = {way: d["peak_memory_bytes"] for way, d in found.items()}
    if memory["torch", "float32"] is not None:  # the others never import it
        assert memory["native", "int8"] < 0.6 * memory["torch", "float32"]
