"""What stands before every route: who may call, by which name, and how many at once.

A pure ASGI layer, so that streams and disconnects pass through it untouched. Whatever is refused
here is refused before the body is read (bodies.py); what fails below is told in general words.
"""

import hmac
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinygpt.serve.bodies import read_body, replayed
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.errors import Refusal, answer, log_failure

__all__ = ["HEADERS", "MAX_HEAD", "MAX_OPEN", "Limits", "is_open"]

MAX_HEAD = 16 * 1024
"""Bytes of a request's address and headers."""

MAX_OPEN = 512
"""Requests at once, waiting ones and streams included; each may hold a body."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise. No CORS header: other sites' pages read nothing."""


def is_open(path: str) -> bool:
    """Tell whether a path needs no key: whether the server lives, and the page without its data."""
    return path in ("/", "/health") or path.startswith("/static/")


class Limits:
    """The application with its limits before it."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig, reject: Callable[[str], None]) -> None:
        """Take what to guard.

        Args:
            reject: told why a request was refused that another moment would have let through.
        """
        self._app, self._reject = app, reject
        self._names = {"localhost", config.host.lower(), *(n.lower() for n in config.allow_host)}
        self._key = None if config.key is None else config.key.encode()
        self._n_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":  # no WebSocket is offered
            await self._app(scope, receive, send)
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self._n_open += 1
        try:
            self._check(scope)
            body = await read_body(Headers(scope=scope), receive)
            await self._app(scope, replayed(body, receive), send_on)
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send_on)
        except Exception as error:
            log_failure(error)
            if not started:
                failed = Refusal(500, "the server failed; its log says why")
                await answer(failed)(scope, receive, send_on)
        finally:
            self._n_open -= 1

    def _check(self, scope: Scope) -> None:
        """Refuse what need not be read, by its headers alone."""
        headers, path = Headers(scope=scope), scope["path"]
        n_bytes = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if n_bytes + sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEAD:
            raise Refusal(
                431,
                f"the address and the headers are longer than {MAX_HEAD:,} bytes",
                headers={"Connection": "close"},
            )
        host = _only(headers, "host")
        if host is None or not self._is_ours(host):
            raise Refusal(
                421,
                "the Host header is no name of this server; call it by its address, by "
                "localhost, or start it with --allow-host NAME",
                headers={"Connection": "close"},
            )
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None:
            self._check_origin(origin, host)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_open(path):
            raise _foreign()
        if self._key is not None and not is_open(path):
            given = headers.get("authorization", "")
            kind, _, key = given.partition(" ")
            right = hmac.compare_digest(key.strip().encode(), self._key)
            if kind.lower() != "bearer" or not right:
                raise Refusal(
                    401,
                    "the key is missing or wrong; send Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
                )
        if self._n_open > MAX_OPEN and path != "/health":
            self._reject("open")
            raise Refusal(
                503,
                f"{MAX_OPEN} requests are open already; try again",
                code="overloaded",
                headers={"Retry-After": "1", "Connection": "close"},
            )

    def _is_ours(self, host: str) -> bool:
        """Tell whether a Host header names this server: a name that is not known may be rebound."""
        name = _hostname(host)
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True  # an address is no name, so no one can make it mean another machine

    def _check_origin(self, origin: str, host: str) -> None:
        """Refuse what the page of another site asks for."""
        parts = urlsplit(origin)
        if parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower():
            return
        raise _foreign()


def _foreign() -> Refusal:
    return Refusal(
        403,
        "the page of another site may not call this server",
        headers={"Connection": "close"},
    )


def _only(headers: Headers, name: str) -> str | None:
    """Return a header that is there once."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
