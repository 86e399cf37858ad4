"""A server of one small model: behind a test client, on a real socket, or in its own process."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.serve.serving import model_of

from tinygpt.config.model_config import ModelConfig
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.gpt import GPT
from tinygpt.serve import ServeConfig
from tinygpt.serve.app import create_app
from tinygpt.serve.metrics import Metrics
from tinygpt.serve.models import Served, serve_model
from tinygpt.serve.server import address, listen, serve
from tinygpt.tokenizers.char_byte import ByteTokenizer, Tokenizer

KEY = "a key of the tests, long enough"

SMALL = ModelConfig(
    vocab_size=256,
    n_positions=64,
    n_embd=32,
    n_layer=2,
    n_head=2,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
)


@dataclass(frozen=True)
class App:
    """An application that is not on a socket."""

    app: FastAPI
    served: Served
    client: TestClient

    @property
    def lm(self) -> LanguageModel:
        return self.served.lm


@dataclass(frozen=True)
class Live:
    """A server on a socket."""

    url: str
    served: Served
    app: FastAPI
    stop: threading.Event
    thread: threading.Thread


def small_model(
    make_gpt: Callable[..., GPT], tokenizer: Tokenizer | None = None, step_s: float = 0.0
) -> LanguageModel:
    """A model of bytes; each step of writing takes at least step_s."""
    lm = model_of(make_gpt(SMALL), tokenizer or ByteTokenizer(), "torch")
    made = lm.engine.session

    def session(n_slots: int = 1) -> Any:
        slow = made(n_slots)
        step = slow.step

        def later(slots: Any, ids: Any) -> None:
            time.sleep(step_s)
            step(slots, ids)

        slow.step = later
        return slow

    if step_s:
        lm.engine.session = session  # type: ignore[method-assign]
    return lm


def _app(lm: LanguageModel, config: ServeConfig) -> tuple[FastAPI, Served]:
    metrics = Metrics()
    served = serve_model(lm, config, metrics.observer(lm.name))
    return create_app([served], config, metrics), served


@contextmanager
def in_process(lm: LanguageModel, **settings: Any) -> Iterator[App]:
    """The application, asked without a socket."""
    app, served = _app(lm, ServeConfig(**settings))
    client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    try:
        yield App(app, served, client)
    finally:
        served.batcher.close(0)


@contextmanager
def on_socket(lm: LanguageModel, **settings: Any) -> Iterator[Live]:
    """The application on a free port, run as `tinygpt serve` runs it."""
    config = ServeConfig(**{"port": 0, "drain_s": 5.0, **settings})
    app, served = _app(lm, config)
    stop, ready = threading.Event(), threading.Event()
    with listen(config) as sock:
        thread = threading.Thread(
            target=serve,
            args=(app, [served], config, sock),
            kwargs={"stop": stop.is_set, "ready": ready.set},
        )
        thread.start()
        assert ready.wait(30)
        try:
            yield Live(address(sock), served, app, stop, thread)
        finally:
            served.batcher.close(0)
            stop.set()
            thread.join(30)


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`tinygpt serve` in a process of its own, and its URL."""
    command = [sys.executable, "-m", "tinygpt", "serve", str(folder), "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if k != "TINYGPT_API_KEY"}
    with subprocess.Popen(
        [*command, "--threads", "1", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder.parent,
    ) as run:
        assert run.stderr is not None
        try:
            said = ""
            while "listening on " not in said:
                line = run.stderr.readline()
                assert line, said
                said += line
            yield run, re.findall(r"listening on (http://[^/]+)/", said)[0]
        finally:
            if run.poll() is None:
                run.kill()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for something to become true, and tell whether it did."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def is_idle(live: Live) -> Callable[[], bool]:
    batcher = live.served.batcher
    return lambda: batcher.running == batcher.waiting == batcher.slots_in_use == 0


def figure(url: str, name: str) -> float:
    text = httpx2.get(f"{url}/metrics").text
    found = re.search(rf"^tinygpt_{re.escape(name)} (\S+)$", text, re.M)
    assert found, text
    return float(found[1])
