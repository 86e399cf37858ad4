"""hub_cache.py: models fetched from a stand-in for the hub, kept and found again in its cache."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from tests.formats.hub_server import COMMIT, REPO, Hub, serve

from tinygpt.cli.main import main
from tinygpt.errors import CheckpointError, MachineError
from tinygpt.formats import hub, hub_cache
from tinygpt.storage import network

OTHER_COMMIT = "2" * 40
FILES = {
    "config.json": b'{"model_type": "gpt2"}',
    "model.safetensors": b"weights" * 3000,
    "tokenizer.json": b"{}",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an empty cache of the hub."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(network, "_lost_s", 0.0)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "hf"


@pytest.fixture
def online(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, in the place of the hub (huggingface_hub reads the environment at import)."""
    with serve(FILES) as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
        huggingface_hub.close_session()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(kind: type[Exception], name: str = "distilgpt2") -> str:
    """Return the one line by which a model is refused."""
    with pytest.raises(kind) as caught:
        hub.locate(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what is downloaded


def test_download_takes_only_what_tinygpt_reads(
    online: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = FILES | {
        "merges.txt": b"#",
        "vocab.json": b'{"a": 0}',
        "generation_config.json": b'{"x": 1}',
    }
    others = ("README.md", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "modeling.py")
    online.files = wanted | dict.fromkeys((*others, "onnx/model.onnx", "evil/config.json"), b"x")
    located = hub.locate("distilgpt2")
    assert located == hub.Located(path=located.path, name="distilgpt2", commit=COMMIT)
    assert contents(located.path) == wanted
    assert sorted(online.downloaded) == sorted(wanted)
    assert capfd.readouterr().out == ""


def test_a_download_is_announced_and_the_weights_come_last(
    online: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.locate("distilgpt2")
    assert re.search(r"downloading distilbert/distilgpt2 \(0\.0 MB\) into .*/hf", caplog.text)
    assert online.downloaded[-1] == "model.safetensors"


def test_what_is_downloaded_serves_offline_and_is_not_fetched_again(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = hub.locate("distilgpt2")
    online.downloaded.clear()
    online.asked.clear()
    assert hub.locate("distilgpt2") == located
    assert online.asked == [("GET", f"/api/models/{REPO}")]
    assert online.downloaded == []
    online.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.locate("distilgpt2") == located
    assert online.asked == []


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_pickles_only_when_allowed(online: Hub, allow_pickle: bool) -> None:
    online.files = FILES | {"pytorch_model.bin": b"pickle"}
    assert "pytorch_model.bin" not in contents(hub.locate("distilgpt2").path)  # never beside others
    del online.files["model.safetensors"]
    online.commits = {"main": OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}
    online.downloaded.clear()
    if allow_pickle:
        located = hub.locate("distilgpt2", allow_pickle=True)
        assert contents(located.path)["pytorch_model.bin"] == b"pickle"
    else:
        message = refused(CheckpointError)
        assert "only as a pickle (pytorch_model.bin)" in message
        assert "add --allow-pickle if you trust its owner" in message
        assert online.downloaded == []


def test_a_model_without_tokenizer_is_not_downloaded(online: Hub) -> None:
    del online.files["tokenizer.json"]
    assert "has no tokenizer.json; a model folder holds" in refused(CheckpointError)
    assert online.downloaded == []


def test_a_shard_that_the_hub_lacks(online: Hub) -> None:
    del online.files["model.safetensors"]
    online.files["model.safetensors.index.json"] = b'{"weight_map": {"wte": "a.safetensors"}}'
    assert "has no a.safetensors, which its index" in refused(CheckpointError)


def test_a_token_is_sent(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.locate("distilgpt2")
    assert online.tokens == {None}
    online.commits |= {"v2": OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    online.tokens.clear()
    hub.locate("distilgpt2@v2")
    assert online.tokens == {"Bearer hf_secret"}


def test_files_on_another_host_are_taken_without_the_token(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    online.redirect = True
    assert contents(hub.locate("distilgpt2").path) == FILES
    assert online.elsewhere_tokens == {None}


# --- revisions


@pytest.mark.parametrize("revision", ["branch", "v1.0", "refs/pr/1", OTHER_COMMIT])
def test_branch_tag_and_commit(online: Hub, revision: str) -> None:
    online.commits |= {revision: OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}
    located = hub.locate(f"distilgpt2@{revision}")
    assert located.path.name == located.commit == OTHER_COMMIT
    assert located.name == f"distilgpt2@{revision}"
    assert hub.locate("distilgpt2").commit == COMMIT
    assert hub.locate("distilgpt2", revision=revision) == located


def test_a_cached_commit_asks_nobody(online: Hub) -> None:
    located = hub.locate("distilgpt2")
    online.asked.clear()
    assert hub.locate(f"distilgpt2@{COMMIT}").path == located.path
    assert online.asked == []


def test_a_newer_commit_fetches_only_what_changed(online: Hub) -> None:
    hub.locate("distilgpt2")
    online.commits = {"main": OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}
    online.files["config.json"] = b'{"model_type": "gpt2", "n_layer": 1}'
    online.downloaded.clear()
    located = hub.locate("distilgpt2")
    assert located.commit == OTHER_COMMIT
    assert contents(located.path) == online.files
    assert online.downloaded == ["config.json"]


@pytest.mark.parametrize("cached", [False, True])
def test_an_unknown_revision_is_never_another(online: Hub, cached: bool) -> None:
    if cached:
        hub.locate("distilgpt2")
    message = refused(CheckpointError, "distilgpt2@v9")
    assert f'{REPO} has no revision "v9" on the hub; its branches and tags' in message


def test_a_model_that_changes_while_it_is_read(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def push(*_: object) -> None:
        online.commits = {"main": OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}

    monkeypatch.setattr(hub_cache, "_probe", push)
    assert "changed on the hub while it was read; repeat" in refused(MachineError)
    assert hub.locate("distilgpt2").commit == OTHER_COMMIT


# --- broken off, and damaged


def test_a_download_goes_on_where_the_connection_broke(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    online.cut_at = 5000
    assert contents(hub.locate("distilgpt2").path) == FILES
    assert online.ranges == ["bytes=5000-"]


def test_repeating_fetches_only_what_has_not_arrived(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = huggingface_hub.hf_hub_download

    def break_off(repo: str, name: str, **arguments: str) -> str:
        if name == "model.safetensors":
            raise ConnectionResetError("connection reset\nby peer")
        return real(repo, name, **arguments)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", break_off)
    message = refused(MachineError)
    assert "the download broke off (connection reset); repeat the command" in message
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", real)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "holds it without model.safetensors" in refused(MachineError)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online.downloaded.clear()
    assert contents(hub.locate("distilgpt2").path) == FILES
    assert online.downloaded == ["model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_other_contents_than_announced_are_noticed_and_removed(online: Hub, name: str) -> None:
    online.sent[name] = b"#" * len(FILES[name])  # of the right size: the library sees nothing
    message = refused(MachineError)
    assert f"{name} arrived damaged ({len(FILES[name]):,} bytes with hash " in message
    assert f"the hub lists {online.etag(name)}) and was removed" in message
    online.sent.clear()
    assert contents(hub.locate("distilgpt2").path) == FILES


def test_another_size_than_announced_is_noticed(online: Hub) -> None:
    online.sent["model.safetensors"] = FILES["model.safetensors"][:-1]
    assert "file should be of size 21000 but has size 20999" in refused(MachineError)
    online.sent.clear()
    assert contents(hub.locate("distilgpt2").path) == FILES


# --- refusals


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (
            403,
            "GatedRepo",
            r"is gated: accept its terms at http://127\S+, then run `hf auth login`",
        ),
        (401, "GatedRepo", r"`hf auth login` \(or set HF_TOKEN\)"),
        (401, "RepoNotFound", "there is no folder .* here and no such model on the hub"),
        (403, "", r"the hub refused distilbert/distilgpt2 \(403\); check HF_TOKEN"),
    ],
)
@pytest.mark.parametrize("what", ["api_answer", "file_answer"])
def test_refusals_of_the_list_and_of_the_files(
    what: str, status: int, code: str, message: str, online: Hub
) -> None:
    setattr(online, what, (status, code))
    assert re.search(message, refused(CheckpointError))
    assert online.downloaded == []


def test_an_unknown_model_gets_a_suggestion(online: Hub) -> None:
    message = refused(CheckpointError, "distilbert/distillgpt2")
    assert 'no such model on the hub; did you mean "distilbert/distilgpt2"? (if' in message
    assert "`hf auth login`" in message


def test_a_broken_hub_is_like_none(online: Hub) -> None:
    online.api_answer = (503, "")
    assert "the hub answered 503, and the cache" in refused(MachineError)
    online.api_answer = None
    located = hub.locate("distilgpt2")
    online.api_answer = (500, "")
    assert hub.locate("distilgpt2") == located


def test_a_hub_that_lists_but_does_not_give(online: Hub) -> None:
    online.file_answer = (503, "")
    assert "the download broke off (the hub answered 503)" in refused(MachineError)


@pytest.mark.parametrize("what", ["api_delay_s", "file_delay_s"])
def test_a_hub_that_hangs_is_given_up(
    online: Hub, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setattr(online, what, 30.0)
    monkeypatch.setattr(network, "NETWORK_BUDGET_S", 0.5)
    started_s = time.monotonic()
    message = refused(MachineError)
    assert time.monotonic() - started_s < 3
    assert re.search(r"(the hub did not answer|broke off) \(no answer in 0\.\d s\)", message)


def test_no_network(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    message = refused(MachineError)
    assert "the hub did not answer (" in message
    assert f"`hf download {REPO}`" in message
    assert online.asked == []


def test_a_silent_hub_is_given_up_and_the_cache_used(
    online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = hub.locate("distilgpt2")
    online.asked.clear()
    monkeypatch.setattr(network, "NETWORK_BUDGET_S", 0.0)
    assert hub.locate("distilgpt2") == located
    assert "the hub did not answer" in refused(MachineError, "gpt2")
    assert online.asked == []


# --- a cache that can't be written


def test_a_cache_that_can_not_be_written(online: Hub, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    message = refused(MachineError)
    assert f"{REPO}: the cache {cache} can't be written: " in message
    assert "set HF_HOME to a folder of your own" in message


def test_a_complete_snapshot_is_used_without_a_write(online: Hub, cache: Path) -> None:
    located = hub.locate("distilgpt2")

    def state() -> dict[str, int]:
        return {str(p): p.lstat().st_mtime_ns for p in (cache, *cache.rglob("*"))}

    before = state()
    assert hub.locate("distilgpt2") == located
    assert state() == before


# --- links


def test_links_into_the_cache_and_inside_the_folder_are_followed(online: Hub) -> None:
    cached = hub.locate("distilgpt2").path
    folder = Path("mine")
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "tokenizer.json").symlink_to("config.json")
    (folder / "model.safetensors").symlink_to((cached / "model.safetensors").resolve())
    assert hub.locate("mine").path == folder
    Path("runs").mkdir()
    Path("runs/linked").symlink_to(folder.resolve())  # the folder itself may be anywhere
    assert hub.locate("linked").name == "linked"


def test_a_snapshot_of_another_cache(
    online: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached = hub.locate("distilgpt2").path
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another"))
    assert hub.locate(str(cached)).path == cached


def test_links_elsewhere_are_refused_by_name(cache: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    folder = Path("mine")
    folder.mkdir()
    (folder / "config.json").symlink_to(secret)
    message = refused(CheckpointError, "mine")
    assert f"mine/config.json is a link to {secret}, outside its folder" in message
    assert "copy the file instead" in message
    secret.unlink()
    assert f"is a link to {secret}, which is not there" in refused(CheckpointError, "mine")


# --- the command line


def test_sample_downloads_with_one_line_and_quiet_with_none(
    online: Hub, model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    online.files = contents(model_folder)
    call = ["sample", "distilgpt2", "ab", "--max-new-tokens", "3", "--top-k", "1"]
    assert main([*call, "--quiet"]) == 0
    quiet = capfd.readouterr()
    assert quiet.err == ""
    assert len(quiet.out) > 1
    online.commits = {"main": OTHER_COMMIT, OTHER_COMMIT: OTHER_COMMIT}
    online.files["config.json"] += b"\n"
    assert main(call) == 0
    told = capfd.readouterr()
    assert told.out == quiet.out
    assert told.err.splitlines()[0].startswith(f"downloading {REPO} (0.1 MB) into ")


def test_errors_of_the_hub_are_one_line(online: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    for answer, code in (((403, "GatedRepo"), 2), ((503, ""), 1)):
        online.api_answer = answer
        assert main(["sample", "distilgpt2"]) == code
        streams = capfd.readouterr()
        assert streams.out == ""
        assert streams.err.startswith("error: distilbert/distilgpt2")
        assert len(streams.err.splitlines()) == 1
    assert os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") is None
