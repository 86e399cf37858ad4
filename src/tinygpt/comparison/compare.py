"""Models side by side, in the same units and on the same bytes: one `Comparison`.

The rules (methodology.py, docs/measuring.md): identical bytes behind the same unscored prefix, bits
per byte of the original text, speed in bytes per second; what can't be measured is None with the
reason beside it, never a guess. A Comparison is plain data: report/ draws it.
"""

import dataclasses
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from tinygpt.comparison.build_report import Setting, report_on
from tinygpt.comparison.config_diff import config_files, config_keys
from tinygpt.comparison.methodology import rules
from tinygpt.comparison.result import Comparison, ScoredText
from tinygpt.comparison.score_models import Scoring, score_all, scored_text
from tinygpt.comparison.training_data import TrainingText, read_training_texts, yardsticks
from tinygpt.config.limits import SCORED_BYTES
from tinygpt.errors import ConfigError, DataError
from tinygpt.evaluation.boundary import align
from tinygpt.evaluation.eval_texts import Text, held_out_text, known_to_all, own_text, python_docs
from tinygpt.formats.model_folder import read_json
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import Architecture, open_model
from tinygpt.profiling.result import Speed
from tinygpt.profiling.speed import measure_speeds
from tinygpt.progress import Progress, Tell
from tinygpt.version import __version__

__all__ = ["compare", "default_texts"]


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
    progress: Tell | None = None,
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
    say = Progress(progress)
    opened = _distinct([open_model(str(m)) if isinstance(m, str | Path) else m for m in models])
    chosen = default_texts(opened, n_bytes) if texts is None else _own(texts, n_bytes)
    if not chosen:
        raise DataError("no text to compare on: give at least one")
    tokenizers = [m.tokenizer for m in opened if m.tokenizer is not None]
    placed = [align(text, tokenizers) for text in chosen]
    chosen = [text for text, _ in placed]
    lms = [m for m in opened if isinstance(m, LanguageModel)]
    say("speed", 0.0)
    speed_of = _speeds(lms, known_to_all(chosen[0].text, tokenizers))
    say("training texts", 0.05)
    trained_on = read_training_texts(lms)
    teacher = next((n for n, t in trained_on.items() if isinstance(t, TrainingText)), None)
    taught_by = None if teacher is None else trained_on[teacher]
    scored, scorings = _score(lms, placed, taught_by, escape_unknown, say.part(0.1, 0.6))
    setting = Setting(
        texts=chosen,
        scorings=scorings,
        yardsticks=scored[0].yardsticks,
    )
    reports = []
    for i, m in enumerate(opened):
        speed = speed_of.get(id(m), m.missing_weights or "")
        share = say.part(0.7 + 0.3 * i / len(opened), 0.3 / len(opened))
        reports.append(report_on(m, setting, speed, trained_on.get(m.name), share))
    return Comparison(
        tinygpt_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(),
        corpus=_corpus(lms),
        texts=tuple(scored),
        models=tuple(reports),
        yardsticks_from=teacher,
        config_keys=config_keys([config_files(_folder(m), m.config) for m in opened]),
        rules=rules(reports, scorings, escape_unknown),
    )


def _score(
    lms: Sequence[LanguageModel],
    placed: Sequence[tuple[Text, bool]],
    taught_by: TrainingText | str | None,
    escape_unknown: bool,
    say: Progress,
) -> tuple[list[ScoredText], list[Scoring]]:
    """Score each text by every model that has its weights, and by the yardsticks."""
    real = [lm for lm in lms if lm.missing_weights is None]
    scored, scorings = [], []
    for i, (text, common_border) in enumerate(placed):
        share = say.part(i / len(placed), 0.8 / len(placed))
        scoring = score_all(
            real, text, escape_unknown=escape_unknown, with_context=i == 0, say=share
        )
        share(f"yardsticks on {text.name}", 1.0)
        known = yardsticks(text, taught_by, threads=torch.get_num_threads())
        scored.append(scored_text(text, common_border, scoring, known))
        scorings.append(scoring)
    return scored, scorings


def _own(texts: Sequence[Text | str], n_bytes: int | None) -> list[Text]:
    return [
        own_text(text, n_bytes, name=f"text {i}") if isinstance(text, str) else text
        for i, text in enumerate(texts, 1)
    ]


def _distinct(
    models: Sequence[LanguageModel | Architecture],
) -> list[LanguageModel | Architecture]:
    """Return the models, a number behind a name that another one has already."""
    taken: set[str] = set()
    named = []
    for model in models:
        name, n = model.name, 1
        while name in taken:
            n += 1
            name = f"{model.name} ({n})"
        taken.add(name)
        named.append(model if name == model.name else dataclasses.replace(model, name=name))
    return named


def _folder(model: LanguageModel | Architecture) -> Path | None:
    return model.path if isinstance(model, LanguageModel) else None


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


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
