"""Run folders that earlier versions wrote open, resume, evaluate and compare in this one.

Each `versions/VERSION/` holds an interrupted run, its text, and what that version computed; the
figure after `resume` is that of a run which was never interrupted.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tinygpt.cli.main import main

VERSIONS = sorted((Path(__file__).parent / "versions").iterdir())
N_SCORED = 1000
"""Characters of the text's end, behind `expected.json`."""


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a version's folder, so that nothing is written into the checkout."""
    return Path(shutil.copytree(request.param, tmp_path / "version"))


def expected(version: Path) -> dict[str, Any]:
    return json.loads((version / "expected.json").read_text("utf-8"))


def bits_per_byte(version: Path) -> float:
    import tinygpt

    text = (version / "sums.txt").read_text("utf-8")[-N_SCORED:]
    return tinygpt.load(version / "run").evaluate(text).bits_per_byte


def test_a_run_of_an_earlier_version_opens_and_scores_the_same(version: Path) -> None:
    import tinygpt

    before = expected(version)["interrupted"]
    lm = tinygpt.load(version / "run")
    assert lm.generate("7 + 8", max_new_tokens=20, temperature=0.0) == before["greedy"]
    assert bits_per_byte(version) == pytest.approx(before["bits_per_byte"], rel=1e-5)


def test_a_run_of_an_earlier_version_resumes_as_if_never_interrupted(version: Path) -> None:
    text = str(version / "sums.txt")
    assert main(["resume", str(version / "run"), "--corpus", text, "--quiet"]) == 0
    after = expected(version)["resumed"]
    assert bits_per_byte(version) == pytest.approx(after["bits_per_byte"], rel=1e-4)
    lines = (version / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    last = [e for e in map(json.loads, lines) if e["event"] == "evaluated"][-1]
    assert last["val_loss"] == pytest.approx(after["val_loss"], rel=1e-4)


def test_a_run_of_an_earlier_version_compares(
    version: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, text = str(version / "run"), str(version / "sums.txt")
    assert main(["evaluate", run, "--text", text, "--json", "--quiet"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert main(["compare", run, run, "--text", text, "--json", "--quiet"]) == 0
    compared = json.loads(capsys.readouterr().out)
    (scored,) = compared["texts"]
    n_train = json.loads((version / "run" / "training.json").read_text("utf-8"))["data"]
    eps = 1 / (n_train["n_train_characters"] + 1)  # what a known character pays for the escape code
    escape = -math.log2(1 - eps) * scored["n_characters"] / scored["n_bytes"]
    for model in compared["models"]:
        score = model["quality"][0]["evaluation"]["bits_per_byte"]
        assert score == pytest.approx(evaluated["bits_per_byte"] + escape, rel=1e-9)
