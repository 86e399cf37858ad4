"""Work for the page off the event loop: so much at once, so much waiting, and who leaves ends it.

Each piece of work runs in a thread of its own that holds up no exit. It is handed an event that is
set when nobody waits for the answer any more.
"""

import asyncio
import concurrent.futures
import json
import threading
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from tinygpt.serve.errors import Refusal

__all__ = ["Cancelled", "Workers", "begin", "end_if", "is_working"]

LOOK_S = 0.1
"""How often a client that waits is looked for."""

RETRY_S = 2

_NAME = "page work"

Work = Callable[[threading.Event], Any]
"""Returns plain JSON data, or a Response."""


class Cancelled(Exception):  # noqa: N818  # no error: nobody wants the answer
    """Ends work that nobody waits for."""


def end_if(stop: threading.Event) -> None:
    """Raise Cancelled if the work is to end."""
    if stop.is_set():
        raise Cancelled


def begin(work: Callable[[], object]) -> threading.Thread:
    """Start work in a thread that holds up no exit."""
    thread = threading.Thread(target=work, name=_NAME, daemon=True)
    thread.start()
    return thread


def is_working() -> bool:
    """Tell whether such a thread lives: Python may abort where it ends one that computes."""
    return any(thread.name == _NAME for thread in threading.enumerate())


class Workers:
    """Runs a few pieces of work at once, lets a few more wait, and refuses the others."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._n = 0

    async def run(self, request: Request, work: Work) -> Response:
        """Answer a request with what the work gives.

        Raises:
            Refusal: 503, as much is waiting as may.
            TinyGPTError: what the work raised.
        """
        if self._n >= self._most:
            raise Refusal(
                503,
                "the page asks for more than this server does at once; try again in a moment",
                code="overloaded",
                headers={"Retry-After": str(RETRY_S)},
            )
        self._n += 1
        try:
            async with self._free:
                if await request.is_disconnected():  # while it waited
                    return _nobody()
                return await _answered(request, work)
        finally:
            self._n -= 1


async def _answered(request: Request, work: Work) -> Response:
    """Do the work in a thread; a client that leaves sets its event."""
    stop = threading.Event()
    done: concurrent.futures.Future[Response | None] = concurrent.futures.Future()

    done.set_running_or_notify_cancel()  # who leaves may cancel the wait, not the work

    def fill() -> None:
        try:
            done.set_result(_as_response(work(stop)))
        except Cancelled:
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    begin(fill)
    found = asyncio.wrap_future(done)
    try:
        while not (await asyncio.wait({found}, timeout=LOOK_S))[0]:
            if await request.is_disconnected():
                stop.set()
        return found.result() or _nobody()
    finally:
        stop.set()
        found.cancel()


def _nobody() -> Response:
    """Return an answer that nobody is there to read."""
    return Response(status_code=499)


def _as_response(answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(), media_type="application/json")
