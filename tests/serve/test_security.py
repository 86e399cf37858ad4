"""S8 to S17 of docs/trust.md: who may ask the server, for what, and what it never says."""

import inspect
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import BaseRoute
from tests.serve.live import KEY, App, in_process, on_socket, small_model

import tinygpt.serve
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.model.gpt import GPT
from tinygpt.serve import ServeConfig, bodies, limits, requests, server
from tinygpt.serve.bodies import MAX_BODY
from tinygpt.serve.limits import is_open
from tinygpt.serve.server import listen
from tinygpt.tokenizers.char_byte import ByteTokenizer

PAGE = Path(tinygpt.serve.__file__).parent / "playground" / "static"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def small(make_gpt: Callable[..., GPT]) -> Iterator[App]:
    with in_process(small_model(make_gpt)) as app:
        yield app


@pytest.fixture(scope="module")
def locked(make_gpt: Callable[..., GPT]) -> Iterator[App]:
    with in_process(small_model(make_gpt), key=KEY) as app:
        yield app


def error_of(answer: Any) -> dict[str, Any]:
    return answer.json()["error"]


# --- S8


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_s8_another_address_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="TINYGPT_API_KEY or --key-file"):
        ServeConfig(host=host)
    assert ServeConfig(host=host, key=KEY).host == host
    with pytest.raises(ConfigError, match="16 to"):
        ServeConfig(host=host, key="short")


def test_s8_this_machine_is_the_default() -> None:
    with listen(ServeConfig(port=0)) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
    for host in ("localhost", "::1", "127.0.0.9"):
        assert ServeConfig(host=host).key is None


# --- S9


def routes_of(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes_of(inner.routes)
        else:
            for method in sorted(route.methods):  # type: ignore[attr-defined]
                yield method, re.sub(r"\{[^}]*\}", "x", route.path)  # type: ignore[attr-defined]


def test_s9_every_route_wants_the_key(locked: App) -> None:
    found = [*routes_of(locked.app.routes), ("GET", "/no/such/route"), ("POST", "/invocations")]
    assert ("POST", "/v1/completions") in found
    assert ("GET", "/metrics") in found
    assert ("GET", "/openapi.json") in found
    assert ("POST", "/page/tokens") in found
    wrong = [{}, {"authorization": KEY}, {"authorization": f"Bearer {KEY}x"}]
    wrong += [{"authorization": f"Basic {KEY}"}, {"authorization": "Bearer "}]
    for method, path in found:
        for headers in wrong:
            answer = locked.client.request(method, path, headers=headers)
            if is_open(path):
                assert answer.status_code in (200, 404), path  # /static/x
                continue
            assert answer.status_code == 401, (method, path)
            assert method == "HEAD" or error_of(answer)["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
    assert {path for _, path in found if is_open(path)} == {"/", "/health", "/static/x"}


def test_s9_the_key_opens(locked: App) -> None:
    locked.client.headers["authorization"] = f"Bearer {KEY}"
    try:
        assert locked.client.get("/v1/models").status_code == 200
        answer = locked.client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert answer.status_code == 200
        schemes = locked.client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert schemes == {"key": {"type": "http", "scheme": "bearer"}}
    finally:
        del locked.client.headers["authorization"]


def test_s9_the_key_is_compared_in_constant_time_and_never_shown(
    locked: App, caplog: pytest.LogCaptureFixture
) -> None:
    assert "hmac.compare_digest(" in inspect.getsource(limits)
    caplog.set_level(logging.DEBUG)
    sent = locked.client.get("/v1/models", headers={"authorization": "Bearer guessed-key"})
    locked.client.get("/v1/models", headers={"authorization": b"Bearer \xfc"})
    assert "guessed-key" not in caplog.text + sent.text
    assert KEY not in caplog.text + repr(ServeConfig(key=KEY))


# --- S10


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:99", 200),
        ("[::1]:8000", 200),
        ("192.168.1.7:8000", 200),  # an address can't be rebound
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_s10_a_name_that_may_be_rebound_is_refused(small: App, host: str, status: int) -> None:
    for path in ("/health", "/", "/v1/models"):
        assert small.client.get(path, headers={"host": host}).status_code == status


def test_s10_a_name_may_be_allowed(make_gpt: Callable[..., GPT]) -> None:
    with in_process(small_model(make_gpt), allow_host=("Class.example",)) as app:
        assert app.client.get("/health", headers={"host": "class.example"}).status_code == 200
        assert app.client.get("/health", headers={"host": "x.class.example"}).status_code == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://127.0.0.1:9000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://127.0.0.1:8000.evil.example", 403),
        ("file://", 403),
    ],
)
def test_s10_the_page_of_another_site_may_not_ask(small: App, origin: str, status: int) -> None:
    answer = small.client.post("/tokenize", json={"prompt": "a"}, headers={"origin": origin})
    assert answer.status_code == status
    options = small.client.options("/tokenize", headers={"origin": origin})
    assert options.status_code == (405 if status == 200 else 403)
    for one in (answer, options, small.client.get("/v1/models", headers={"origin": origin})):
        assert not [name for name in one.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/json; charset=utf-16",
        "",
    ],
)
def test_s10_only_json_is_read(small: App, kind: str) -> None:
    body = json.dumps({"prompt": "a"}).encode()
    answer = small.client.post("/tokenize", content=body, headers={"content-type": kind})
    assert answer.status_code == 415
    good = {"content-type": "Application/JSON; charset=UTF-8"}
    assert small.client.post("/tokenize", content=body, headers=good).status_code == 200
    packed = {**JSON, "content-encoding": "gzip"}
    assert small.client.post("/tokenize", content=body, headers=packed).status_code == 415


