"""The curves, samples and yardsticks of a run, for a picture that follows it."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinygpt.comparison.training_data import read_training_text, yardsticks
from tinygpt.config.limits import SCORED_BYTES
from tinygpt.errors import TinyGPTError
from tinygpt.evaluation.eval_texts import held_out_text
from tinygpt.formats.model_folder import read_training
from tinygpt.runs.learning_curve import BytesPerToken, bytes_per_token
from tinygpt.runs.log import METRICS, SAMPLES
from tinygpt.serve.playground.logs import Log, number, read_on
from tinygpt.serve.playground.models import without_folders
from tinygpt.serve.playground.runs import RunEntry, state

__all__ = ["Yardsticks", "curves", "samples"]

_NATS = BytesPerToken(train=1 / math.log(2), held_out=1 / math.log(2))
"""Leaves a loss as it is."""


def curves(run: RunEntry, after: int) -> dict[str, Any]:
    """Return what a run has logged after so many lines, in bits per byte of its own text.

    Raises:
        DataError: the file is no log.
    """
    where = state(run.folder)  # before the log, so that "finished" means there is no more to come
    log = read_on(run.folder / METRICS, after)
    training: dict[str, Any] = {}
    with suppress(TinyGPTError):
        training = read_training(run.folder)
    per_token = _per_token(training)
    steps, evaluations, unreadable = [], [], log.unreadable
    for event in log.events:
        try:
            if event.get("event") == "step":
                steps.append(_step(event, per_token or _NATS))
            elif event.get("event") == "evaluated":
                evaluations.append(_evaluation(event, per_token or _NATS))
        except ValueError:
            unreadable += 1
    goal = training.get("train")
    goal = goal if isinstance(goal, dict) else {}
    return {
        "name": run.name,
        "state": where,
        "unit": "nats per token" if per_token is None else "bits per byte",
        **_place(log),
        "unreadable": unreadable,
        "steps": steps,
        "evaluations": evaluations,
        "goal": {key: _given(goal, key) for key in ("max_steps", "minutes")},
    }


def samples(run: RunEntry, after: int) -> dict[str, Any]:
    """Return the samples that a run wrote on its way, after so many lines.

    Raises:
        DataError: the file is no log.
    """
    log, found, unreadable = read_on(run.folder / SAMPLES, after), [], 0
    for event in log.events:
        try:
            sample: dict[str, Any] = {
                key: number(event, key) for key in ("step", "tokens", "elapsed_s")
            }
            sample |= {key: _given(event, key) for key in ("temperature", "seed")}
            found.append({**sample, **{key: _text(event, key) for key in ("prompt", "text")}})
        except ValueError:
            unreadable += 1
    return {**_place(log), "unreadable": log.unreadable + unreadable, "samples": found}


class Yardsticks:
    """What the held-out text of each run costs without a network, measured once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int], dict[str, Any]] = {}

    def of(self, folder: Path) -> dict[str, Any]:
        """Return the yardsticks of a run, or why there are none; takes seconds the first time."""
        key = folder.resolve(), (folder / "training.json").lstat().st_mtime_ns
        if key not in self._known:
            found = _measured(folder)
            if found["why_not"]:  # it may be mended
                return found
            self._known[key] = found
        return self._known[key]


def _measured(folder: Path) -> dict[str, Any]:
    try:
        text = held_out_text(folder, SCORED_BYTES)
        training = read_training_text(folder)
    except TinyGPTError as error:
        return {"text": None, "yardsticks": [], "why_not": without_folders(str(error), folder)}
    return {
        "text": f"{text.name}, the first {len(text.text.encode()):,} bytes of its held-out part",
        "yardsticks": [asdict(yardstick) for yardstick in yardsticks(text, training)],
        "why_not": without_folders(training, folder) if isinstance(training, str) else None,
    }


def _place(log: Log) -> dict[str, Any]:
    return {"first": log.first, "lines": log.end, "more": log.more}


def _per_token(training: Mapping[str, Any]) -> BytesPerToken | None:
    """Return how losses become bits per byte; None where the run does not say its sizes."""
    with suppress(LookupError, TypeError, ArithmeticError):
        found = bytes_per_token(training["data"])
        return found if found.train > 0 and found.held_out > 0 else None
    return None


def _step(event: dict[str, Any], per_token: BytesPerToken) -> list[float]:
    loss = number(event, "loss") / math.log(2) / per_token.train
    where = [number(event, key) for key in ("step", "tokens", "elapsed_s")]
    return [*where, loss, number(event, "learning_rate")]


def _evaluation(event: dict[str, Any], per_token: BytesPerToken) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: number(event, key) for key in ("step", "tokens", "elapsed_s", "val_loss")
    }
    found["val"] = found["val_loss"] / math.log(2) / per_token.held_out
    found["bits_per_byte"] = _given(event, "bits_per_byte")
    return {**found, "final": event.get("final") is True}


def _given(data: dict[str, Any], key: str) -> float | None:
    """Return a number that may be left out."""
    with suppress(ValueError):
        return number(data, key)
    return None


def _text(event: dict[str, Any], key: str) -> str:
    """Return a text of an event; ValueError where it is none that UTF-8 can hold."""
    value = event.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")
    value.encode()
    return value
