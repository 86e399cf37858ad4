"""The config files of the served models key by key, and as texts to copy."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygpt.comparison.config_diff import config_files, config_keys
from tinygpt.config.model_config import PRESETS
from tinygpt.config.schema import to_dict
from tinygpt.doctor.build import FROM_THE_TOKENIZER
from tinygpt.doctor.write import toml_text
from tinygpt.errors import TinyGPTError
from tinygpt.inference.language_model import LanguageModel
from tinygpt.runs.run_file import TABLES, read_run_file
from tinygpt.serve.playground.models import without_folders

__all__ = ["configs"]


def configs(models: Sequence[LanguageModel]) -> dict[str, Any]:
    """Put the keys side by side, those that differ first, and add each model's files.

    Raises:
        CheckpointError: a file that was changed since the model was opened.
    """
    keys = config_keys([config_files(lm.path, lm.config) for lm in models])
    return {
        "models": [lm.name for lm in models],
        "keys": [dataclasses.asdict(key) for key in keys],
        "files": [_files(lm) for lm in models],
    }


def _files(lm: LanguageModel) -> dict[str, Any]:
    """Return a model's files as Hugging Face writes them, and as the run file that repeats it."""
    hf = {
        "config.json": _json(lm.config.to_dict()),
        "generation_config.json": _json(lm.generation_config.to_dict()),
    }
    tables, why_not = _run_tables(lm)
    return {"hf": hf, "tinygpt": None if why_not else toml_text(tables), "why_not": why_not}


def _run_tables(lm: LanguageModel) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Return the tables of a run file, or why there is none."""
    if lm.config.model_type != "gpt2":
        return {}, f"tinygpt trains GPT-2s only, and this is a {lm.config.model_type}"
    if lm.path is None or not (lm.path / "training.json").is_file():
        return _untrained_tables(lm), None
    try:
        file = read_run_file(str(lm.path))
    except TinyGPTError as error:
        why = without_folders(str(error), lm.path)
        return {}, f"its training.json is not of this tinygpt: {why}"
    if file.start is not None:
        return {}, "it began with another model's weights, which a run file does not name"
    tables: dict[str, dict[str, Any]] = {name: dict(getattr(file, name)) for name in TABLES}
    if "corpus" in tables["corpus"]:  # without the folders of its owner
        tables["corpus"]["corpus"] = Path(tables["corpus"]["corpus"]).name
    return {name: table for name, table in tables.items() if table}, None


def _untrained_tables(lm: LanguageModel) -> dict[str, dict[str, Any]]:
    """Return the architecture and the kind of tokenizer of a model from elsewhere."""
    model, kind = to_dict(lm.config), lm.tokenizer.kind
    if kind == "bpe" and lm.tokenizer.vocab_size == PRESETS["gpt2"].vocab_size:
        kind = "gpt2"
    own = ("vocab_size",) if kind == "bpe" else ()  # a new one is trained to that size
    follow = set(FROM_THE_TOKENIZER).difference(own)
    sizes = {key: value for key, value in model.items() if key not in follow}
    return {"model": sizes, "tokenizer": {"tokenizer": kind}}


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
