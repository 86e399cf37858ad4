"""The curve of a run, from its folder."""

import json
import math
from pathlib import Path

import pytest

from tinygpt.runs.learning_curve import read_curve

SIZES = {"n_bytes": 1200, "n_train_bytes": 1000, "n_train_tokens": 500, "n_held_out_tokens": 50}


def folder(path: Path, events: list[dict], data: dict = SIZES) -> Path:
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events), "utf-8")
    (path / "training.json").write_text(json.dumps({"data": data}), "utf-8")
    return path


def evaluated(step: int, val_loss: float) -> dict:
    where = {"step": step, "tokens": 10 * step, "elapsed_s": float(step)}
    return {"event": "evaluated", "val_loss": val_loss, **where}


def test_losses_become_bits_per_byte_of_their_own_part(tmp_path) -> None:
    """2 bytes a token in the training part, 4 in the held-out one; steps are averaged."""
    steps = [{"event": "step", "loss": loss} for loss in (3.0, 1.0)]
    run = folder(tmp_path / "run", [evaluated(0, 8.0), *steps, evaluated(2, 4.0)])
    first, last = read_curve(run).points
    assert first.val_bits_per_byte == pytest.approx(8 / 4 / math.log(2))
    assert first.train_bits_per_byte is None
    assert (last.step, last.train_bytes) == (2, 40.0)
    assert last.val_bits_per_byte == pytest.approx(4 / 4 / math.log(2))
    assert last.train_bits_per_byte == pytest.approx(2 / 2 / math.log(2))


def test_no_curve_where_there_is_none_to_be_read(tmp_path) -> None:
    assert read_curve(None) is None
    assert read_curve(tmp_path) is None
    assert read_curve(folder(tmp_path / "one", [evaluated(0, 1.0)])) is None
    assert read_curve(folder(tmp_path / "old", [evaluated(0, 1.0)] * 2, {})) is None
    cut = folder(tmp_path / "cut", [evaluated(0, 1.0)] * 2)
    (cut / "metrics.jsonl").write_text('{"event": "evalu', "utf-8")
    assert read_curve(cut) is None
