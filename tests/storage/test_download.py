"""download.py: files by hash, from a stand-in server on this machine and from hand-made
archives."""

import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tinygpt.errors import MachineError
from tinygpt.storage import archive, download, network

TEXT = b"To be, or not to be\n" * 5000
SHA256 = hashlib.sha256(TEXT).hexdigest()
OTHER = "0" * 64


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(network, "_lost_s", 0.0)
    return tmp_path / "xdg" / "tinygpt"


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        self.wfile.write(TEXT[:100] if self.path == "/short" else TEXT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        running.asked = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


# --- fetch_url


def test_url_is_fetched_once_and_leaves_nothing_else(server, own_cache):
    path = download.fetch_url(f"{server.url}/text", SHA256, "text.txt")
    assert path == own_cache / "text.txt"
    assert path.read_bytes() == TEXT
    assert download.fetch_url(f"{server.url}/text", SHA256, "text.txt") == path
    assert server.asked == ["/text"]
    assert os.listdir(own_cache) == ["text.txt"]


def test_cached_file_needs_no_network(own_cache):
    own_cache.mkdir(parents=True)
    (own_cache / "text.txt").write_bytes(TEXT)
    path = download.fetch_url("https://nowhere.invalid/text", SHA256, "text.txt")
    assert path.read_bytes() == TEXT


def test_wrong_hash_is_refused_and_not_kept(server, own_cache):
    with pytest.raises(MachineError, match=r"not the expected file \(100,000 bytes") as caught:
        download.fetch_url(f"{server.url}/text", OTHER, "text.txt")
    assert SHA256 in str(caught.value)
    assert os.listdir(own_cache) == []


def test_truncated_download_is_refused_and_not_kept(server, own_cache):
    with pytest.raises(MachineError, match=r"could not fetch .*text\.txt"):
        download.fetch_url(f"{server.url}/short", SHA256, "text.txt")
    assert not (own_cache / "text.txt").exists()


def test_error_is_one_line_with_folder_and_command(server, own_cache):
    with pytest.raises(MachineError) as caught:
        download.fetch_url(f"{server.url}/missing", SHA256, "text.txt")
    message = str(caught.value)
    assert "the server answered 404" in message
    assert f"`curl -fL --create-dirs -o {own_cache / 'text.txt'} {server.url}/missing`" in message
    assert "\n" not in message


def test_damaged_cache_is_set_aside_said_and_fetched_again(server, own_cache, caplog):
    own_cache.mkdir(parents=True)
    (own_cache / "text.txt").write_bytes(TEXT[:-1] + b"?")
    path = download.fetch_url(f"{server.url}/text", SHA256, "text.txt")
    assert path.read_bytes() == TEXT
    assert (own_cache / "text.txt.damaged").read_bytes() == TEXT[:-1] + b"?"
    assert "text.txt.damaged and is fetched again" in caplog.text


def test_too_large_a_file_is_cut_off(server, own_cache, monkeypatch):
    monkeypatch.setattr(network, "MAX_BYTES", 70_000)
    with pytest.raises(MachineError, match="larger than 70,000 bytes"):
        download.fetch_url(f"{server.url}/text", SHA256, "text.txt")


def test_too_slow_a_download_ends(server, monkeypatch):
    monkeypatch.setattr(network, "MAX_DOWNLOAD_S", -1.0)
    with pytest.raises(MachineError, match="took longer"):
        download.fetch_url(f"{server.url}/text", SHA256, "text.txt")


@pytest.mark.parametrize("url", ["http://example.org/x", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_only_https(url):
    with pytest.raises(MachineError, match="is not an https address"):
        download.fetch_url(url, SHA256, "text.txt")


def test_redirect_away_from_https_is_refused(server, monkeypatch):
    class Response(io.BytesIO):
        url = "http://elsewhere.example/text"

    monkeypatch.setattr(network, "ask_network", lambda ask, **_: Response(TEXT))
    with pytest.raises(MachineError, match=r"elsewhere\.example/text is not an https address"):
        download.fetch_url("https://example.org/text", SHA256, "text.txt")


def test_cache_that_cannot_be_written(server, own_cache):
    own_cache.parent.write_text("a file where the folder should be")
    with pytest.raises(MachineError, match="set XDG_CACHE_HOME"):
        download.fetch_url(f"{server.url}/text", SHA256, "text.txt")


def test_refused_connection_is_no_answer():
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with pytest.raises(MachineError, match=r"[Rr]efused"):
        download.fetch_url(f"http://127.0.0.1:{port}/text", SHA256, "text.txt")
    assert network._lost_s > 0


# --- fetch_from_index


def wheel(path: Path, members: dict[str, bytes], mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            zipped.writestr(info, data)
    return path


def source(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as tarred:
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size, item.type, item.linkname = len(data), kind, "/etc/passwd"
            tarred.addfile(item, io.BytesIO(data))
    return path


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip: hands out the archive it is given and counts the calls."""

    class Pip:
        archive = None
        calls = 0

        def __call__(self, requirement, sha256, work):
            self.calls += 1
            return self.archive

    stand_in = Pip()
    monkeypatch.setattr(download, "fetch_archive", stand_in)
    return stand_in


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def take(path: Path, members=lambda name: name.rpartition("/")[2] if "data/" in name else None):
    return download.fetch_from_index("pack==1", sha256_of(path), members, "pack-1")


@pytest.mark.parametrize("make", [wheel, source])
def test_only_chosen_members_are_taken_out(make, tmp_path, pip, own_cache):
    members = {"pack/data/a.txt": b"A", "pack/setup.py": b"evil", "pack/data/b.txt": b"B"}
    pip.archive = make(tmp_path / "archive", members)
    folder = take(pip.archive)
    assert folder == own_cache / "pack-1"
    assert sorted(os.listdir(folder)) == ["SHA256SUMS", "a.txt", "b.txt"]
    assert (folder / "b.txt").read_bytes() == b"B"
    assert f"{hashlib.sha256(b'A').hexdigest()}  a.txt\n" in (folder / "SHA256SUMS").read_text()
    assert take(pip.archive) == folder
    assert pip.calls == 1
    assert os.listdir(own_cache) == ["pack-1"]


@pytest.mark.parametrize("damage", ["changed", "missing", "no sums"])
def test_damaged_folder_is_set_aside_and_fetched_again(damage, tmp_path, pip, own_cache, caplog):
    pip.archive = wheel(tmp_path / "archive", {"data/a.txt": b"A"})
    for _ in range(2):  # the second time an older one is set aside already
        folder = take(pip.archive)
        if damage == "changed":
            (folder / "a.txt").write_bytes(b"X")
        else:
            (folder / ("a.txt" if damage == "missing" else "SHA256SUMS")).unlink()
    assert (take(pip.archive) / "a.txt").read_bytes() == b"A"
    assert pip.calls == 3
    assert (own_cache / "pack-1.damaged").is_dir()
    assert "pack-1.damaged and is fetched again" in caplog.text


@pytest.mark.parametrize("member", ["../data/a.txt", "/data/a.txt", "x\\data/a.txt"])
@pytest.mark.parametrize("make", [wheel, source])
def test_members_outside_the_archive_are_refused(make, member, tmp_path, pip):
    pip.archive = make(tmp_path / "archive", {member: b"A"})
    with pytest.raises(MachineError, match="is not a plain file of the archive"):
        take(pip.archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind, tmp_path, pip, own_cache):
    pip.archive = source(tmp_path / "archive", {"data/a.txt": b""}, kind)
    with pytest.raises(MachineError, match="is not a plain file of the archive"):
        take(pip.archive)
    assert os.listdir(own_cache) == []


def test_link_in_a_wheel_is_refused(tmp_path, pip):
    pip.archive = wheel(tmp_path / "archive", {"data/a.txt": b"/etc/passwd"}, mode=0o120777)
    with pytest.raises(MachineError, match="is not a plain file of the archive"):
        take(pip.archive)


@pytest.mark.parametrize("name", ["", "..", "a/b", "C:x", "SHA256SUMS"])
def test_names_that_leave_the_folder_are_refused(name, tmp_path, pip):
    pip.archive = wheel(tmp_path / "archive", {"data/a.txt": b"A"})
    with pytest.raises(MachineError, match="can't be called"):
        take(pip.archive, lambda member: name)


def test_two_members_of_one_name_are_refused(tmp_path, pip):
    pip.archive = wheel(tmp_path / "archive", {"x/data/a.txt": b"A", "y/data/a.txt": b"B"})
    with pytest.raises(MachineError, match="can't be called"):
        take(pip.archive)


def test_members_together_are_bounded(tmp_path, pip, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 15)
    pip.archive = wheel(tmp_path / "archive", {"data/a.txt": b"A" * 10, "data/b.txt": b"B" * 10})
    with pytest.raises(MachineError, match="makes more than 15 bytes"):
        take(pip.archive)


def test_archive_without_the_files_is_refused(tmp_path, pip):
    pip.archive = wheel(tmp_path / "archive", {"other.txt": b"A"})
    with pytest.raises(MachineError, match="none of the files"):
        take(pip.archive)


def test_archive_with_another_hash_is_refused(tmp_path, pip):
    pip.archive = wheel(tmp_path / "archive", {"data/a.txt": b"A"})
    with pytest.raises(MachineError, match="not the expected file"):
        download.fetch_from_index("pack==1", OTHER, lambda name: name, "pack-1")


def test_file_that_is_no_archive(tmp_path, pip):
    pip.archive = tmp_path / "archive"
    pip.archive.write_bytes(b"hello")
    with pytest.raises(MachineError, match=r"could not fetch pack==1 into .*pack-1"):
        take(pip.archive)


def test_a_faster_process_wins(tmp_path, pip, own_cache):
    pip.archive = wheel(tmp_path / "archive", {"data/a.txt": b"A"})

    def meanwhile(member):
        if not (own_cache / "pack-1").exists():
            download._write_folder(own_cache / "pack-1", {"a.txt": b"A"})
        return "a.txt"

    assert (take(pip.archive, meanwhile) / "a.txt").read_bytes() == b"A"
    assert os.listdir(own_cache) == ["pack-1"]


def test_without_pip(monkeypatch):
    monkeypatch.setattr(archive.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"has no pip; to mend it: `.* -m ensurepip`"):
        download.fetch_from_index("pack==1", OTHER, lambda name: name, "pack-1")