# --- S11

BAD = [
    '{"n": 9}',
    '{"n": 0}',
    '{"n": true}',
    '{"n": 1.0}',
    '{"n": "1"}',
    '{"best_of": 8}',
    '{"best_of": true}',
    '{"max_tokens": -1}',
    '{"max_tokens": 1000001}',
    '{"max_tokens": 3000}',
    '{"max_tokens": 1e3}',
    '{"temperature": NaN}',
    '{"temperature": Infinity}',
    '{"temperature": -Infinity}',
    '{"temperature": 1e308}',
    '{"temperature": 1e999}',
    '{"temperature": -0.001}',
    '{"temperature": false}',
    '{"temperature": "1"}',
    '{"top_p": 0}',
    '{"top_p": 1.001}',
    '{"top_p": NaN}',
    '{"top_k": -1}',
    '{"min_p": 2}',
    '{"repetition_penalty": 0}',
    '{"presence_penalty": 2.5}',
    '{"frequency_penalty": -3}',
    '{"seed": 9223372036854775808}',
    '{"seed": 1.5}',
    '{"seed": 1' + "0" * 5000 + "}",
    '{"stop": ["a", "b", "c", "d", "e"]}',
    '{"stop": ""}',
    '{"stop": [""]}',
    '{"stop": "' + "x" * 65 + '"}',
    '{"stop": {"regex": "a*"}}',
    '{"logprobs": 21}',
    '{"logprobs": -1}',
    '{"logprobs": true}',
    '{"logit_bias": {"1": 100}}',
    '{"logit_bias": {}}',
    '{"prompt": []}',
    '{"prompt": [[]]}',
    '{"prompt": null}',
    '{"prompt": 5}',
    '{"prompt": {}}',
    '{"prompt": [1, "a"]}',
    '{"prompt": ["a", 1]}',
    '{"prompt": [true]}',
    '{"prompt": [-1]}',
    '{"prompt": [1.0]}',
    '{"prompt": [4294967296]}',
    '{"prompt": [[1], ["a"]]}',
    '{"prompt": ' + json.dumps(["a"] * 17) + "}",
    '{"prompt": ' + json.dumps([[1]] * 17) + "}",
    '{"prompt": ' + json.dumps([1] * 65) + "}",
    '{"prompt": "\\ud800"}',
    '{"model": ""}',
    '{"model": 5}',
    '{"user": "' + "x" * 201 + '"}',
    '{"stream": "yes"}',
    '{"stream_options": {"include_usage": true}}',
    '{"stream": true, "stream_options": {"include_usage": 1}}',
    '{"stream": true, "stream_options": {"other": true}}',
    '{"chat_template": "{% for i in range(10**9) %}x{% endfor %}"}',
    '{"image_url": "http://127.0.0.1/"}',
    '{"n": 1, "n": 2}',
    '{"prompt": "a"',
    "[]",
    "5",
    "null",
    '"text"',
    "",
    "\x00",
    "[" * 200_000,
    '{"a":' * 100_000,
    '{"stop": ' + "[" * 500 + "]" * 500 + "}",
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: body[:40])
def test_s11_every_bound_is_a_400(small: App, body: str) -> None:
    began_s = time.monotonic()
    answer = small.client.post("/v1/completions", content=body.encode(), headers=JSON)
    assert answer.status_code == 400, answer.text
    error = error_of(answer)
    assert error["type"] == "invalid_request_error"
    assert 0 < len(error["message"]) < 400
    assert time.monotonic() - began_s < 2


