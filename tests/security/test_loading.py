"""S1 to S5 of docs/trust.md: a model folder from anyone is safe to open, whatever is in it."""

import importlib
import os
import pickle
import socket
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.hostile import (
    CANARY,
    CONFIG,
    FOLDERS,
    PICKLES,
    good,
    plain_parts,
    safetensors,
    tensors,
    write,
)

from tinygpt.cli import main as cli
from tinygpt.cli.main import main

VERBS = (
    "sample good abc --max-new-tokens 2",
    "evaluate good --text t.txt",
    "lens good --text t.txt",
    "compare good --text t.txt",
    "bench good",
    "convert good --out new",
    "train --from good --corpus t.txt --max-steps 1 --out run",
)
MOST_BYTES = 48 * 2**20
"""Of memory that a refusal may take."""
MOST_S = 30.0
"""A guard against hanging, on a busy machine too; docs/trust.md has a measured figure."""


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Import everything beforehand: a refusal is not charged with it."""
    modules = (
        "inference.load",
        "comparison.compare",
        "comparison.lens",
        "profiling.speed",
        "formats.convert",
        "training.train",
        "report",
    )
    for name in (*modules, *(f"cli.commands.{verb}" for verb in cli.VERBS)):
        importlib.import_module(f"tinygpt.{name}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder without network and without transformers; nothing beside it may change."""
    from huggingface_hub import constants

    work = tmp_path / "work"
    work.mkdir()
    write(work, "t.txt", "abcacb" * 400)
    monkeypatch.chdir(work)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setitem(sys.modules, "transformers", None)  # to import it is an ImportError
    called: list[object] = []
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, lambda *a: called.append(a))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: called.append(a))
    yield work
    assert called == []
    assert {path.name for path in tmp_path.iterdir()} <= {"work", "cache"}


@pytest.mark.parametrize("name", FOLDERS)
def test_hostile_folder_is_refused_by_every_verb(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, reason = FOLDERS[name]
    good(here / "good")
    build(here / "good")
    before = sorted(here.iterdir())
    for verb in VERBS:
        tracemalloc.start()
        started_s = time.monotonic()
        try:
            code = main(verb.split())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        said = capsys.readouterr()
        *progress, line = said.err.splitlines()
        assert (code, said.out) == (2, ""), (verb, said.err)
        assert line.startswith("error: "), verb
        assert reason in line, verb
        assert len(line) < 2100, verb
        assert not any(ord(c) < 32 or c == "\u202e" for c in "".join([*progress, line])), verb
        assert peak < MOST_BYTES, (verb, peak)
        assert time.monotonic() - started_s < MOST_S, verb
    assert sorted(here.iterdir()) == before  # no output, no canary


@pytest.mark.parametrize("name", PICKLES)
def test_s2_a_pickle_that_is_allowed_still_runs_nothing(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good(here / "good")
    os.remove("good/model.safetensors")
    write(here / "good", "pytorch_model.bin", PICKLES[name])
    assert main(["sample", "good", "abc", "--allow-pickle"]) == 2
    assert "not a plain state_dict" in capsys.readouterr().err
    write(here, "ckpt.pt", PICKLES[name])
    assert main(["convert", "ckpt.pt", "--out", "new", "--allow-pickle"]) == 2
    assert not Path(CANARY).exists()


def test_s2_the_trap_is_a_real_one(here: Path) -> None:
    pickle.loads(PICKLES["os.system"])
    assert Path(CANARY).exists()


def test_s4_keys_of_known_attacks_are_read_by_nobody(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CVE-2026-4372 and -5241: keys that made transformers fetch and run code."""
    good(here / "good")
    attacks = {
        "_attn_implementation_internal": "evil/kernel",
        "attn_implementation": "evil/kernel",
        "auto_map": {"AutoModelForCausalLM": "evil--model.Model"},
        "trust_remote_code": True,
        "text_config": {"auto_map": {"AutoConfig": "evil--c.C"}, "trust_remote_code": True},
    }
    write(here / "good", "config.json", CONFIG.to_dict() | attacks)
    write(here / "good", "generation_config.json", {"custom_generate": "evil/x", "top_k": 2})
    template = {"chat_template": "{{ cycler.__init__ }}", "auto_map": {"AutoTokenizer": ["e.E"]}}
    write(here / "good", "tokenizer_config.json", template)
    assert main(["sample", "good", "abc", "--max-new-tokens", "2", "--seed", "1"]) == 0
    said = capsys.readouterr()
    assert set(said.out) <= set("abc\n")
    assert all(repr(key) in said.err for key in attacks)  # named, so that nobody is surprised


def test_s4_what_a_run_says_of_itself_is_not_trusted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good(here / "good")
    for bad in ({"data": [1]}, {"data": "x"}, {"corpus": [1]}):
        write(here / "good", "training.json", bad)
        assert main(["compare", "good", "--text", "t.txt"]) == 2
        assert "not an object with keys" in capsys.readouterr().err
    os.truncate("good/training.json", 3 * 10**9)
    assert main(["evaluate", "good"]) == 2
    assert "larger than" in capsys.readouterr().err
    for corpus in ("/etc/passwd", "/dev/zero", "../../x"):  # a hash that nobody can know
        table = {"corpus": corpus, "sha256": "0" * 64}
        write(here / "good", "training.json", {"corpus": table, "data": {}})
        assert main(["evaluate", "good"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "root:" not in said.err


def test_s3_weights_that_overflow_are_said_to(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good(here / "good")
    huge = {name: array * 3e38 for name, array in tensors().items()}
    write(here / "good", "model.safetensors", safetensors(*plain_parts(huge)))
    assert main(["evaluate", "good", "--text", "t.txt"]) == 2
    assert "no probability" in capsys.readouterr().err
    assert main(["sample", "good", "abc"]) == 2
    assert "no numbers" in capsys.readouterr().err


def test_s3_no_more_is_read_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes, which no busy machine changes."""
    from tinygpt.errors import CheckpointError
    from tinygpt.formats.weights import read_safetensors
    from tinygpt.storage.files import read_small

    good(tmp_path / "good")
    FOLDERS["S3 header of 99 MB"][0](tmp_path / "good")
    counted: list[int] = []
    really = Path.open

    def counting(path: Path, *mode: str) -> object:
        file = really(path, *mode)
        read = file.read

        class Counted:
            def __enter__(self) -> "Counted":
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def fileno(self) -> int:
                return file.fileno()

            def read(self, n: int) -> bytes:
                data = read(n)
                counted.append(len(data))
                return data

        return Counted()

    monkeypatch.setattr(Path, "open", counting)
    with pytest.raises(CheckpointError, match="99,000,000"):
        read_safetensors(tmp_path / "good" / "model.safetensors")
    assert sum(counted) == 8
    counted.clear()
    with pytest.raises(ValueError, match="larger than 1,000"):
        read_small(tmp_path / "good" / "model.safetensors", 1000)
    assert sum(counted) == 1001
