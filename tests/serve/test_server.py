"""The server on a socket: who leaves, who asks too much, whose time is up, and how it ends."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serve.live import KEY, Live, figure, is_idle, on_socket, process, small_model, until

from tinygpt.cli.main import main
from tinygpt.errors import MachineError
from tinygpt.model.gpt import GPT
from tinygpt.serve import ServeConfig, limits
from tinygpt.serve.server import address, listen

LONG = {"prompt": "a", "max_tokens": 2000, "temperature": 0}


@contextmanager
def asked(live: Live, **fields: Any) -> Iterator[httpx2.Response]:
    """A stream that has begun."""
    body = {**LONG, "stream": True, **fields}
    with httpx2.stream("POST", f"{live.url}/v1/completions", json=body, timeout=60) as answer:
        yield answer


def ask(live: Live, **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{live.url}/v1/completions", json={**LONG, **fields}, timeout=60)


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_the_slot(make_gpt: Callable[..., GPT], stream: bool) -> None:
    with on_socket(small_model(make_gpt, step_s=0.005), slots=1) as live:
        batcher = live.served.batcher
        with httpx2.Client(timeout=60) as client:
            body = {**LONG, "stream": stream, "n": 3}
            if stream:
                with client.stream("POST", f"{live.url}/v1/completions", json=body) as answer:
                    next(answer.iter_bytes())
            else:
                with pytest.raises(httpx2.ReadTimeout):
                    client.post(f"{live.url}/v1/completions", json=body, timeout=0.5)
        assert until(is_idle(live), 2)
        assert batcher.running == 0
        written = figure(live.url, 'generation_tokens_total{model_name="tiny"}')
        time.sleep(0.1)
        assert figure(live.url, 'generation_tokens_total{model_name="tiny"}') == written < 500
        assert until(lambda: figure(live.url, 'requests_cancelled_total{model_name="tiny"}') == 3)


def test_a_full_server_answers_503_and_a_busy_client_429(make_gpt: Callable[..., GPT]) -> None:
    bounds = {"slots": 1, "max_waiting": 3, "max_waiting_per_client": 2}
    with on_socket(small_model(make_gpt, step_s=0.005), **bounds) as live, ExitStack() as held:
        for n_waiting in range(3):
            held.enter_context(asked(live))
            assert until(lambda n=n_waiting: live.served.batcher.waiting == n)
        busy = ask(live)
        assert busy.status_code == 429
        assert busy.json()["error"]["type"] == "rate_limit_error"
        held.enter_context(asked(live, user="another"))
        assert until(lambda: live.served.batcher.waiting == 3)
        full = ask(live, user="a third", stream=True)
        assert full.status_code == 503
        assert full.json()["error"]["type"] == "server_error"
        for answer in (busy, full):
            assert int(answer.headers["retry-after"]) >= 1
        assert figure(live.url, 'requests_rejected_total{reason="busy"}') == 1
        assert figure(live.url, 'requests_rejected_total{reason="full"}') == 1
        assert figure(live.url, 'num_requests_waiting{model_name="tiny"}') == 3
        assert figure(live.url, 'slots_in_use{model_name="tiny"}') == 1


def test_open_requests_are_bounded_but_for_health(
    make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_OPEN", 1)
    with on_socket(small_model(make_gpt, step_s=0.005)) as live, asked(live):
        full = ask(live)
        assert full.status_code == 503
        assert full.headers["retry-after"] == "1"
        assert httpx2.get(f"{live.url}/health").status_code == 200
    with on_socket(small_model(make_gpt)) as live:
        for _ in range(3):  # none is counted for ever
            assert ask(live, max_tokens=1).status_code == 200
            assert httpx2.get(f"{live.url}/nothing").status_code == 404


def test_a_request_is_taken_whole_or_not_at_all(make_gpt: Callable[..., GPT]) -> None:
    bounds = {"slots": 1, "max_waiting": 4, "max_waiting_per_client": 4}
    with on_socket(small_model(make_gpt, step_s=0.005), **bounds) as live, asked(live):
        assert until(lambda: live.served.batcher.running == 1)
        with asked(live, n=2):
            assert until(lambda: live.served.batcher.waiting == 2)
            assert ask(live, n=4).status_code == 429
            assert until(lambda: live.served.batcher.waiting == 2)


def test_the_time_of_a_request_is_bounded(make_gpt: Callable[..., GPT]) -> None:
    lm = small_model(make_gpt, step_s=0.02)
    with on_socket(lm, slots=1, timeout_s=0.6) as live:
        began_s = time.monotonic()
        answer = ask(live)
        assert answer.status_code == 200
        (choice,) = answer.json()["choices"]
        assert choice["finish_reason"] == "timeout"
        assert 0 < answer.json()["usage"]["completion_tokens"] < 100
        assert time.monotonic() - began_s < 5
        with asked(live), asked(live) as second:  # which never gets the slot
            late = [line for line in second.iter_lines() if "timeout" in line]
        assert len(late) == 1
        assert until(is_idle(live))
        assert figure(live.url, 'requests_failed_total{model_name="tiny",reason="timeout"}') == 3


def test_no_token_in_time_is_a_504(make_gpt: Callable[..., GPT]) -> None:
    # The first one's second token takes so long that the next one's time is up before its turn.
    with on_socket(small_model(make_gpt, step_s=1.0), slots=1, timeout_s=0.3) as live:
        with asked(live) as first:
            next(first.iter_lines())
            late = ask(live)
        assert late.status_code == 504
        assert late.json()["error"]["code"] == "timeout"


def test_a_draining_server_ends_what_it_began(make_gpt: Callable[..., GPT]) -> None:
    with on_socket(small_model(make_gpt, step_s=0.002), drain_s=20) as live:
        with httpx2.Client(base_url=live.url) as client:
            client.get("/health")
            with asked(live, max_tokens=300) as answer:
                lines = answer.iter_lines()
                next(lines)
                live.stop.set()
                assert until(lambda: live.app.state.draining)
                refused = client.post("/v1/completions", json={"prompt": "a"})
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) >= 1
                assert client.get("/health").status_code == 503
                assert list(lines)[-2:] == ["data: [DONE]", ""]
        live.thread.join(10)
        assert not live.thread.is_alive()


def test_what_outlives_the_drain_ends_with_an_error(make_gpt: Callable[..., GPT]) -> None:
    with on_socket(small_model(make_gpt, step_s=0.02), drain_s=0.3) as live:
        with asked(live) as answer:
            lines = answer.iter_lines()
            next(lines)
            began_s = time.monotonic()
            live.stop.set()
            rest = [line for line in lines if line]
        assert '"error"' in rest[-1]
        assert "[DONE]" not in "".join(rest)
        live.thread.join(10)
        assert time.monotonic() - began_s < 0.3 + 2


def test_a_taken_port_is_said_before_a_model_is_opened(capsys: pytest.CaptureFixture[str]) -> None:
    with listen(ServeConfig(port=0)) as sock:  # nothing is served on it yet
        port = address(sock).rpartition(":")[2]
        with pytest.raises(MachineError, match="choose another one with --port"):
            listen(ServeConfig(port=int(port)))
        assert main(["serve", "no-such-model", "--port", port]) == 1
        assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["203.0.113.9", "no-such-host.invalid"])
def test_an_address_that_is_not_this_machines_is_no_matter_of_the_port(host: str) -> None:
    with pytest.raises(MachineError, match=f"{host}:0 can't be listened on: .* with --host$"):
        listen(ServeConfig(host=host, port=0, key=KEY))


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    try:
        sock = listen(ServeConfig(host="::1", port=0))
    except MachineError:
        pytest.skip("this machine has no IPv6")
    with sock:
        assert address(sock).startswith("http://[::1]:")


# --- the process


@pytest.mark.slow
def test_sigterm_drains_and_exits_0(model_folder: Path) -> None:
    with process(model_folder) as (run, url):
        body = {"prompt": "a", "max_tokens": 1500, "stream": True}
        with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            run.send_signal(signal.SIGTERM)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert run.wait(20) == 0
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.read() == ""
        assert "Traceback" not in run.stderr.read()


@pytest.mark.slow
def test_a_second_signal_ends_at_once(model_folder: Path) -> None:
    with process(model_folder, "--max-tokens", "1000000") as (run, url):

        def hold() -> None:
            body = {"prompt": "a", "max_tokens": 1_000_000}
            with pytest.raises(httpx2.HTTPError):
                httpx2.post(f"{url}/v1/completions", json=body, timeout=60)

        holding = threading.Thread(target=hold)
        holding.start()
        running = 'tinygpt_num_requests_running{model_name="tiny"} 1'
        assert until(lambda: running in httpx2.get(f"{url}/metrics").text)
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        assert "once more ends at once" in run.stderr.readline()
        assert run.poll() is None
        began_s = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.wait(10) == 130
        assert time.monotonic() - began_s < 2
        holding.join(20)
