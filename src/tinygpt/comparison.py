"""Models side by side, in the same units and on the same bytes: one `Comparison`.

Rules (docs/measuring.md): every model scores the identical bytes behind the same unscored prefix;
quality is in bits per byte of the original text; speed in bytes per second; what can't be measured
is None with the reason beside it, never a guess. A Comparison is plain data: report/ draws it.
"""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import tinygpt
from tinygpt.bench import Speed, measure_speeds
from tinygpt.border import REACH_BYTES, align
from tinygpt.errors import ConfigError, DataError
from tinygpt.language_model import LanguageModel
from tinygpt.model_folder import read_json
from tinygpt.model_report import (
    Architecture,
    ModelReport,
    Progress,
    known_to_all,
    open_model,
    report_on,
)
from tinygpt.run_config import SCORED_BYTES
from tinygpt.samples import SAMPLE_TEMPERATURE
from tinygpt.texts import Text, held_out_text, own_text, python_docs

__all__ = ["Comparison", "ScoredText", "compare", "default_texts"]

SCHEMA_VERSION = 1
"""Of comparison.json: fields are added under it, never renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A text that every model scored."""

    name: str
    source: str
    n_bytes: int
    n_characters: int
    sha256: str
    """Of the scored bytes."""
    prefix_bytes: int
    """Unscored bytes right before them, the same for every model."""
    common_border: bool
    """False if some model has no token that begins where the scored bytes do (border.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Any number of models on the same texts; `to_json` is comparison.json, schema_version 1."""

    schema_version: int = SCHEMA_VERSION
    tinygpt_version: str
    created: str
    """UTC, ISO 8601."""
    machine: dict[str, Any]
    corpus: dict[str, Any] | None
    """Name (`corpus`) and sha256 of what the first run was trained on."""
    texts: tuple[ScoredText, ...]
    models: tuple[ModelReport, ...]
    rules: tuple[str, ...]
    """The rules that were applied, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return comparison.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def __repr__(self) -> str:
        """Name the models and the texts."""
        models = ", ".join(model.name for model in self.models)
        return f"<Comparison of {models} on {', '.join(text.name for text in self.texts)}>"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from tinygpt.report import comparison_fragment  # a floor up: only for who looks at it

        return comparison_fragment(self)


def default_texts(
    models: Sequence[LanguageModel | Architecture], n_bytes: int | None = SCORED_BYTES
) -> list[Text]:
    """Return the held-out part of the first run's corpus, and python-docs."""
    texts = [
        held_out_text(lm.path, n_bytes)
        for lm in models
        if isinstance(lm, LanguageModel) and lm.path and (lm.path / "training.json").exists()
    ][:1]
    return [*texts, python_docs(n_bytes)] if not texts or texts[0].name != "python-docs" else texts


def compare(
    models: Sequence[LanguageModel | Architecture | str | Path],
    texts: Sequence[Text | str] | None = None,
    *,
    n_bytes: int | None = SCORED_BYTES,
    escape_unknown: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Put models side by side.

    Args:
        models: opened ones, or anything that `open_model` opens; at least one.
        texts: what to score; None takes `default_texts`. A str is a text of one's own, whose first
            line (at most 256 bytes) becomes the unscored prefix.
        n_bytes: how much of each text is scored; None for all.
        escape_unknown: pay for characters outside a character model's vocabulary by the escape
            code; False refuses them.
        progress: told how far the work is.

    Raises:
        TinyGPTError: a model that can't be opened or a text that can't be scored.
    """
    if not models:
        raise ConfigError("no model to compare: give at least one")
    say = progress or (lambda what, share: None)
    opened = [open_model(str(m)) if isinstance(m, str | Path) else m for m in models]
    if texts is None:
        chosen = default_texts(opened, n_bytes)
    else:
        chosen = [
            own_text(text, n_bytes, name=f"text {i}") if isinstance(text, str) else text
            for i, text in enumerate(texts, 1)
        ]
    if not chosen:
        raise DataError("no text to compare on: give at least one")
    tokenizers = [m.tokenizer for m in opened if m.tokenizer is not None]
    placed = [align(text, tokenizers) for text in chosen]
    chosen = [text for text, _ in placed]
    complete = [m for m in opened if isinstance(m, LanguageModel)]
    say("speed", 0.0)
    speed_of = _speeds(complete, known_to_all(chosen[0].text, tokenizers))
    reports = [
        report_on(
            m,
            chosen,
            speed_of.get(id(m), m.missing_weights or ""),
            escape_unknown,
            _Share(say, i, len(opened)),
        )
        for i, m in enumerate(opened)
    ]
    return Comparison(
        tinygpt_version=tinygpt.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(),
        corpus=_corpus(complete),
        texts=tuple(_scored(*pair) for pair in placed),
        models=tuple(reports),
        rules=_rules(escape_unknown),
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """Progress of one model out of several."""

    say: Progress
    index: int
    n: int

    def __call__(self, what: str, share: float) -> None:
        self.say(what, 0.1 + 0.9 * (self.index + share) / self.n)


def _speeds(models: Sequence[LanguageModel], text: str) -> dict[int, Speed | str]:
    """Return each model's speed by its id(), or why there is none."""
    try:
        return {id(m): s for m, s in zip(models, measure_speeds(models, text), strict=True)}
    except DataError as error:
        return {id(m): str(error) for m in models}


def _corpus(models: Sequence[LanguageModel]) -> dict[str, Any] | None:
    for lm in models:
        if lm.path and (lm.path / "training.json").exists():
            table = read_json(lm.path / "training.json").get("corpus")
            if isinstance(table, dict) and table.get("corpus"):
                return {**table, "corpus": Path(table["corpus"]).name}  # no folder of its owner's
    return None


def _scored(text: Text, common_border: bool) -> ScoredText:
    return ScoredText(
        name=text.name,
        source=text.described,
        n_bytes=len(text.text.encode()),
        n_characters=len(text.text),
        sha256=hashlib.sha256(text.text.encode()).hexdigest(),
        prefix_bytes=len(text.prefix.encode()),
        common_border=common_border,
    )


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _rules(escape_unknown: bool) -> tuple[str, ...]:
    unknown = (
        "a character outside a character model's vocabulary is paid for by an escape code of "
        "probability 1/(training characters + 1) plus 8 bits per UTF-8 byte"
        if escape_unknown
        else "a character outside a character model's vocabulary is refused"
    )
    return (
        "every model scores the same bytes (sha256 and count above), each byte once",
        "bits per byte = total bits / UTF-8 bytes of the original text; sums in float64",
        "each model uses its own full context; windows move on by half of it",
        "the text before the scored bytes is shown to every model and scored for none; the border "
        f"between them is moved on, at most {REACH_BYTES} bytes, to the start of a word, where a "
        "token starts in every tokenizer",
        unknown,
        "speed in bytes of text per second, batch 1, models timed in turn, median of the rounds",
        f"samples are drawn at temperature {SAMPLE_TEMPERATURE}, which is not comparable across "
        "vocabularies; quality is measured at temperature 1",
        "models trained on web text have probably seen public texts before",
    )
