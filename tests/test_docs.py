"""What the documents tell people to type works, in smoke size."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tinygpt.cli.main import VERBS, main

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = (
    "ROMEO:\nTo be, or not to be: that is the question.\nOnce upon a time there was a text.\n" * 30
)
MIXED = {"vocab_size": 65, "block_size": 128, "n_layer": 4, "n_head": 4, "d_model": 128} | {
    "dropout": 0.1,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "max_iters": 2000,
}


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with my.txt, mixed.json and a small run runs/demo, as the documents assume."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXT, "utf-8")
    (tmp_path / "demo.txt").write_text(TEXT, "utf-8")
    (tmp_path / "mixed.json").write_text(json.dumps(MIXED), "utf-8")
    smoke = "--max-steps 2 --n-evals 0 --n-layer 1 --batch-size 2 --quiet"
    assert main(["train", "--corpus", "demo.txt", "--out", "runs/demo", *smoke.split()]) == 0
    return tmp_path


def test_readme_commands_run(desk, capsys) -> None:
    commands = [
        line
        for block in blocks(ROOT / "README.md", "bash")
        for line in block.splitlines()
        if line.startswith("tinygpt ")
    ]
    assert len(commands) >= 5
    for line in commands:
        smoke = line.replace("--minutes 1 ", "--max-steps 2 --batch-size 2 ")
        assert main(shlex.split(smoke)[1:]) == 0, (line, capsys.readouterr().err)
    assert (desk / "runs" / "mine" / "model.safetensors").exists()
    assert (desk / "split" / "training.json").exists()


@pytest.mark.parametrize(
    "path",
    [p for p in DOCUMENTS if p.name != "serving.md"],  # which asks a server: serve/test_openai.py
    ids=lambda p: p.name,
)
def test_python_blocks_run(path, desk, capsys) -> None:
    for block in blocks(path, "python"):
        exec(compile(block, str(path), "exec"), {})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documents_name_verbs_and_files_that_exist(path) -> None:
    text = path.read_text("utf-8")
    for verb in re.findall(r"`tinygpt ([a-z]+)", text):
        assert verb in VERBS, verb
    for name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text):
        places = [ROOT / "src" / "tinygpt", ROOT, ROOT / "tests"]
        assert any((place / name).exists() for place in places), name
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target


def test_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"(?:`|    )make ([a-z-]+)", path.read_text("utf-8")):
            assert re.search(rf"^{target}:", makefile, re.M), target


def test_readme_shows_the_tree_and_the_table() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    tree = page.partition("<!-- tree -->")[2].partition("<!-- /tree -->")[0]
    package = ROOT / "src" / "tinygpt"
    wings = sorted(path.parent.name for path in package.glob("*/__init__.py"))
    assert sorted(re.findall(r"^  ([a-z]+)/ ", tree, re.M)) == wings  # one line each
    modules = {p.name for p in package.glob("*.py")} - {"__main__.py", "__init__.py"}
    assert modules <= set(re.findall(r"[a-z_]+\.py", tree))
    table = page.partition("<!-- table -->")[2].partition("<!-- /table -->")[0]
    assert "81,912,576" in table
    assert "Measured 20" in table
