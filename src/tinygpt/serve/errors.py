"""What the server says when it says no: OpenAI's error body, one line, and no path of this machine.

A validation error of pydantic becomes such a line here, and so does an error of our own tree: what
the client can mend is told as it is, the rest goes to the log alone.
"""

import json
import logging
import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tinygpt.errors import (
    ConfigError,
    ContextError,
    DataError,
    TinyGPTError,
    TokenizerError,
    did_you_mean,
)
from tinygpt.escape import visible
from tinygpt.serve.batching.jobs import Busy, Refused

__all__ = [
    "ErrorBody",
    "ErrorDetail",
    "Refusal",
    "answer",
    "answer_http",
    "answer_tinygpt",
    "answer_validation",
    "log_failure",
    "of_error",
    "responses",
]

_SHOWN = 60
"""Characters of a value that a message repeats."""

_OURS = (ConfigError, ContextError, DataError, TokenizerError)
"""What a client can mend; the others' messages may hold paths."""

_RULES = {
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} characters",
    "string_unicode": "text, not half a surrogate pair",
}
"""What pydantic says at length."""

_FAILED = "the server failed; its log says why"

_log = logging.getLogger("tinygpt.serve")


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    """The field that it is about."""
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail


class Refusal(HTTPException):
    """An answer that is no success, from anywhere below a route."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param, self.code = param, code

    def body(self) -> dict[str, Any]:
        """Return the error body."""
        kind = "server_error" if self.status_code >= 500 else "invalid_request_error"
        if self.status_code == 429:
            kind = "rate_limit_error"
        line = visible(str(self.detail))
        return {"error": {"message": line, "type": kind, "param": self.param, "code": self.code}}

    def json(self) -> str:
        """Return the error body as JSON, for a stream that has begun."""
        return json.dumps(self.body())


def answer(refusal: Refusal) -> JSONResponse:
    """Return the response that says it."""
    return JSONResponse(refusal.body(), refusal.status_code, refusal.headers)


def of_error(error: TinyGPTError) -> Refusal:
    """Return how an error of our own tree is told to a client, and log what is not told."""
    if isinstance(error, Refused):
        wait = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
        if isinstance(error, Busy):
            return Refusal(429, str(error), code="too_many_requests", headers=wait)
        return Refusal(503, str(error), code="overloaded", headers=wait)
    if isinstance(error, _OURS):
        code = "context_length_exceeded" if isinstance(error, ContextError) else None
        return Refusal(400, str(error), code=code)
    log_failure(error)
    return Refusal(500, _FAILED)


def log_failure(error: BaseException) -> None:
    """Log an error that nobody expected, on lines that nothing in it can forge."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-8:]).rstrip()
    said = f"{type(error).__name__}: {visible(str(error)[:500])}"
    _log.error("%s", f"{frames}\n{said}" if frames else said)


async def answer_http(request: Request, error: Exception) -> JSONResponse:
    """Answer a Refusal, or what Starlette itself refuses (404, 405)."""
    assert isinstance(error, HTTPException)
    if isinstance(error, Refusal):
        return answer(error)
    place = f"{request.method} {request.url.path[:_SHOWN]}"
    said = {404: "there is no such route", 405: "the route has no such method"}
    message = f"{place}: {said.get(error.status_code, str(error.detail))}"
    return answer(Refusal(error.status_code, message, headers=error.headers))


async def answer_tinygpt(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of our own tree."""
    assert isinstance(error, TinyGPTError)
    return answer(of_error(error))


async def answer_validation(request: Request, error: Exception) -> JSONResponse:
    """Answer a body, query or path that is not what the document says, by its first fault."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    names = [part for part in first["loc"] if part not in ("body", "query", "path")]
    body = error.body if isinstance(error.body, dict) else {}
    message, param = _told(first, names, body)
    return answer(Refusal(400, message, param=param))


def _told(
    fault: Mapping[str, Any], names: Sequence[str | int], body: Mapping[str, Any]
) -> tuple[str, str | None]:
    """Return the line about a fault, and the field that it is about."""
    kind = fault["type"]
    if kind == "json_invalid":
        return f"the body is not JSON: {fault['ctx']['error']}", None
    context = fault.get("ctx", {})
    if kind == "unknown_field":
        name = str(context["name"])[:_SHOWN]
        return f'"{name}" is not a field{did_you_mean(name, context["known"])}', name
    if kind in ("together", "one_text"):
        return str(fault["msg"]), None
    if not names:
        return "the body is not a JSON object with the fields of the route", None
    param, place = str(names[0])[:_SHOWN], _place(names, body)
    if kind == "missing":
        return f"{place} is missing", param
    rule = _RULES[kind].format(**context) if kind in _RULES else str(fault["msg"])
    rule = rule.removeprefix("Input should be ").removeprefix("a valid ")
    return f"{place}={_shown(fault['input'])} is not allowed: {rule}", param


def _place(names: Sequence[str | int], body: Mapping[str, Any]) -> str:
    """Write where a fault is: prompt[3], stream_options.include_usage."""
    place, value = "", body
    for name in names:
        if isinstance(name, int):
            place += f"[{name}]"
        elif not place or (isinstance(value, dict) and name in value):
            place += f".{name}" if place else str(name)
        else:  # the name of a choice within the schema
            continue
        if isinstance(value, dict):
            value = value.get(name, {})
    return place


def _shown(value: object) -> str:
    if isinstance(value, (list, dict)):
        return f"a list of {len(value):,}" if isinstance(value, list) else "an object"
    text = json.dumps(value) if isinstance(value, (str, int, float, type(None))) else "this"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what FastAPI documents for these statuses: the error body, and when to come again."""
    when = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return {
        status: {"model": ErrorBody, "description": _MEANINGS[status]}
        | ({"headers": when} if status in (429, 503) else {})
        for status in _known(statuses)
    }


def _known(statuses: Iterable[int]) -> list[int]:
    return sorted(set(statuses) | {401, 421, 431})


_MEANINGS = {
    400: "The request is not what the document says, or the model can't take it",
    401: "The key is missing or wrong",
    403: "Another site's page asks",
    404: "There is no such model",
    408: "The body came too slowly",
    413: "The body is too long",
    415: "The body is not application/json",
    421: "The Host header is no name of this server",
    429: "This client has too many texts waiting",
    431: "The address and the headers are too long",
    500: "The server failed",
    503: "The server is full or about to end",
    504: "The time of the request was up before the first token",
}
