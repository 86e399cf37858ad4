"""A server's life: an address, a thread that speaks HTTP, and an end in good order.

The main thread keeps the signals to itself. Asked to end, the server takes no more texts (503),
lets those that were taken go on until its time is up, and then ends them with an error.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinygpt.errors import MachineError
from tinygpt.escape import visible
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.limits import MAX_HEAD
from tinygpt.serve.models import Served

__all__ = ["HEAD_S", "MAX_CONNECTIONS", "address", "listen", "serve"]

HEAD_S = 10.0
"""Seconds in which a connection has to ask for something."""

MAX_CONNECTIONS = 4096
"""Connections at once; more are cut off."""

BACKLOG = 1024
"""Connections that may wait to be taken; they may come while the models are being opened."""

LAST_WORDS_S = 0.5
"""Seconds in which answers may leave once all texts have ended."""

_LOOK_S = 0.05


def listen(config: ServeConfig) -> socket.socket:
    """Take the address, so that one that is taken is known before a model is opened.

    Raises:
        MachineError: it can't be had.
    """
    made: socket.socket | None = None
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        made = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it would take an address away from another server
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(BACKLOG)  # a port that is bound and no more, another server could still take
    except OSError as error:
        if made is not None:
            made.close()
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        way = "--host" if is_host else "--port (0 takes a free one)"
        raise MachineError(
            f"{config.host}:{config.port} can't be listened on: {error.strerror or error}; choose "
            f"another one with {way}"
        ) from None
    return made


def address(sock: socket.socket) -> str:
    """Return the URL of what listens on a socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: FastAPI,
    models: Sequence[Served],
    config: ServeConfig,
    sock: socket.socket,
    *,
    stop: Callable[[], bool],
    ready: Callable[[], None],
) -> None:
    """Serve until asked to stop, then end in good order.

    Args:
        stop: asked often; True begins the end.
        ready: called once requests are answered.

    Raises:
        MachineError: the server did not start, or ended by itself.
    """
    _log_safely()
    _allow_files()
    server = uvicorn.Server(_settings(app))
    speaking = threading.Thread(
        target=server.run, kwargs={"sockets": [sock]}, name="http", daemon=True
    )
    speaking.start()
    while not server.started and speaking.is_alive():
        speaking.join(_LOOK_S)
    if server.started:
        ready()
    while not stop() and speaking.is_alive():
        speaking.join(_LOOK_S)
    if not speaking.is_alive():
        raise MachineError("the server ended by itself; its log says why")
    app.state.draining = True
    _end(models, config.drain_s)
    server.should_exit = True
    speaking.join(LAST_WORDS_S * 2)


def _end(models: Sequence[Served], drain_s: float) -> None:
    """End all texts, at the latest when the time is up."""
    until_s = time.monotonic() + drain_s
    for one in models:
        one.batcher.drain()
    for one in models:
        one.batcher.close(max(0.0, until_s - time.monotonic()))


def _settings(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Impatient,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=MAX_HEAD,
    )


class _Impatient(H11Protocol):
    """Ends a connection that asks for nothing, or takes nothing; uvicorn would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at it now and then."""
        super().connection_made(transport)
        self._seen: tuple[object, int] = (None, 0)
        self._look = self.loop.call_later(HEAD_S, self._look_again)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._look.cancel()
        super().connection_lost(exc)

    def _look_again(self) -> None:
        """End it if nothing was asked or taken since the last look, and nothing is computed."""
        idle = self.cycle is None or self.cycle.response_complete
        n_waiting = self.transport.get_write_buffer_size()  # bytes that the client is to take
        if (idle or n_waiting) and (self.cycle, n_waiting) == self._seen:
            self.transport.abort()
            return
        self._seen = self.cycle, n_waiting
        self._look = self.loop.call_later(HEAD_S, self._look_again)


class _Escaped(logging.Handler):
    """Hands what uvicorn and asyncio log to tinygpt's own log, on one line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        error = record.exc_info[1] if record.exc_info else None
        said = f"{record.getMessage()}: {error!r}" if error else record.getMessage()
        logging.getLogger("tinygpt.serve").error("%s", visible(said[:500]))


def _log_safely() -> None:
    for name in ("uvicorn", "asyncio"):
        log = logging.getLogger(name)
        log.propagate = False
        if not any(isinstance(handler, _Escaped) for handler in log.handlers):
            log.addHandler(_Escaped(logging.ERROR))


def _allow_files() -> None:
    """Take as many open connections as the system gives."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = hard if hard != resource.RLIM_INFINITY else 2 * MAX_CONNECTIONS
        wanted = min(most, 2 * MAX_CONNECTIONS)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