def test_s11_edges_are_allowed(small: App) -> None:
    body = {"n": 8, "max_tokens": 0, "temperature": -0.0, "top_p": 1, "seed": -(2**63)}
    body |= {"stop": ["x" * 64] * 4, "logprobs": 20, "presence_penalty": -2, "top_k": 0}
    answer = small.client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text


def test_s11_a_mass_of_faults_is_refused_at_the_first(small: App) -> None:
    began_s = time.monotonic()
    for value in ([None] * 200_000, [[1]] + [None] * 200_000, [1] * 99_999 + ["a"]):
        answer = small.client.post("/v1/completions", json={"prompt": value})
        assert answer.status_code == 400
    assert time.monotonic() - began_s < 5


def test_s11_a_body_is_capped_while_it_comes(small: App) -> None:
    assert (
        small.client.post("/tokenize", content=b" " * (MAX_BODY + 1), headers=JSON).status_code
        == 413
    )
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 3 * MAX_BODY:
            sent += 2**16
            yield b" " * 2**16

    assert small.client.post("/tokenize", content=endless(), headers=JSON).status_code == 413
    lied = {**JSON, "content-length": "-5"}
    assert small.client.post("/tokenize", content=b"{}", headers=lied).status_code == 400


# --- S12


@pytest.mark.parametrize("piece", ["a", "^", " ", "😀", "7", "\n", "é"])
def test_s12_a_megabyte_is_cut_in_time_and_off_the_loop(
    piece: str, byte_bpe: Callable[..., Any], make_gpt: Callable[..., GPT]
) -> None:
    tokenizer = byte_bpe([(" ", " "), ("a", "a"), ("aa", "aa"), ("7", "7")][1:])
    text = piece * (1_000_000 // len(piece.encode()))
    began_s = time.process_time()
    tokenizer.encode(text)
    assert time.process_time() - began_s < 2


def test_s12_the_loop_goes_on_while_a_text_is_cut(make_gpt: Callable[..., GPT]) -> None:
    class Slow(ByteTokenizer):
        def encode(self, text: str) -> Any:
            if text == "slow":
                entered.set()
                assert leave.wait(20)
            return super().encode(text)

    entered, leave = threading.Event(), threading.Event()
    with on_socket(small_model(make_gpt, Slow())) as live, httpx2.Client() as client:
        bodies = [("/tokenize", {"prompt": "slow"}), ("/v1/completions", {"prompt": "slow"})]
        for path, body in bodies:
            entered.clear()
            leave.clear()
            asked = threading.Thread(
                target=httpx2.post, args=(live.url + path,), kwargs={"json": body, "timeout": 30}
            )
            asked.start()
            assert entered.wait(20)
            assert client.get(f"{live.url}/health", timeout=5).status_code == 200
            leave.set()
            asked.join()


def test_s12_what_can_not_fit_is_refused_before_it_is_cut(
    small: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(text: str) -> Any:
        raise AssertionError("a text that can't fit was cut")

    monkeypatch.setattr(small.lm.tokenizer, "encode", encode)
    answer = small.client.post("/v1/completions", json={"prompt": "a" * 1_000_000})
    assert answer.status_code == 400
    assert error_of(answer)["code"] == "context_length_exceeded"


# --- S13


def test_s13_idle_and_slow_connections_hold_nobody_up(
    make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 1.5)
    monkeypatch.setattr(bodies, "BODY_S", 1.5)
    head = b"POST /tokenize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    begun = [b"", b"GET / HTT", head, head + b"Content-Length: 900\r\n\r\n{"]
    open_ones = []
    with on_socket(small_model(make_gpt)) as live, httpx2.Client() as client:
        place = ("127.0.0.1", int(live.url.rpartition(":")[2]))
        try:
            for i in range(200):
                open_ones.append(socket.create_connection(place))
                open_ones[-1].sendall(begun[i % len(begun)])
            took = []
            for _ in range(10):
                began_s = time.monotonic()
                assert client.get(f"{live.url}/health").status_code == 200
                took.append(time.monotonic() - began_s)
            assert sorted(took)[5] < 0.1
            for i, one in enumerate(open_ones):  # none is kept for ever
                one.settimeout(10)
                rest = b"".join(iter(lambda one=one: one.recv(4096), b""))
                assert (b" 408 " in rest) == (i % len(begun) == 3)
        finally:
            for one in open_ones:
                one.close()


def test_s13_a_long_head_is_refused(make_gpt: Callable[..., GPT]) -> None:
    with on_socket(small_model(make_gpt)) as live:
        for headers in ({"x": "y" * 20_000}, {f"x{i}": "y" * 50 for i in range(500)}):
            assert httpx2.get(f"{live.url}/health", headers=headers).status_code == 431


# --- S14


@pytest.mark.slow
def test_s14_memory_does_not_grow(make_gpt: Callable[..., GPT]) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say what a process holds")
    asked: list[tuple[str, Any]] = [
        ("/v1/completions", {"prompt": "a", "max_tokens": 2}),
        ("/v1/completions", {"prompt": "ab", "max_tokens": 3, "stream": True, "logprobs": 3}),
        ("/v1/completions", {"prompt": "a" * 999, "n": 2}),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 9}),
        ("/tokenize", {"prompt": "x" * 5000}),
        ("/detokenize", {"tokens": [1] * 500}),
        ("/nothing", {}),
    ]
    with in_process(small_model(make_gpt)) as app, app.client as client:
        for i in range(2800):
            path, body = asked[i % len(asked)]
            client.post(path, json=body)
            if i == 700:
                before = resident()
        assert resident() < 1.05 * before


# --- S15


def test_s15_failures_are_told_in_general_words(
    make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = "/secret/place\r\nWARNING forged \x1b[31mred"
    for error in (RuntimeError(hostile), CheckpointError(hostile), OSError(5, hostile)):
        with in_process(small_model(make_gpt)) as app:

            def encode(text: str, error: Exception = error) -> Any:
                raise error

            monkeypatch.setattr(app.lm.tokenizer, "encode", encode)
            for path in ("/tokenize", "/v1/completions"):
                caplog.clear()
                answer = app.client.post(path, json={"prompt": "a"})
                assert answer.status_code == 500
                assert error_of(answer)["type"] == "server_error"
                assert "secret" not in answer.text
                assert "Traceback" not in answer.text
                assert "/secret/place" in caplog.text  # where it belongs
                assert "\x1b" not in caplog.text
                assert "\nWARNING forged" not in caplog.text


@pytest.mark.parametrize("path", ["/v1/models/{}", "/{}", "/static/{}"])
def test_s15_answers_hold_no_control_characters(small: App, path: str) -> None:
    answer = small.client.get(path.format("%0d%0aX-Bad:%20yes%1b%5b31m%00"))
    assert answer.status_code == 404
    assert "x-bad" not in answer.headers
    assert not re.search(r"[\x00-\x1f\x7f]", error_of(answer)["message"])
    body = {"prompt": "a", "model": "\x1b[31m\r\nred\u202e"}
    told = error_of(small.client.post("/v1/completions", json=body))["message"]
    assert "\x1b" not in told
    assert "\u202e" not in told


# --- S16


def test_s16_every_answer_has_the_headers(small: App) -> None:
    answers = [small.client.get(path) for path in ("/", "/health", "/nothing", "/static/page.css")]
    answers.append(small.client.post("/v1/completions", json={"n": 9}))
    answers.append(small.client.post("/v1/completions", json={"max_tokens": 1, "stream": True}))
    answers.append(small.client.get("/", headers={"host": "evil.example"}))
    for answer in answers:
        policy = dict(
            rule.strip().partition(" ")[::2]
            for rule in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in str(policy)
        assert "http" not in str(policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_s16_the_page_runs_nothing_inline_and_loads_nothing_from_elsewhere() -> None:
    page = (PAGE / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    for file in PAGE.glob("*.js"):
        script = file.read_text("utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in script, (file.name, word)
        names = script.replace('"http://www.w3.org/2000/svg"', "")  # a namespace, no address
        assert not re.search(r"""["'`]https?://""", names), file.name


# --- S17


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "..%5capp.py",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "index.html%00.css",
        "page.css/",
        "PAGE.CSS",
        ".",
        "",
    ],
)
def test_s17_nothing_but_the_pages_files_is_given(small: App, name: str) -> None:
    assert small.client.get(f"/static/{name}").status_code == 404


def test_s17_a_range_is_not_cut(small: App) -> None:
    ranges = "bytes=" + ",".join(f"{i}-{i + 1}" for i in range(500))
    answer = small.client.get("/static/page.css", headers={"range": ranges})
    assert answer.status_code == 200
    assert answer.content == (PAGE / "page.css").read_bytes()
    assert tuple(map(int, version("starlette").split(".")[:2])) >= (0, 50)
    sources = [path.read_text("utf-8") for path in PAGE.parent.glob("*.py")]
    assert not [one for one in sources if "FileResponse" in one or "StaticFiles" in one]


def test_the_bounds_of_the_checklist_are_these() -> None:
    assert (requests.MAX_N, requests.MAX_PROMPTS, requests.MAX_LOGPROBS) == (8, 16, 20)
    assert (requests.MAX_STOPS, requests.MAX_STOP, MAX_BODY) == (4, 64, 2**20)
