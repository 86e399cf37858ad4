"""Run files: the settings of a training run in one TOML file, or those of an earlier run.

The tables [model] [tokenizer] [corpus] [train] [optim] hold the fields of the five config classes;
every field may be left out. A run folder says the same with its config.json and training.json, so
`train --config RUN` repeats it. What overrides what: defaults < file < flags (`overlaid`).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.model_config import PRESETS, ModelConfig
from tinygpt.model_folder import read_config, read_json
from tinygpt.run_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.run_folder import read_recipe
from tinygpt.settings import from_dict, to_dict

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
    start: str | None = None
    """Model to fine-tune; of the files only an earlier run says that."""
    environment: dict[str, Any] = field(default_factory=dict)
    """environment.json of an earlier run; device, dtype and threads belong to repeating it."""


def read_run_file(name: str) -> RunFile:
    """Read a TOML file, or the settings of a run folder (or of the name of a run in `runs/`).

    Every key and value is checked.

    Raises:
        ConfigError: no such file or run, unreadable TOML, an unknown table or key, a wrong value.
        CheckpointError: a folder that is no run.
    """
    path = Path(name)
    if not path.exists() and path.name == name and (Path("runs") / name).is_dir():
        path = Path("runs") / name
    if path.is_dir():
        return _from_run(path)
    if not path.is_file():
        raise ConfigError(
            f'config "{name}" is neither a TOML file nor a run folder; check the path'
        )
    return _from_toml(path)


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
        start=start,
        environment=file.environment,
    )


def _from_run(folder: Path) -> RunFile:
    recipe, environment = read_recipe(folder), folder / "environment.json"
    config, _ = read_config(folder)
    model = to_dict(config)
    if recipe.start is None and recipe.tokenizer.tokenizer != "bpe":
        for name in _FOLLOW_FROM_THE_TOKENIZER:  # the corpus is held to its hash anyway
            del model[name]
    return RunFile(
        model=model,
        tokenizer=to_dict(recipe.tokenizer),
        corpus=to_dict(recipe.corpus),
        train=asdict(recipe.train),
        optim=to_dict(recipe.optim),
        start=recipe.start,
        environment=read_json(environment) if environment.exists() else {},  # not in a split
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
    return RunFile(**{name: data.get(name, {}) for name in TABLES})


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
