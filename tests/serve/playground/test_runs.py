"""Tests of serve/playground/runs.py and curves.py: finding runs and following them."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.serve.playground.pages import page_client

import tinygpt
from tinygpt.inference.language_model import LanguageModel
from tinygpt.runs.lock import locked
from tinygpt.serve.playground.curves import Yardsticks

SIZES = {"n_bytes": 1200, "n_train_bytes": 1000, "n_train_tokens": 500, "n_held_out_tokens": 50}
STEP = {"event": "step", "tokens": 8, "elapsed_s": 0.5, "loss": 2.0, "learning_rate": 0.1}
EVALUATED = {"event": "evaluated", "tokens": 8, "elapsed_s": 1.0, "val_loss": 4.0}


def write_run(folder: Path, lines: list[dict[str, Any]], **training: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    training = {"data": SIZES, "train": {"max_steps": 9, "minutes": None}, **training}
    (folder / "training.json").write_text(json.dumps(training), "utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines), "utf-8")
    return folder


@pytest.fixture
def lm(model_folder: Path) -> LanguageModel:
    return dataclasses.replace(tinygpt.load(model_folder, engine="torch"), name="tiny")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_runs_are_found_in_the_folder_and_among_the_served(
    lm: LanguageModel, model_folder: Path, runs: Path
) -> None:
    corpus = {"corpus": "/home/somebody/poems.txt"}
    old = write_run(runs / "old", [{**STEP, "step": 1}], corpus=corpus)
    os.utime(old / "metrics.jsonl", (1, 1))
    write_run(runs / "tiny", [{**EVALUATED, "step": 1, "final": True}])
    write_run(runs / ".hidden", [])
    (runs / "no run").mkdir()
    client = page_client([lm], runs)
    found = client.get("/page/runs").json()
    assert [run["name"] for run in found["runs"]] == ["tiny", "old"]
    assert [run["state"] for run in found["runs"]] == ["finished", "stopped"]
    assert found["runs"][1]["corpus"] == "poems.txt"
    assert found["left_out"] == 0
    assert client.get("/page/models").json()["models"][0]["kind"] == "folder"

    write_run(model_folder, [{**STEP, "step": 1}])  # one of the same name that is served
    names = {run["name"]: run["served"] for run in client.get("/page/runs").json()["runs"]}
    assert names == {"tiny": None, "old": None, "tiny (2)": "tiny"}
    (model,) = client.get("/page/models").json()["models"]
    assert (model["kind"], model["run"]) == ("run", "tiny (2)")
    inside = page_client([lm], model_folder.parent)
    listed = inside.get("/page/runs").json()["runs"]
    assert [(run["name"], run["served"]) for run in listed] == [("tiny", "tiny")]
    assert listed[0]["n_params"] > 1000


def test_without_a_runs_folder_there_are_none(lm: LanguageModel, runs: Path) -> None:
    client = page_client([lm], runs)
    assert client.get("/page/runs").json() == {"runs": [], "left_out": 0}
    assert client.get("/page/models").json()["runs"] is False


def test_only_so_many_are_listed(
    lm: LanguageModel, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygpt.serve.playground.runs.MAX_RUNS", 1)
    for name in "abc":
        write_run(runs / name, [])
    found = page_client([lm], runs).get("/page/runs").json()
    assert (len(found["runs"]), found["left_out"]) == (1, 2)


def test_curves_are_bits_per_byte(lm: LanguageModel, runs: Path) -> None:
    """2 bytes a token in the training part, 4 in the held-out one."""
    write_run(runs / "a", [{**EVALUATED, "step": 0}, {**STEP, "step": 1}])
    found = page_client([lm], runs).get("/page/runs/a").json()
    assert found["unit"] == "bits per byte"
    assert found["steps"] == [[1, 8, 0.5, pytest.approx(2 / math.log(2) / 2), 0.1]]
    (evaluation,) = found["evaluations"]
    assert evaluation["val"] == pytest.approx(4 / math.log(2) / 4)
    assert evaluation["final"] is False
    assert found["goal"] == {"max_steps": 9, "minutes": None}
    assert (found["first"], found["lines"], found["more"]) == (0, 2, False)


def test_without_sizes_losses_stay_nats(lm: LanguageModel, runs: Path) -> None:
    write_run(runs / "a", [{**STEP, "step": 1}], data={})
    found = page_client([lm], runs).get("/page/runs/a").json()
    assert found["unit"] == "nats per token"
    assert found["steps"][0][3] == pytest.approx(2.0)


def test_a_run_is_followed_while_it_trains(lm: LanguageModel, runs: Path) -> None:
    folder = write_run(runs / "a", [{**STEP, "step": 1}])
    client = page_client([lm], runs)
    with locked(folder), (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        found = client.get("/page/runs/a").json()
        assert found["state"] == "training"
        line = json.dumps({**STEP, "step": 2})
        file.write(line[:20])
        file.flush()
        assert client.get(f"/page/runs/a?after={found['lines']}").json()["steps"] == []
        file.write(line[20:] + "\n")
        file.flush()
        more = client.get(f"/page/runs/a?after={found['lines']}").json()
        assert [step[0] for step in more["steps"]] == [2]
        assert more["unreadable"] == 0
    assert client.get("/page/runs/a").json()["state"] == "stopped"


def test_what_is_no_figure_is_counted(lm: LanguageModel, runs: Path) -> None:
    write_run(runs / "a", [{**STEP, "step": 1, "loss": "x"}, {"event": "step"}, {"event": []}])
    found = page_client([lm], runs).get("/page/runs/a").json()
    assert (found["steps"], found["unreadable"]) == ([], 2)


def test_samples(lm: LanguageModel, runs: Path) -> None:
    folder = write_run(runs / "a", [])
    client = page_client([lm], runs)
    assert client.get("/page/runs/a/samples").json()["samples"] == []
    sample = {"step": 1, "tokens": 8, "elapsed_s": 1.0, "prompt": "", "text": "<b>", "seed": 0}
    lines = [sample, {**sample, "text": 3}, {**sample, "step": 2, "temperature": 0.8}]
    lines.append({**sample, "text": "\ud800"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "samples.jsonl").write_text(text, "utf-8")
    found = client.get("/page/runs/a/samples").json()
    assert [one["step"] for one in found["samples"]] == [1, 2]
    assert found["samples"][0]["text"] == "<b>"
    assert (found["lines"], found["unreadable"]) == (4, 2)
    assert client.get("/page/runs/a/samples?after=4").json()["samples"] == []


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e",
        "..%2fsecret",
        "%2fetc",
        "a%00",
        "a%5c..",
        ".hidden",
        "secret",
        "é" * 300,
    ],
)
def test_names_do_not_leave_the_runs(lm: LanguageModel, runs: Path, name: str) -> None:
    write_run(runs / "a", [])
    write_run(runs.parent / "secret", [])
    write_run(runs / ".hidden", [])
    client = page_client([lm], runs)
    for rest in ("", "/samples", "/yardsticks"):
        assert client.get(f"/page/runs/{name}{rest}").status_code == 404


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_links_out_of_the_runs_are_not_followed(lm: LanguageModel, runs: Path) -> None:
    outside = write_run(runs.parent / "outside", [{**STEP, "step": 1}])
    write_run(runs / "a", [])
    (runs / "link").symlink_to(outside)
    for number, name in enumerate(("metrics.jsonl", "training.json")):
        folder = write_run(runs / f"b{number}", [])
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
    client = page_client([lm], runs)
    assert [run["name"] for run in client.get("/page/runs").json()["runs"]] == ["a"]
    for name in ("link", "b0", "b1"):
        assert client.get(f"/page/runs/{name}").status_code == 404
    (runs / "a" / "samples.jsonl").symlink_to(outside / "metrics.jsonl")
    assert client.get("/page/runs/a/samples").status_code == 400
    os.mkfifo(runs / "a" / "run.lock")
    assert client.get("/page/runs/a").json()["state"] == "stopped"


def test_yardsticks_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {i} of some text, {i * i}\n" for i in range(400))
    file = tmp_path / "text.txt"
    file.write_text(text, "utf-8")
    from tinygpt.data.corpora import load_corpus

    folder = write_run(
        tmp_path / "run",
        [],
        corpus={"corpus": str(file), "sha256": load_corpus(str(file)).sha256},
    )
    measured = Yardsticks()
    found = measured.of(folder)
    assert found["why_not"] is None
    names = [yardstick["name"] for yardstick in found["yardsticks"]]
    assert names[0] == "uniform"
    assert "xz alone" in names
    assert "held-out part" in found["text"]
    file.unlink()
    assert measured.of(folder) is found
    lost = Yardsticks().of(folder)
    assert lost["yardsticks"] == []
    assert lost["why_not"]
    assert str(tmp_path) not in lost["why_not"]


def test_a_run_that_goes_away_is_not_found(lm: LanguageModel, runs: Path) -> None:
    client = page_client([lm], runs)
    folder = write_run(runs / "a", [])
    assert client.get("/page/runs/a").status_code == 200
    shutil.rmtree(folder)
    answer = client.get("/page/runs/a")
    assert answer.status_code == 404
    assert 'no run "a"' in answer.json()["error"]["message"]
