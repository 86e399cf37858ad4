"""A request's body, whole before a route sees it: JSON, not too long, and there in time."""

import asyncio
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from tinygpt.config.schema import parse_json
from tinygpt.serve.errors import Refusal

__all__ = ["BODY_S", "MAX_BODY", "read_body", "replayed"]

MAX_BODY = 2**20
"""Bytes of a body."""

BODY_S = 15.0
"""Seconds in which a body must be there."""


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Read a body.

    Raises:
        Refusal: it is too long, too slow, or no JSON.
    """
    length = headers.get("content-length", "0")
    if not (length.isdecimal() and len(length) < 20):
        raise Refusal(400, "the Content-Length is no number", headers={"Connection": "close"})
    has_body = int(length) > 0 or "transfer-encoding" in headers
    if has_body:
        _check_kind(headers)
    if int(length) > MAX_BODY:
        raise _too_long()
    try:
        async with asyncio.timeout(BODY_S):
            body = b"".join(await _chunks(receive))
    except TimeoutError:
        raise Refusal(
            408, f"the body was not there after {BODY_S:g} s", headers={"Connection": "close"}
        ) from None
    _check_json(body)
    return body


async def _chunks(receive: Receive) -> Iterable[bytes]:
    chunks, n_bytes, more = list[bytes](), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the client left before its body was there")
        chunks.append(message.get("body", b""))
        n_bytes += len(chunks[-1])
        if n_bytes > MAX_BODY:
            raise _too_long()
        more = message.get("more_body", False)
    return chunks


def _check_kind(headers: Headers) -> None:
    """Refuse a body that is not plain JSON: a page of another site can send others unasked."""
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower()
    encoding = headers.get("content-encoding", "identity").lower()
    if (
        kind.strip().lower() != "application/json"
        or charset not in ("", "charset=utf-8")
        or encoding != "identity"
    ):
        raise Refusal(
            415,
            "the body must be JSON in UTF-8, not compressed, with the header Content-Type: "
            "application/json",
            headers={"Connection": "close"},
        )


def _check_json(body: bytes) -> None:
    """Refuse what is no JSON, has a field twice, or is nested too deeply to be meant."""
    try:
        if body:
            parse_json(body.decode())
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {str(error)[:200]}") from None


def _too_long() -> Refusal:
    return Refusal(
        413, f"the body is longer than {MAX_BODY:,} bytes", headers={"Connection": "close"}
    )


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives the body once and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
