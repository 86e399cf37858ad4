"""What the golden comparison sees, and what it lets pass."""

import json
from pathlib import Path

from tests.golden import differences


def folder(path: Path, loss: float = 1.0, elapsed_s: float = 2.0, weights: bytes = b"w") -> Path:
    path.mkdir()
    (path / "metrics.jsonl").write_text(json.dumps({"loss": loss, "elapsed_s": elapsed_s}), "utf-8")
    speed = "640, 1.5" if elapsed_s == 2 else "1.02 k, 1.5"  # of a slow and a fast moment
    (path / "page.html").write_text(f"<p>{elapsed_s:.2f} s, {speed} sampled</p>", "utf-8")
    (path / "model.safetensors").write_bytes(weights)
    (path / "README.md").write_text(str(elapsed_s), "utf-8")
    return path


def test_clocks_make_no_difference(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a"), folder(tmp_path / "b", elapsed_s=3.25)
    assert list(differences(before, after)) == []


def test_losses_weights_words_and_files_do(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a"), folder(tmp_path / "b", 1.5, weights=b"v")
    (after / "page.html").write_text("<p>2.00 s, 640, 1.5 drawn</p>", "utf-8")
    (after / "new.json").write_text("{}", "utf-8")
    lines = list(differences(before, after))
    assert [line.partition(":")[0] for line in lines] == [
        "new.json",
        "metrics.jsonl",
        "model.safetensors",
        "page.html",
    ]
    assert lines[0] == "new.json: only after"
    assert "[0].loss '1.0' before, '1.5' after" in lines[1]
