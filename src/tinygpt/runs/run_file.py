"""Run files: the settings of a training run in one TOML file, or those of an earlier run.

The tables [model] [tokenizer] [corpus] [train] [optim] hold the fields of the five config classes;
every field may be left out. A run folder says the same with its config.json and training.json, so
`train --config RUN` repeats it; so does a split that the doctor wrote. What overrides what:
defaults < file < flags (`overlaid`).
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.schema import from_dict, to_dict
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.doctor.split import RUN_FILE
from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.formats.model_folder import read_config, read_json
from tinygpt.runs.folder import read_environment, read_recipe
from tinygpt.runs.names import find_run, nearest_run

__all__ = ["TABLES", "RunFile", "check_table", "overlaid", "read_run_file", "read_toml"]

TABLES: dict[str, type] = {
    "model": ModelConfig,
    "tokenizer": TokenizerConfig,
    "corpus": CorpusConfig,
    "train": TrainConfig,
    "optim": OptimConfig,
}
"""The tables of a run file and the classes whose fields they hold."""

_FOLLOW_FROM_THE_TOKENIZER = ("vocab_size", "bos_token_id", "eos_token_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """What a run file (or the flags) says, table by table: only the keys that were given."""

    model: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    optim: dict[str, Any] = field(default_factory=dict)
    generation_config: GenerationConfig | None = None
    """generation_config.json of an earlier run or a split; None where there is none."""
    start: str | None = None
    """Model to fine-tune; of the files only an earlier run says that."""
    start_sha256: str | None = None
    """Of its weights, where an earlier run says that too."""
    environment: dict[str, Any] = field(default_factory=dict)
    """environment.json of an earlier run; device, dtype and threads belong to repeating it."""


def read_run_file(name: str) -> RunFile:
    """Read a TOML file, or the settings of a run folder (or of the name of a run in `runs/`).

    A split of the doctor's is such a folder, also where it holds a run.toml. Every key and value is
    checked.

    Raises:
        ConfigError: no such file or run, unreadable TOML, an unknown table or key, a wrong value.
        CheckpointError: a folder that is no run.
    """
    path = find_run(name)
    if not os.path.exists(path):
        raise ConfigError(
            f'config "{name}" does not exist{nearest_run(name)}; give a TOML file, a run folder or '
            "the name of a run in runs/"
        )
    if path.is_dir() and (path / RUN_FILE).is_file() and not (path / "training.json").exists():
        path = path / RUN_FILE
    return _from_run(path) if path.is_dir() else _from_toml(path)


def overlaid(file: RunFile, flags: RunFile) -> RunFile:
    """Lay the flags over a file.

    A budget replaces the other kind of budget, a corpus the hash of the file's corpus, and another
    tokenizer what followed from the file's.

    Raises:
        ConfigError: both a model to fine-tune and settings of a new one.
    """
    train = dict(file.train)
    for given, other in (("minutes", "max_steps"), ("max_steps", "minutes")):
        if given in flags.train and other not in flags.train:
            train.pop(other, None)
    start = flags.start or file.start
    news = flags.model | flags.tokenizer
    if flags.start is not None:
        news = file.model | file.tokenizer | news
    if start is not None and news:
        raise ConfigError(
            f"fine-tuning {start} keeps its architecture and tokenizer; leave out {', '.join(news)}"
        )
    model = dict(file.model)
    if TokenizerConfig(**file.tokenizer) != TokenizerConfig(**file.tokenizer | flags.tokenizer):
        for name in _FOLLOW_FROM_THE_TOKENIZER:
            model.pop(name, None)
    return RunFile(
        model=model | flags.model,
        tokenizer=file.tokenizer | flags.tokenizer,
        corpus=flags.corpus or file.corpus,
        train=train | flags.train,
        optim=file.optim | flags.optim,
        generation_config=file.generation_config,
        start=start,
        start_sha256=None if flags.start else file.start_sha256,
        environment=file.environment,
    )


def _from_run(folder: Path) -> RunFile:
    recipe = read_recipe(folder)
    config, _ = read_config(folder)
    model = to_dict(config)
    for name in ("bos_token_id", "eos_token_id"):  # null in a split where nothing was said
        if model[name] is None:
            del model[name]
    if recipe.data and recipe.start is None and recipe.tokenizer.tokenizer != "bpe":
        del model["vocab_size"]  # the tokenizer's; what was never trained may be mistaken in it
    return RunFile(
        model=model,
        tokenizer=to_dict(recipe.tokenizer),
        corpus=to_dict(recipe.corpus),
        train=asdict(recipe.train),
        optim=to_dict(recipe.optim),
        generation_config=_generation_config(folder),
        start=recipe.start,
        start_sha256=recipe.start_sha256,
        environment=read_environment(folder),
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Read any TOML file.

    Raises:
        ConfigError: it can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable as TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}") from None


def _from_toml(path: Path) -> RunFile:
    data = read_toml(path)
    for name, table in data.items():
        if name not in TABLES:
            raise ConfigError(
                f"{path}: unknown {'table' if isinstance(table, dict) else 'key outside a table'} "
                f'"{name}"{_home_of(name) or did_you_mean(name, TABLES)} '
                f"(tables: {', '.join(f'[{known}]' for known in TABLES)})"
            )
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} must be a table: write [{name}] above its keys")
        check_table(name, table, f"[{name}] of {path}")
    sampling = _generation_config(path.parent) if path.name == RUN_FILE else None
    return RunFile(**{name: data.get(name, {}) for name in TABLES}, generation_config=sampling)


def _generation_config(folder: Path) -> GenerationConfig | None:
    path = folder / "generation_config.json"
    if not path.is_file():
        return None
    return GenerationConfig.from_dict(read_json(path), where=str(path))


def check_table(
    name: str, table: dict[str, Any], where: str, base: Mapping[str, Any] | None = None
) -> None:
    """Refuse unknown keys and impossible values of a table, and make its lists tuples.

    Args:
        name: one of TABLES.
        table: the keys that were given.
        where: what the user calls it; it leads every message.
        base: values that they are laid over.

    Raises:
        ConfigError: saying which table an unknown key belongs to.
    """
    cls = TABLES[name]
    known = {f.name for f in fields(cls)}
    for key in table:
        if key not in known and (home := _home_of(key)):
            raise ConfigError(f'{where}: unknown key "{key}"{home}')
    # A table may leave out what has no default of its own; the values given must fit the preset.
    missing = to_dict(PRESETS["tinygpt"]) if cls is ModelConfig else {}
    from_dict(cls, {**missing, **(base or {}), **table}, where)
    table.update({k: tuple(v) for k, v in table.items() if isinstance(v, list)})  # as cls holds it


def _home_of(key: str) -> str:
    """Return `; it belongs in [train]` for a key of some table, else an empty string."""
    homes = [name for name, cls in TABLES.items() if key in {f.name for f in fields(cls)}]
    return f"; it belongs in [{homes[0]}]" if homes and key not in TABLES else ""
