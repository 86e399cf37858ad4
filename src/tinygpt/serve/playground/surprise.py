"""The lens as the page draws it: a text of the user's own under one model or two."""

import threading
from collections.abc import Sequence
from typing import Any

from tinygpt.comparison.lens import look
from tinygpt.comparison.lens_result import Lens, View
from tinygpt.inference.language_model import LanguageModel
from tinygpt.report.lens.cells import (
    DIFFERENCE_BOUNDS,
    SURPRISE_BOUNDS,
    Cell,
    bounds_text,
    difference_cells,
    notes,
    surprise_cells,
    telling,
)
from tinygpt.report.lens.html import lens_numbers
from tinygpt.serve.playground.workers import end_if

__all__ = ["surprise"]


def surprise(models: Sequence[LanguageModel], text: str, stop: threading.Event) -> dict[str, Any]:
    """Score a text; characters that a character model lacks are paid for, as in a comparison.

    Args:
        stop: ends the work with Cancelled when it is set.

    Raises:
        TinyGPTError: as `lens.look`.
    """
    lens = look(
        models, text, n_bytes=None, escape_unknown=True, progress=lambda what, share: end_if(stop)
    )
    end_if(stop)
    numbers = lens_numbers(lens)
    found = {
        "name": lens.name,
        "source": lens.source,
        "text": lens.text,
        "prefix": text[: len(text) - len(lens.text)],
        "notes": notes(lens),
        "words": numbers["words"],
        "views": [
            {**_totals(view), "cells": _levelled(cells["cells"], surprise_cells(lens, view))}
            for view, cells in zip(lens.views, numbers["views"], strict=True)
        ],
        "telling": _telling(lens),
        "bounds": {
            "surprise": bounds_text(SURPRISE_BOUNDS),
            "difference": bounds_text(DIFFERENCE_BOUNDS),
        },
    }
    if len(lens.views) > 1:
        found["difference"] = _levelled(numbers["difference"], difference_cells(lens))
    return found


def _totals(view: View) -> dict[str, Any]:
    e = view.evaluation
    names = ("n_bytes", "n_characters", "n_tokens", "n_unknown", "context", "stride", "engine")
    return {
        "name": view.name,
        "tokenization": view.tokenization,
        "bits_per_byte": e.bits_per_byte,
        "bits": view.bits,
        **{name: getattr(e, name) for name in names},
    }


def _levelled(numbers: list[list[Any]], cells: Sequence[Cell]) -> list[list[Any]]:
    """Put each cell's level behind its end."""
    return [[end, cell.level, *rest] for (end, *rest), cell in zip(numbers, cells, strict=True)]


def _telling(lens: Lens) -> list[dict[str, Any]]:
    """Return the most telling places by their characters, the largest first."""
    scored, found = lens.text.encode(), []
    for place in telling(lens):
        start = len(scored[: place.begin].decode())
        end = start + len(place.text)
        found.append({"start": start, "end": end, "text": place.text, "bits": list(place.bits)})
    return found
