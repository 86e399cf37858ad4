"""A stand-in for the hub on this machine: the few requests by which a model is listed and fetched.

`with serve(files) as hub:` gives a server whose attributes say what it answers, and which keeps
what it was asked. By hand: python tests/formats/hub_server.py FOLDER, then HF_ENDPOINT=the line
it prints.
"""

import hashlib
import http.server
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMIT = "1" * 40
REPO = "distilbert/distilgpt2"


class Hub(http.server.ThreadingHTTPServer):
    """What the hub has, how it misbehaves, and what it was asked."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repo = REPO
        self.files = dict(files)
        self.commits = {"main": COMMIT, COMMIT: COMMIT}  # revision -> commit
        self.lfs = {".safetensors", ".bin"}  # kept by sha256; the others by git's sha1
        self.sent: dict[str, bytes] = {}  # other contents than announced
        self.api_answer: tuple[int, str] | None = None  # status and X-Error-Code of the listing
        self.file_answer: tuple[int, str] | None = None  # and of the files
        self.api_delay_s = 0.0
        self.file_delay_s = 0.0
        self.cut_at: int | None = None  # the first answer with a body breaks off there
        self.redirect = False  # files lie on another host
        self.bytes_per_s: float | None = None
        self.asked: list[tuple[str, str]] = []  # method and path
        self.downloaded: list[str] = []
        self.ranges: list[str] = []
        self.tokens: set[str | None] = set()
        self.elsewhere_tokens: set[str | None] = set()
        self.closing = threading.Event()

    def etag(self, name: str) -> str:
        """Return sha256 or git's sha1 of a file, as the hub announces it."""
        data = self.files[name]
        if Path(name).suffix in self.lfs:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def sibling(self, name: str) -> dict[str, object]:
        """Describe a file as the listing of a model does."""
        size = len(self.files[name])
        entry: dict[str, object] = {"rfilename": name, "size": size, "blobId": self.etag(name)}
        if Path(name).suffix in self.lfs:
            entry |= {"lfs": {"sha256": self.etag(name), "size": size, "pointerSize": 130}}
        return entry


class _Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.server
        path = self.path.partition("?")[0]
        hub.asked.append((self.command, path))
        if path.startswith("/elsewhere/"):
            hub.elsewhere_tokens.add(self.headers.get("Authorization"))
            self.send_file(path.removeprefix("/elsewhere/"))
            return
        hub.tokens.add(self.headers.get("Authorization"))
        if path.startswith("/api/models/"):
            self.list_model(urllib.parse.unquote(path.removeprefix("/api/models/")))
        else:
            repo, _, rest = path[1:].partition("/resolve/")
            revision, _, name = rest.partition("/")
            self.resolve(repo, urllib.parse.unquote(revision), name)

    def list_model(self, path: str) -> None:
        hub = self.server
        hub.closing.wait(hub.api_delay_s)
        repo, _, revision = path.partition("/revision/")
        if hub.api_answer is not None:
            self.answer(*hub.api_answer)
        elif repo != hub.repo:
            self.answer(401, "RepoNotFound")
        elif (revision or "main") not in hub.commits:
            self.answer(404, "RevisionNotFound")
        else:
            siblings = [hub.sibling(name) for name in hub.files]
            info = {"id": repo, "sha": hub.commits[revision or "main"], "siblings": siblings}
            self.answer(200, body=json.dumps(info).encode())

    def resolve(self, repo: str, revision: str, name: str) -> None:
        hub = self.server
        hub.closing.wait(hub.file_delay_s)
        if hub.file_answer is not None:
            self.answer(*hub.file_answer)
        elif repo != hub.repo or revision not in hub.commits or name not in hub.files:
            self.answer(404, "EntryNotFound")
        elif hub.redirect:
            there = f"http://localhost:{hub.server_port}/elsewhere/{name}"
            self.answer(302, **self.description(name, revision), Location=there)
        else:
            self.send_file(name, **self.description(name, revision))

    def description(self, name: str, revision: str) -> dict[str, str]:
        hub = self.server
        headers = {"ETag": f'"{hub.etag(name)}"', "X-Repo-Commit": hub.commits[revision]}
        if Path(name).suffix in hub.lfs:
            headers |= {"X-Linked-Etag": headers["ETag"]}
            headers |= {"X-Linked-Size": str(len(hub.files[name]))}
        return headers

    def send_file(self, name: str, **headers: str) -> None:
        hub = self.server
        data, status = hub.sent.get(name, hub.files[name]), 200
        if (asked := self.headers.get("Range")) is not None:
            hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        if self.command == "GET":
            hub.downloaded.append(name)
        self.answer(status, body=data, **headers)

    def answer(self, status: int, error: str = "", body: bytes = b"", **headers: str) -> None:
        hub = self.server
        self.send_response(status)
        for name, value in {**headers, **({"X-Error-Code": error} if error else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "GET":
            return
        if hub.cut_at is not None and len(body) > hub.cut_at:
            body, hub.cut_at = body[: hub.cut_at], None
            self.close_connection = True
        step = len(body) if hub.bytes_per_s is None else max(1, int(hub.bytes_per_s / 10))
        for start in range(0, len(body), max(1, step)):
            self.wfile.write(body[start : start + step])
            if hub.bytes_per_s is not None:
                time.sleep(0.1)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Hub]:
    with Hub(files) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            hub.shutdown()
            thread.join()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with serve({path.name: path.read_bytes() for path in folder.iterdir()}) as hub:
        hub.bytes_per_s = float(sys.argv[2]) if len(sys.argv) > 2 else None
        sys.stdout.write(f"{hub.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
