"""The comparison report made for the page: one at a time, in a thread, with its progress.

What `tinygpt compare` makes, without the folders of its owner. The last report is kept.
"""

import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastapi import Response

from tinygpt.comparison.result import Comparison
from tinygpt.errors import TinyGPTError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.report.charts.page import inline_hash, page_style, policy
from tinygpt.serve.errors import Refusal, log_failure
from tinygpt.serve.playground.models import without_folders
from tinygpt.serve.playground.workers import Cancelled, begin, end_if

__all__ = ["Report", "Reports", "as_file", "with_report"]

_TELLING = 0.05
"""Share of the work after which the time to its end is told."""


class Report:
    """A report that is being made, or is done.

    Attributes:
        id: what requests call it; not to be guessed.
        comparison: what it shows; None until it is done.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.id = secrets.token_urlsafe(12)
        self.comparison: Comparison | None = None
        self._state = "running"
        self._error: str | None = None
        self._what, self._share = "", 0.0
        self._clock, self._started_s = clock, clock()
        self._ended_s: float | None = None
        self._stop = threading.Event()

    def make(self, models: Sequence[LanguageModel], text: str | None) -> None:
        """Compare the models; what goes wrong is kept for `to_dict`."""
        try:
            from tinygpt.comparison.compare import compare

            found = compare(models, None if text is None else [text], progress=self._tell)
            self.comparison = _without_folders(found)
            self._end("done")
        except Cancelled:
            self._end("cancelled")
        except TinyGPTError as error:
            folders = [lm.path for lm in models if lm.path is not None]
            self._end("failed", without_folders(str(error), *folders))
        except Exception as error:
            log_failure(error)
            self._end("failed", "the server failed; its log says why")

    def cancel(self) -> None:
        """End it as soon as may be; what is done stays done."""
        self._stop.set()
        if self.comparison is None:
            self._end("cancelled")

    def to_dict(self) -> dict[str, Any]:
        """Return how far it is."""
        ended_s = self._clock() if self._ended_s is None else self._ended_s
        elapsed_s, share = ended_s - self._started_s, self._share
        runs = self._state == "running"
        return {
            "id": self.id,
            "state": self._state,
            "progress": 1.0 if self._state == "done" else share,
            "what": self._what,
            "elapsed_s": elapsed_s,
            "eta_s": elapsed_s * (1 - share) / share if runs and share >= _TELLING else None,
            "error": self._error,
        }

    def _tell(self, what: str, share: float) -> None:
        end_if(self._stop)
        self._what, self._share = what, max(self._share, min(share, 1.0))

    def _end(self, state: str, error: str | None = None) -> None:
        if self._ended_s is None:  # what was cancelled stays so
            self._state, self._error, self._ended_s = state, error, self._clock()


class Reports:
    """Makes one report at a time, and keeps the last one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Report | None = None
        self._thread: threading.Thread | None = None

    def start(self, models: Sequence[LanguageModel], text: str | None) -> Report:
        """Begin a report; Refusal 409 while another one is made."""
        if self._thread is not None and self._thread.is_alive():
            raise Refusal(
                409,
                "another report is being made or is just ending; wait for it, or cancel it",
                code="report_running",
            )
        report = self._last = Report(self._clock)
        self._thread = begin(partial(report.make, models, text))
        return report

    def find(self, name: str) -> Report:
        """Return the last report; Refusal 404 if another one is asked for."""
        if self._last is None or self._last.id != name:
            raise Refusal(404, "there is no such report; the server keeps the last one only")
        return self._last


def as_file(report: Report, kind: str) -> Response:
    """Return a report as html, md or json; Refusal 409 while there is nothing to show."""
    from tinygpt.report import to_html, to_markdown  # and rich, which a start does not wait for

    comparison = report.comparison
    if comparison is None:
        raise Refusal(409, "the report is not done", code="report_not_done")
    if kind == "html":  # looked at in a frame, where it may run and open nothing
        allowed = f"{policy(page_style())}; frame-ancestors 'self'; sandbox"
        headers = {"Content-Security-Policy": allowed}
        return Response(to_html(comparison), media_type="text/html", headers=headers)
    headers = {"Content-Disposition": f'attachment; filename="comparison.{kind}"'}
    if kind == "md":
        text = to_markdown(comparison)
        return Response(text, media_type="text/markdown", headers=headers)
    return Response(comparison.to_json(), media_type="application/json", headers=headers)


def with_report(page_policy: str) -> str:
    """Return the page's Content-Security-Policy with the style sheet of reports allowed in it.

    A report in a frame of the page (srcdoc) is held to the page's policy beside its own.
    """
    return page_policy.replace("style-src", f"style-src '{inline_hash(page_style())}'")


def _without_folders(found: Comparison) -> Comparison:
    """Return a comparison that names no folder of this machine."""
    texts = (dataclasses.replace(t, source=without_folders(t.source)) for t in found.texts)
    models = (dataclasses.replace(model, path=None) for model in found.models)
    return dataclasses.replace(found, texts=tuple(texts), models=tuple(models))
