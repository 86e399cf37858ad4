"""The rungs of a ladder as they are written down: each says what it changes of the last (rung.py).

The default list leads from TinyGPT to distilgpt2; any other comes from a TOML file of [[rung]]
tables: a name, and the changed keys of the run file's tables. What a rung leaves out is as before.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tinygpt.config.model_config import PRESETS
from tinygpt.config.train_config import BATCH_SIZE, OptimConfig, TrainConfig
from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.runs.run_file import TABLES, RunFile, read_toml

__all__ = ["DEFAULT_RUNGS", "RUNG_TABLES", "Change", "read_rungs"]

RUNG_TABLES = tuple(name for name in TABLES if name != "corpus")
"""Tables of a run file that a rung may change; the corpus is the same on all rungs."""

_KEYS = ("name", *RUNG_TABLES, "from", "trained")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # it becomes part of a folder's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A rung as it is written down: its name and what it changes."""

    name: str
    """Lower-case letters, digits, - and _."""
    given: RunFile = field(default_factory=RunFile)
    """The changed keys; `start` is a model whose weights it begins with."""
    trained: bool | None = None
    """False only measures the weights of `start`; None is as before (at first: True)."""


def _tinygpts(names: Sequence[str], config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}


# What tutorials train a small character model with on a laptop: AdamW, learning rates of 3e-4 to
# 1e-3 (the highest is taken, it is the best of them in minutes), 100 steps of warm-up, a tenth of
# the peak at the end, GPT-2's initial weights and dozens of windows a step (12 on a CPU).
_TUTORIAL = RunFile(
    model={"initializer_range": 0.02},
    train={"batch_size": 12, "zero_init": False},
    optim={
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "final_learning_rate": 1e-4,
        "warmup_steps": 100,
        "beta1": 0.9,
        "beta2": 0.95,
    },
)

DEFAULT_RUNGS = (
    Change(name="tutorial", given=_TUTORIAL),
    Change(
        name="recipe",
        given=RunFile(
            model=_tinygpts(tuple(_TUTORIAL.model), PRESETS["tinygpt"]),
            train=_tinygpts(tuple(_TUTORIAL.train), TrainConfig(batch_size=BATCH_SIZE)),
            optim=_tinygpts(tuple(_TUTORIAL.optim), OptimConfig()),
        ),
    ),
    Change(  # as many tokens a step as before
        name="context",
        given=RunFile(model={"n_positions": 1024}, train={"block_size": 1024, "batch_size": 1}),
    ),
    Change(name="bpe", given=RunFile(model={"vocab_size": 1024}, tokenizer={"tokenizer": "bpe"})),
    Change(name="gpt2-vocabulary", given=RunFile(tokenizer={"tokenizer": "gpt2"})),
    Change(name="depth", given=RunFile(model={"n_layer": 6})),
    # Before the heads, because 128 is not divisible by 12. Initial weights and learning rate follow
    # from the width: those of 128 would not train it.
    Change(
        name="width",
        given=RunFile(
            model={"n_embd": 768, "initializer_range": 0.02}, optim={"learning_rate": 6e-4}
        ),
    ),
    Change(name="heads", given=RunFile(model={"n_head": 12})),
    Change(name="pretrained", given=RunFile(start="distilgpt2"), trained=False),
    Change(
        name="fine-tuned",
        given=RunFile(optim={"optimizer": "adamw", "learning_rate": 5e-5}),
        trained=True,
    ),
)
"""From TinyGPT to distilgpt2, one change at a time."""


def read_rungs(path: Path) -> tuple[Change, ...]:
    """Read a list of rungs from a TOML file.

    Raises:
        ConfigError: unreadable, no rung, an unknown key, or a name that is missing or there twice.
    """
    data = read_toml(path)
    for key in data:
        if key != "rung":
            raise ConfigError(
                f'{path}: unknown table "{key}"{did_you_mean(key, ["rung"])} (known: [[rung]])'
            )
    tables = data.get("rung")
    if not isinstance(tables, list) or not tables or not isinstance(tables[0], dict):
        raise ConfigError(f"{path} has no rung: write [[rung]] above the keys of each")
    found: list[Change] = []
    for number, table in enumerate(tables, 1):
        change = _change(table, f"rung {number} of {path}")
        if change.name in [other.name for other in found]:
            raise ConfigError(f'{path}: two rungs are named "{change.name}"; each needs its own')
        found.append(change)
    return tuple(found)


def _change(table: dict[str, Any], where: str) -> Change:
    for key in table:
        if key not in _KEYS:
            homes = [n for n in RUNG_TABLES if key in [f.name for f in fields(TABLES[n])]]
            near = f"; it belongs in [rung.{homes[0]}]" if homes else did_you_mean(key, _KEYS)
            raise ConfigError(f'{where}: unknown key "{key}"{near} (known: {", ".join(_KEYS)})')
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: name={name!r} is not allowed: 1 to 40 lower-case letters, digits, - and _"
        )
    for key in RUNG_TABLES:
        if not isinstance(table.get(key, {}), dict):
            raise ConfigError(f"{where}: {key} must be a table: write [rung.{key}] above its keys")
    start, trained = table.get("from"), table.get("trained")
    if start is not None and (not isinstance(start, str) or not start):
        raise ConfigError(f"{where}: from={start!r} is not allowed: the name of a model")
    if trained is not None and not isinstance(trained, bool):
        raise ConfigError(f"{where}: trained={trained!r} is not allowed: true or false")
    tables = {key: table.get(key, {}) for key in RUNG_TABLES}
    return Change(name=name, given=RunFile(**tables, start=start), trained=trained)
