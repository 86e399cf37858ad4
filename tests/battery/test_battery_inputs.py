"""T11, T13, T14, T15, T17 and T19: what a run is given, and what it must not become by it."""

import gzip
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.battery.micro_run import MICRO, WORDS, computed

from tinygpt.cli.main import main
from tinygpt.config.model_config import ModelConfig
from tinygpt.data.batches import batch
from tinygpt.data.corpora import load_corpus
from tinygpt.errors import CheckpointError
from tinygpt.formats.weights import read_safetensors
from tinygpt.model.gpt import GPT
from tinygpt.runs.checkpoint import load, load_newest
from tinygpt.runs.manifest import FORMAT_VERSION, MANIFEST
from tinygpt.tokenizers.load import load_tokenizer
from tinygpt.training.learner import Learner

Figure = Callable[[str], None]
Micro = Callable[..., list[str]]

GOLDEN = Path(__file__).parent / "golden"


def other(value: Any) -> Any:
    """Return another value of the same kind that the field allows too, where one can be guessed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 2 if value else 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return value


# --- T11


@pytest.mark.battery("T11")
def test_every_mismatch_is_named(
    micro: Micro, tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: Figure
) -> None:
    run = tmp_path / "r"
    assert main([*micro(run), "--quiet"]) == 0
    capsys.readouterr()
    n = 0
    for name in ("config.json", "training.json"):
        whole = (run / name).read_text("utf-8")
        data = json.loads(whole)
        tables = [data] if name == "config.json" else [data["train"], data["optim"]]
        for table in tables:
            for key, value in list(table.items()):
                changed = other(value)
                if changed == value or key in ("bos_token_id", "eos_token_id"):
                    continue
                table[key] = changed
                (run / name).write_text(json.dumps(data), "utf-8")
                assert main(["resume", str(run)]) == 2, key
                line = capsys.readouterr().err.splitlines()[-1]
                assert key in line, (key, line)
                assert str(changed) in line, (key, line)
                table[key] = value
                n += 1
        (run / name).write_text(whole, "utf-8")
    for name, old, new in (
        ("tokenizer.json", '"t"', '"u"'),
        ("tokenizer.json", '"t"', '"Z"'),
        ("../corpus.txt", "the", "teh"),
        ("../corpus.txt", "the cat", "the cat "),
    ):
        path = run / name
        whole = path.read_text("utf-8")
        path.write_text(whole.replace(old, new, 1), "utf-8")
        assert main(["resume", str(run)]) == 2, name
        assert Path(name).stem in capsys.readouterr().err
        path.write_text(whole, "utf-8")
        n += 1
    assert main(["resume", str(run)]) == 2
    assert "is complete" in capsys.readouterr().err  # with everything back, nothing is amiss
    figure(f"{n} of {n} changed settings, tokenizers and texts refused by name")


# --- T13

WRONG = ("loss NaN", "loss infinite", "gradient NaN", "weight NaN", "weight infinite", "spike")


@pytest.mark.battery("T13")
@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_infinite_is_ever_saved(
    wrong: str,
    micro: Micro,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    figure: Figure,
) -> None:
    at, bad = 33, math.inf if "infinite" in wrong else math.nan
    bad = 1e6 if wrong == "spike" else bad
    really = Learner.update

    def update(learner: Learner, *given: Any, **named: Any) -> Any:
        step = named.get("step", given[2] if len(given) > 2 else None)
        parameter = learner.model.transformer.wte.weight
        hook = None
        if step == at and wrong.startswith("weight"):
            with torch.no_grad():
                parameter[0, 0] = bad
        if step == at and wrong.startswith(("gradient", "spike")):
            hook = parameter.register_hook(lambda gradient: gradient * bad)
        if step == at and wrong.startswith("loss"):
            summed = learner._summed_loss
            monkeypatch.setattr(learner, "_summed_loss", lambda *xy: summed(*xy) * bad)
        try:
            return really(learner, *given, **named)
        finally:
            if hook is not None:
                hook.remove()

    monkeypatch.setattr(Learner, "update", update)
    run = tmp_path / "r"
    code = main([*micro(run), "--quiet"])
    said = capsys.readouterr().err
    newest, _ = load_newest(run / "checkpoints")
    kept = read_safetensors(run / "model.safetensors")
    assert all(np.isfinite(a).all() for a in [*newest.model.values(), *kept.values()])
    assert all(np.isfinite(a).all() for a in newest.optimizer.values())
    if wrong == "spike":
        assert code == 0  # clipped to grad_clip: the run goes on
        assert newest.step == 60
        figure("a gradient 1e6 times as large is clipped, all weights finite")
    else:
        assert code == 2
        assert f"step {at + 1}" in said
        assert "not finite" in said
        assert newest.step <= at
        figure(f"{wrong} at step {at + 1}: stopped before the update, step {newest.step} is kept")


# --- T14

LINE = WORDS * 7
SAVED: dict[str, str] = {
    "one line": LINE.replace("\n", " "),
    "exactly one window and its target": "abcdefghijabcdefghi",
    "CRLF": LINE.replace("\n", "\r\n"),
    "CR": LINE.replace("\n", "\r"),
    "mixed line ends": LINE.replace("\n", "\r\n", 2).replace("\n", "\r", 3),
    "NUL": LINE.replace(" ", "\0"),
    "byte order mark": "\ufeff" + LINE,
    "NFC": unicodedata.normalize("NFC", "é å ô " * 60),
    "NFD": unicodedata.normalize("NFD", "é å ô " * 60),
    "both forms": "é e\u0301 " * 60,
    "emoji joined": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 " * 30,
    "right to left": "שלום עולם مرحبا " * 30,
    "U+2028": "a\u2028b\u2029c\x85d\x0be\x0cf " * 30,
    "beyond the BMP": "𝔘𝔫𝔦 \U0010ffff " * 30,
    "one character": "a" * 400,
}
REFUSED: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "neither a named corpus nor a file"),
    "empty": (b"", "is empty"),
    "one byte": (b"a", "needs"),
    "shorter than a window": (b"abcdefghij", "needs"),
    "half surrogate pairs": (b"ab\xed\xa0\x80" * 90, "not UTF-8"),
    "latin-1": (("né " * 90).encode("latin-1"), "not UTF-8"),
    "UTF-16": (LINE.encode("utf-16"), "not UTF-8"),
    "cut in a character": (("é" * 200).encode()[:-1], "not UTF-8"),
    "gzip": (gzip.compress(LINE.encode()), "gzip archive"),
    "zip": (b"PK\x03\x04" + bytes(100), "zip archive"),
}


@pytest.mark.battery("T14")
def test_every_text_comes_back_or_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: Figure, size: Callable[..., Any]
) -> None:
    steps = ["--max-steps", "2", "--quiet"]
    arguments = [*MICRO[: MICRO.index("--sample-prompt")], "--threads", "1", "--device", "cpu"]
    million = "lorem ipsum " * (size(10**6, 10**7) // 12)
    for n, (name, text) in enumerate([*SAVED.items(), ("a long line", million)]):
        path, run = tmp_path / f"{n}.txt", tmp_path / f"r{n}"
        path.write_bytes(text.encode())
        call = ["train", "--corpus", str(path), "--out", str(run), *arguments, *steps]
        assert main(call) == 0, (name, capsys.readouterr().err)
        corpus, tokenizer = load_corpus(str(path)), load_tokenizer(run)
        assert tokenizer.decode(tokenizer.encode(corpus.part(0))).encode() == text.encode(), name
    for n, (name, (data, reason)) in enumerate(REFUSED.items()):
        path = tmp_path / f"bad{n}.txt"
        if data is not None:
            path.write_bytes(data)
        refused(path, reason, name, [*arguments, *steps], capsys)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "without a .txt file", "folder", [*arguments, *steps], capsys)
    os.mkfifo(tmp_path / "pipe.txt")
    refused(tmp_path / "pipe.txt", "not a regular file", "pipe", [*arguments, *steps], capsys)
    figure(f"{len(SAVED) + 1} texts come back byte for byte, {len(REFUSED) + 2} are refused")


def refused(
    path: Path, reason: str, name: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = path.with_suffix(".run")
    assert main(["train", "--corpus", str(path), "--out", str(out), *more]) == 2, name
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert reason in line, name
    assert not out.exists()


# --- T15

MEASURED = """
import resource, sys
from tinygpt.cli.main import main
code = main(sys.argv[1:])
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.battery("T15")
def test_a_huge_corpus_needs_little_memory(
    tmp_path: Path, figure: Figure, size: Callable[..., Any]
) -> None:
    big = size(200 * 10**6, 2 * 10**9)
    peaks = []
    for name, n_bytes in (("small", 10**6), ("big", big)):
        path = tmp_path / f"{name}.txt"
        piece = (WORDS * 16_000).encode()
        with path.open("wb") as file:
            for _ in range(max(1, n_bytes // len(piece))):
                file.write(piece)
        call = ["train", "--corpus", str(path), "--out", str(tmp_path / name), *MICRO, "--quiet"]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *call],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        code, peak = map(int, done.stdout.split()[-2:])
        assert code == 0, done.stderr
        peaks.append(peak)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        path.unlink()
    assert peaks[1] < 2 * peaks[0]
    figure(f"{big / 1e9:.1f} GB in {peaks[1] / peaks[0]:.2f} times the memory of 1 MB")


# --- T17


@pytest.mark.battery("T17")
def test_checkpoints_of_old_open_or_say_their_version(tmp_path: Path, figure: Figure) -> None:
    folders = sorted(GOLDEN.iterdir())
    assert f"version-{FORMAT_VERSION}" in [folder.name for folder in folders]
    opened = []
    for folder in folders:
        expected = json.loads((folder / "expected.json").read_text("utf-8"))
        path = folder / expected["checkpoint"]
        try:
            found = load(path)
        except CheckpointError as error:
            assert "version" in str(error)  # noqa: PT017
            assert folder.name != f"version-{FORMAT_VERSION}"
            continue
        assert found.step == expected["step"]
        arrays = {**found.model, **found.optimizer}
        sums = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
        assert sums == expected["sha256"]
        opened.append(folder.name)
    newer = tmp_path / "step-00000002"
    shutil.copytree(GOLDEN / f"version-{FORMAT_VERSION}" / "step-00000002", newer)
    manifest = json.loads((newer / MANIFEST).read_text("utf-8"))
    key = next(key for key, value in manifest.items() if value == FORMAT_VERSION)
    (newer / MANIFEST).write_text(json.dumps(manifest | {key: FORMAT_VERSION + 1}), "utf-8")
    with pytest.raises(CheckpointError, match="version"):
        load(newer)
    figure(f"{', '.join(opened)} opened to the same weights; a later one refused by its version")


# --- T19


@pytest.mark.battery("T19")
def test_a_step_is_the_same_however_it_is_split(
    tmp_path: Path, corpus: Path, figure: Figure
) -> None:
    """Micro-batches of one step are equal by construction: whole windows; the rule holds without.

    Loss and gradient are sums over the step's tokens divided by their number once, so that splits
    of unequal size (5, 2 and 1 windows) give the gradient of the whole too.
    """
    head = list(MICRO)
    head[head.index("--dropout") + 1] = "0"
    head[head.index("--max-steps") + 1] = "1"
    first = []
    for windows, parts in ((8, 1), (4, 2), (2, 4), (1, 8)):
        head[head.index("--batch-size") + 1] = str(windows)
        head[head.index("--gradient-accumulation-steps") + 1] = str(parts)
        run = tmp_path / f"{windows}x{parts}"
        assert main(["train", "--corpus", str(corpus), "--out", str(run), *head, "--quiet"]) == 0
        (step,) = [line for line in computed(run) if line["event"] == "step"]
        first.append((step["loss"], step["grad_norm"]))
    worst = max(abs(a - b) for each in first[1:] for a, b in zip(each, first[0], strict=True))
    assert worst <= 1e-6
    single = max(
        _gradient_distance(parts, torch.float32) for parts in ((4, 4), (1,) * 8, (5, 2, 1))
    )
    double = _gradient_distance((5, 2, 1), torch.float64)
    assert single <= 1e-6
    assert double <= 1e-12
    figure(
        f"8x1 = 4x2 = 2x4 = 1x8: loss and norm within {worst:.0e}, gradient within {single:.0e}; "
        f"in unequal parts in float64 within {double:.0e}"
    )


def _gradient_distance(parts: tuple[int, ...], dtype: torch.dtype) -> float:
    """Return how far the gradient of a step in unequal parts is from that of the whole."""
    config = ModelConfig(
        vocab_size=11,
        n_positions=8,
        n_embd=16,
        n_layer=1,
        n_head=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    ids = np.random.default_rng(0).integers(0, 11, 400)
    x, y = batch(ids, seed=0, step=0, batch_size=sum(parts), block_size=8)
    gradients = []
    for sizes in ((sum(parts),), parts):
        model = GPT(config, torch.Generator().manual_seed(0)).to(dtype)
        for a, b in zip(x.split(sizes), y.split(sizes), strict=True):
            logits = model(a).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, b.flatten(), reduction="sum")
            (loss / y.numel()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return float((gradients[0] - gradients[1]).abs().max())
