"""Requests to hosts that may be silent: bounded waits, one budget for a process, files over https.

Where there is no network, all direct attempts of a process together wait at most NETWORK_BUDGET_S.
What speaks HTTP is imported where it is used: a model that is here starts without it.
"""

import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from tinygpt.errors import MachineError

__all__ = ["MAX_BYTES", "MAX_DOWNLOAD_S", "NETWORK_BUDGET_S", "ask_network", "download", "reason"]

NETWORK_BUDGET_S = 5.0
"""Seconds that one process may lose, in all, to hosts that don't answer."""

MAX_BYTES = 64 * 2**20
"""Largest download, and largest sum of the files taken out of one archive."""

MAX_DOWNLOAD_S = 120.0
"""Longest time that one file may take."""

_LOCAL_HOSTS = ("127.0.0.1", "localhost")

T = TypeVar("T")
_lost_s = 0.0
_lock = threading.Lock()


def ask_network(
    ask: Callable[[], T],
    *,
    replies: tuple[type[Exception], ...] = (),
    timeout_s: float = NETWORK_BUDGET_S,
) -> T:
    """Return what `ask` returns, or give up soon where the network is silent.

    Args:
        ask: one short request. It runs in a daemon thread, because neither the look-up of a host
            name nor a library's own retries can be interrupted.
        replies: exceptions which mean that the host did answer; they pass unchanged.
        timeout_s: the longest wait, if so much of the process's budget is left.

    Raises:
        MachineError: no answer; the message is the reason alone, for the caller to complete.
    """
    global _lost_s  # noqa: PLW0603 - the budget belongs to the process
    limit_s = min(timeout_s, NETWORK_BUDGET_S - _lost_s)
    if limit_s <= 0:
        raise MachineError("no host answered earlier in this process")
    future: Future[T] = Future()
    started_s = time.monotonic()
    threading.Thread(target=_settle, args=(future, ask), daemon=True).start()
    try:
        return future.result(timeout=limit_s)
    except replies:
        raise
    except Exception as error:  # the libraries' connection errors share no other base class
        with _lock:
            _lost_s += time.monotonic() - started_s
        why = reason(error) if future.done() else f"no answer in {limit_s:.1f} s"
        raise MachineError(why) from error


def download(url: str, timeout_s: float) -> bytes:
    """Return a file of at most MAX_BYTES, over https or from this machine.

    Args:
        url: https; plain http only for this machine itself.
        timeout_s: longest wait for an answer, and then between two pieces of the file.

    Raises:
        MachineError, OSError, http.client.HTTPException: it did not come; `reason` says why.
    """
    import urllib.error
    import urllib.request

    # No proxy reaches this machine's own servers.
    own = [urllib.request.ProxyHandler({})] if _checked_host(url) in _LOCAL_HOSTS else []
    opener = urllib.request.build_opener(*own)
    request = urllib.request.Request(url, headers={"User-Agent": "tinygpt"})  # noqa: S310 - checked
    replies = (urllib.error.HTTPError, MachineError)
    response = ask_network(
        lambda: opener.open(request, timeout=timeout_s), replies=replies, timeout_s=timeout_s
    )
    deadline_s = time.monotonic() + MAX_DOWNLOAD_S
    data = bytearray()
    with response:
        _checked_host(response.url)  # after redirects
        while piece := response.read(65536):
            data += piece
            if len(data) > MAX_BYTES:
                raise MachineError(f"it is larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > deadline_s:
                raise MachineError(f"it took longer than {MAX_DOWNLOAD_S:.0f} s")
    return bytes(data)


def reason(error: Exception) -> str:
    """Say in one line, without a file's name, why a request or a file failed."""
    import urllib.error

    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return reason(error.reason)
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return " ".join(str(error).split())[:400] or type(error).__name__


def _settle(future: "Future[T]", ask: Callable[[], T]) -> None:
    try:
        result = ask()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _checked_host(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL_HOSTS):
        raise MachineError(f"{url} is not an https address")
    return host
