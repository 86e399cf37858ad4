"""The server's figures as Prometheus reads them, named after vLLM's with tinygpt_ before.

A text is one choice of a request. The counts of a model are written by its batcher's thread alone
and read whenever they are asked for, so a histogram may be one observation ahead of its sum.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tinygpt.serve.batching.jobs import Job
from tinygpt.serve.errors import log_failure
from tinygpt.serve.models import Served
from tinygpt.version import __version__

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: upper bounds of the histograms' buckets."""

_HISTOGRAMS = {
    "request_queue_time_seconds": "Seconds that a text waited for a slot.",
    "time_to_first_token_seconds": "Seconds from the request to a text's first token.",
    "inter_token_latency_seconds": "Seconds between two tokens of a text.",
    "e2e_request_latency_seconds": "Seconds from the request to a text's end.",
}
_COUNTERS = {
    "prompt_tokens_total": "Tokens of prompts read, those past the window anew.",
    "generation_tokens_total": "Tokens written.",
    "requests_cancelled_total": "Texts whose client left.",
}
_GAUGES = {
    "num_requests_running": "Texts that have a slot.",
    "num_requests_waiting": "Texts that wait for one.",
    "slots_in_use": "Slots that hold a sequence.",
}
_ENDED = "Texts that ended by themselves (stop, length)."
_FAILED = "Texts whose time was up, or that failed (timeout, error)."
_REJECTED = "Requests answered 429 or 503: this client's share, all, the end, open connections."


class _Histogram:
    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(_BOUNDS) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(_BOUNDS, value)] += 1
        self.sum += value


class _Model:
    """What is counted of one model: the Observer of its batcher."""

    def __init__(self) -> None:
        self.histograms = {name: _Histogram() for name in _HISTOGRAMS}
        self.counters = dict.fromkeys(_COUNTERS, 0)
        self.ended, self.failures = Counter[str](), Counter[str]()

    def started(self, job: Job, queue_s: float) -> None:
        """Count the wait of a job that got a slot."""
        self.histograms["request_queue_time_seconds"].add(queue_s)

    def read(self, job: Job, n_tokens: int) -> None:
        """Count tokens of a prompt."""
        self.counters["prompt_tokens_total"] += n_tokens

    def wrote(self, job: Job, n_before: int, elapsed_s: float) -> None:
        """Count a token and the time that it took."""
        self.counters["generation_tokens_total"] += 1
        kind = "inter_token_latency_seconds" if n_before else "time_to_first_token_seconds"
        self.histograms[kind].add(elapsed_s)

    def finished(self, job: Job, reason: str, elapsed_s: float) -> None:
        """Count a job's end."""
        self.histograms["e2e_request_latency_seconds"].add(elapsed_s)
        if reason == "cancelled":
            self.counters["requests_cancelled_total"] += 1
        else:
            (self.ended if reason in ("stop", "length") else self.failures)[reason] += 1

    def failed(self, error: Exception) -> None:
        """Log what went wrong in the batcher."""
        log_failure(error)


class Metrics:
    """The figures of all models."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._rejected = Counter[str]()

    def observer(self, name: str) -> _Model:
        """Return what watches the batcher of a model."""
        return self._models.setdefault(name, _Model())

    def reject(self, reason: str) -> None:
        """Count a request that was answered 429 or 503."""
        self._rejected[reason] += 1

    def text(self, models: Sequence[Served]) -> str:
        """Return all figures in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines(models))

    def _lines(self, models: Sequence[Served]) -> Iterator[str]:
        counted = {one.name: self.observer(one.name) for one in models}
        for name, meaning in _GAUGES.items():
            yield from _head(name, "gauge", meaning)
            attribute = name.removeprefix("num_requests_")
            for one in models:
                yield _line(name, {"model_name": one.name}, getattr(one.batcher, attribute))
        for name, meaning in _COUNTERS.items():
            yield from _head(name, "counter", meaning)
            for model, kept in counted.items():
                yield _line(name, {"model_name": model}, kept.counters[name])
        for name, meaning in _HISTOGRAMS.items():
            yield from _head(name, "histogram", meaning)
            for model, kept in counted.items():
                yield from _buckets(name, model, kept.histograms[name])
        yield from _head("request_success_total", "counter", _ENDED)
        for model, kept in counted.items():
            for reason in ("stop", "length"):
                labels = {"model_name": model, "finished_reason": reason}
                yield _line("request_success_total", labels, kept.ended[reason])
        yield from _head("requests_failed_total", "counter", _FAILED)
        for model, kept in counted.items():
            for reason in ("timeout", "error"):
                labels = {"model_name": model, "reason": reason}
                yield _line("requests_failed_total", labels, kept.failures[reason])
        yield from _head("requests_rejected_total", "counter", _REJECTED)
        for reason in ("busy", "full", "draining", "open"):
            yield _line("requests_rejected_total", {"reason": reason}, self._rejected[reason])
        yield from _head("model_info", "gauge", "1 for each model that is served.")
        for one in models:
            yield _line("model_info", _info(one), 1)


def _info(one: Served) -> dict[str, str]:
    engine = one.lm.engine
    return {
        "model_name": one.name,
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "slots": str(one.batcher.n_slots),
        "version": __version__,
    }


def _buckets(name: str, model: str, histogram: _Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*_BOUNDS, None), list(histogram.counts), strict=True):
        total += count
        le = "+Inf" if bound is None else f"{bound:g}"
        yield _line(f"{name}_bucket", {"model_name": model, "le": le}, total)
    yield _line(f"{name}_sum", {"model_name": model}, histogram.sum)
    yield _line(f"{name}_count", {"model_name": model}, total)


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP tinygpt_{name} {meaning}"
    yield f"# TYPE tinygpt_{name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"tinygpt_{name}{{{shown}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
