"""The page's data behind the server's walls: other sites, the key, slow readers, and the end."""

import contextlib
import dataclasses
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serve.live import KEY, App, in_process, on_socket, process, small_model, until

import tinygpt
from tinygpt.inference.transformers_backend.tokenizer import TransformersTokenizer
from tinygpt.model.gpt import GPT
from tinygpt.serve import server
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.playground.api import router
from tinygpt.serve.playground.models import without_folders


@pytest.fixture
def small(make_gpt: Callable[..., GPT]) -> Iterator[App]:
    with in_process(small_model(make_gpt)) as app:
        yield app


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)],
)
def test_another_site_can_not_even_have_something_computed(
    small: App, site: str, status: int
) -> None:
    headers = {"sec-fetch-site": site}
    assert small.client.get("/page/models", headers=headers).status_code == status
    assert small.client.get("/", headers=headers).status_code == 200  # a link to the page


def test_every_route_of_the_page_wants_the_key(make_gpt: Callable[..., GPT]) -> None:
    with in_process(small_model(make_gpt), key=KEY) as locked:
        for route in router([], ServeConfig()).routes:
            path = route.path.format(name="a", kind="html")
            for method in route.methods:
                answer = locked.client.request(method, path, json={})
                assert answer.status_code == 401, (method, path)


def test_only_the_report_is_a_document_of_its_own(small: App) -> None:
    answer = small.client.get("/page/models")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" not in answer.headers["content-security-policy"]
    page = small.client.get("/").headers["content-security-policy"]
    assert "'unsafe" not in page
    assert "frame-ancestors 'none'" in page


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("/home/me/run/config.json: not JSON", "config.json: not JSON"),
        ("runs/a/training.json can't be read", "a/training.json can't be read"),
        (
            "'/' (U+002F) at line 1; 3 bits/byte or 1/2",
            "'/' (U+002F) at line 1; 3 bits/byte or 1/2",
        ),
        ("[corpus] of /tmp/x y/z.json: bad", "[corpus] of z.json: bad"),
    ],
)
def test_messages_name_no_folder(message: str, told: str) -> None:
    assert without_folders(message, Path("runs/a"), Path()) == told


@pytest.mark.slow
def test_a_tokenizer_that_changes_a_text_names_no_folder(
    foreign_folder: Callable[[str], Path],
) -> None:
    folder = foreign_folder("llama")
    lm = tinygpt.load(folder)
    assert isinstance(lm.tokenizer, TransformersTokenizer)
    with in_process(dataclasses.replace(lm, name="llama")) as app:
        for text in ("\u2581a", "caf\u00e9 \ufb01", "a\u0000"):
            answer = app.client.post("/page/tokens", json={"model": "llama", "text": text})
            assert str(folder.parent) not in answer.text
            if answer.status_code == 400:
                assert "of llama changes the text" in answer.json()["error"]["message"]
                break
        else:
            raise AssertionError("no text was refused")


@pytest.mark.slow
def test_who_takes_nothing_is_cut_off(
    make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is asked for than the system's own buffers hold, and nothing is read."""
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    body = json.dumps({"model": "tiny", "text": "a" * 65536}).encode()
    head = (
        "POST /page/tokens HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    n_asked, taken = 12, 0
    with on_socket(small_model(make_gpt)) as live:
        host, port = live.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as lazy:
            lazy.sendall((head.encode() + body) * n_asked)
            time.sleep(3)
            with contextlib.suppress(ConnectionResetError):
                while part := lazy.recv(2**20):
                    taken += len(part)
    assert taken < n_asked * 3_000_000


@pytest.mark.slow
def test_who_reads_slowly_is_not(
    make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    asked: dict[str, Any] = {"model": "tiny", "text": "a" * 65536}
    with on_socket(small_model(make_gpt)) as live:
        with httpx2.stream("POST", f"{live.url}/page/tokens", json=asked) as answer:
            taken = 0
            for part in answer.iter_bytes(2**17):
                taken += len(part)
                time.sleep(0.05)
        assert taken > 3_000_000
        assert until(lambda: httpx2.get(f"{live.url}/health").status_code == 200)


@pytest.mark.slow
def test_the_end_waits_for_no_work_of_the_page(model_folder: Path) -> None:
    with process(model_folder) as (run, url):
        body = {"models": ["tiny"]}
        assert httpx2.post(f"{url}/page/report", json=body, timeout=30).status_code == 202
        time.sleep(0.5)
        began_s = time.monotonic()
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 0
        assert time.monotonic() - began_s < 5
        assert "Traceback" not in run.stderr.read()
