"""Every key of the config files of several models side by side, labelled by the doctor.

The keys that differ come first, so that what makes one model another is read at the top.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.doctor.diagnose import count_labels, examine
from tinygpt.formats.model_folder import read_json
from tinygpt.model.external_config import AnyConfig

__all__ = ["ConfigKey", "config_files", "config_keys", "labels_by_file"]

FILES = ("config.json", "generation_config.json", "training.json")

_TABLES = ("train", "optim", "corpus", "tokenizer")  # the settings in a training.json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigKey:
    """One key of one file."""

    file: str
    key: str
    labels: tuple[str, ...]
    """What it is, as the doctor says: architecture, training, generation ..."""
    meaning: str
    values: tuple[str | None, ...]
    """As JSON, one per model; None where the model's file lacks the key, or there is no file."""
    differs: bool
    """Whether not all models have the same value."""


def config_files(folder: Path | None, config: AnyConfig) -> dict[str, dict[str, Any]]:
    """Return the settings in each of a model's files; without a folder, config.json as it would be.

    Of a training.json only what is a setting, and of the corpus the name without its folder.
    """
    if folder is None:
        return {"config.json": config.to_dict()}
    found = {name: read_json(folder / name) for name in FILES if (folder / name).exists()}
    if "training.json" in found:
        tables = {name: found["training.json"].get(name) for name in _TABLES}
        kept = {name: dict(table) for name, table in tables.items() if isinstance(table, dict)}
        if isinstance(corpus := kept.get("corpus", {}).get("corpus"), str):
            kept["corpus"]["corpus"] = Path(corpus).name
        found["training.json"] = kept
    return found


def labels_by_file(files: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count the keys of each file by the doctor's labels."""
    return {name: count_labels(data) for name, data in files.items()}


def config_keys(models: Sequence[Mapping[str, dict[str, Any]]]) -> tuple[ConfigKey, ...]:
    """Put the keys of several models side by side.

    Args:
        models: of each model, the `config_files`.

    Returns:
        The keys that differ first; within, in the order of the files.
    """
    rows = []
    for name in FILES:
        found = [{r.key: r for r in examine(files.get(name, {})).keys} for files in models]
        reports = {key: report for keys in reversed(found) for key, report in keys.items()}
        ordered = dict.fromkeys(key for keys in found for key in keys)
        for key in ordered:
            values = tuple(
                json.dumps(keys[key].value, ensure_ascii=False, default=str)
                if key in keys
                else None
                for keys in found
            )
            rows.append(
                ConfigKey(
                    file=name,
                    key=key,
                    labels=reports[key].labels,
                    meaning=reports[key].meaning,
                    values=values,
                    differs=len(set(values)) > 1,
                )
            )
    return tuple(sorted(rows, key=lambda row: not row.differs))
