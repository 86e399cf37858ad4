"""A rung with all its settings: what its list says laid over the rungs before it (changes.py)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.schema import to_dict
from tinygpt.config.train_config import OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.data.corpora import Corpus
from tinygpt.data.fit_tokenizer import settle
from tinygpt.errors import ConfigError
from tinygpt.ladder.changes import RUNG_TABLES, Change
from tinygpt.runs.run_file import RunFile, check_table, overlaid

__all__ = ["Rung", "differing", "resolve"]

_OF_THE_LADDER = {"minutes": "--minutes", "max_steps": "--max-steps", "seed": "--seeds"}
"""Keys of [train] that are the same on all rungs, and the options that set them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A rung with all its settings."""

    name: str
    model: ModelConfig
    tokenizer: TokenizerConfig
    """Of a new model; one that begins with known weights has its own."""
    train: TrainConfig
    """Without a budget, which is the ladder's."""
    optim: OptimConfig
    start: str | None
    """Model whose weights it begins with; None for random ones."""
    trained: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, table by table, for ladder.json."""
        tables = {name: to_dict(getattr(self, name)) for name in RUNG_TABLES}
        for key in _OF_THE_LADDER:
            del tables["train"][key]
        if self.start is not None:
            del tables["tokenizer"]
        return {"name": self.name, "from": self.start, "trained": self.trained, **tables}


def resolve(
    changes: Sequence[Change], corpus: Corpus, config_of: Callable[[str], ModelConfig]
) -> tuple[Rung, ...]:
    """Lay each change over the rungs before it; the first one over TinyGPT.

    Args:
        corpus: its characters settle a vocabulary.
        config_of: returns the architecture of a model that a rung begins with.

    Raises:
        ConfigError: an impossible rung, or one that changes nothing.
        TinyGPTError: a model that can't be opened.
    """
    rungs: list[Rung] = []
    so_far = RunFile()
    for number, change in enumerate(changes, 1):
        where = f'rung {number} ("{change.name}")'
        so_far = _laid_over(so_far, change.given, where)
        before = rungs[-1] if rungs else None
        trained = change.trained
        if trained is None:
            trained = before.trained if before else True
        rung = _rung(change.name, so_far, corpus, config_of, trained, where)
        if before and not differing(before, rung):
            raise ConfigError(f"{where} changes nothing; give it one change, or leave it out")
        rungs.append(rung)
    return tuple(rungs)


def differing(before: Rung | None, after: Rung) -> dict[str, list[Any]]:
    """Return what a rung changes: "table.key" -> [before, after]; empty for the first rung."""
    if before is None:
        return {}
    old, new = _flat(before), _flat(after)
    unused = () if after.trained else ("train.", "optim.")
    return {
        key: [old[key], value]
        for key, value in new.items()
        if key in old and old[key] != value and not key.startswith(unused)
    }


def _flat(rung: Rung) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in rung.to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        elif key != "name":
            flat[key] = value
    return flat


def _laid_over(so_far: RunFile, given: RunFile, where: str) -> RunFile:
    for key, option in _OF_THE_LADDER.items():
        if key in given.train:
            raise ConfigError(
                f"{where}: {key} is the same on all rungs; leave it out and give {option}"
            )
    for name in RUNG_TABLES:
        check_table(name, getattr(given, name), f"{where}: {name}", getattr(so_far, name))
    try:
        if given.start is None:
            return overlaid(so_far, given)
        return overlaid(RunFile(train=so_far.train, optim=so_far.optim), given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _rung(
    name: str,
    settings: RunFile,
    corpus: Corpus,
    config_of: Callable[[str], ModelConfig],
    trained: bool,
    where: str,
) -> Rung:
    try:
        tokenizer = TokenizerConfig(**settings.tokenizer)
        if settings.start is None:
            model = _architecture(settings.model, tokenizer.tokenizer, corpus)
        else:
            model = config_of(settings.start)
        train, optim = TrainConfig(**settings.train), OptimConfig(**settings.optim)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if trained and train.block_size > model.n_positions:
        raise ConfigError(
            f"{where}: block_size={train.block_size} is longer than n_positions="
            f"{model.n_positions}; change both"
        )
    if not trained and settings.start is None:
        raise ConfigError(f"{where}: trained=false needs weights: give from, or leave it out")
    return Rung(
        name=name,
        model=model,
        tokenizer=tokenizer,
        train=train,
        optim=optim,
        start=settings.start,
        trained=trained,
    )


def _architecture(given: dict[str, Any], kind: str, corpus: Corpus) -> ModelConfig:
    settled = settle(given, kind, corpus)
    if kind == "bpe" and "vocab_size" not in given:
        raise ConfigError('tokenizer "bpe" needs a size; give vocab_size in [rung.model]')
    return replace(PRESETS["tinygpt"], **settled)
