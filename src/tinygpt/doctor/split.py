"""A flat mixed config taken apart into our config classes.

What is wrong with it is said by diagnose.py. Nothing is guessed: two keys that contradict each
other, an impossible or a computed value leave their file unwritten, and every key that goes nowhere
is kept apart. Without a vocab_size, which follows from the text, the architecture and the training
settings are one run.toml, from which `tinygpt train` makes both files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.schema import to_dict
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.doctor.build import FROM_THE_TOKENIZER, build, refusal
from tinygpt.doctor.fields import Computed, foreign_model_type, placed, plain, settings_of
from tinygpt.doctor.keys import known_name

__all__ = ["RUN_FILE", "Split", "split_config"]

RUN_FILE = "run.toml"

_FILES = {
    "config.json": ("ModelConfig",),
    "generation_config.json": ("GenerationConfig",),
    "training.json": ("TrainConfig", "OptimConfig", "CorpusConfig", "TokenizerConfig"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A flat config taken apart. What could not be made is None, and `reasons` says why.

    The four classes of training.json are made together or not at all.
    """

    model_config: ModelConfig | None
    sizes: dict[str, Any] | None
    """The architecture where vocab_size is missing: the [model] of a run.toml. Empty where all
    sizes are: the file then has no such table, and training takes TinyGPT's."""
    generation_config: GenerationConfig | None
    train_config: TrainConfig | None
    optim_config: OptimConfig | None
    corpus_config: CorpusConfig | None
    tokenizer_config: TokenizerConfig | None
    reasons: dict[str, tuple[str, ...]]
    """By file name, why it can't be written."""
    left_over: dict[str, object]
    """Keys that go into no file, with their values."""

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of the files by name, then left_over and reasons; JSON-ready."""
        reasons = {name: list(messages) for name, messages in self.reasons.items()}
        left_over = {key: plain(value) for key, value in self.left_over.items()}
        return {**self.files(), "left_over": left_over, "reasons": reasons}

    def files(self) -> dict[str, dict[str, Any]]:
        """Return the contents of each file that could be made, by name."""
        out: dict[str, dict[str, Any]] = {}
        if self.model_config is not None:
            out["config.json"] = self.model_config.to_dict()
        if self.generation_config is not None:
            out["generation_config.json"] = self.generation_config.to_dict()
        tables = {
            "train": self.train_config,
            "optim": self.optim_config,
            "corpus": self.corpus_config,
            "tokenizer": self.tokenizer_config,
        }
        training = {name: to_dict(table) for name, table in tables.items() if table is not None}
        if training and self.sizes is not None:
            out[RUN_FILE] = {"model": self.sizes, **training} if self.sizes else training
        elif training:
            out["training.json"] = training
        return out


def split_config(data: Mapping[str, object]) -> Split:
    """Take a flat config apart. What no key sets is what `build` says, else the class's default."""
    values, clashes = placed(data)
    foreign = foreign_model_type(data) is not None
    configs: dict[str, Any] = {}
    reasons: dict[str, tuple[str, ...]] = {}
    for file, owners in _FILES.items():
        problems: list[str] = []
        for owner in owners:
            configs[owner], messages = build(owner, values, data)
            problems += clashes.get(owner, []) + messages
        if problems or foreign:  # of another model nothing means what it means here
            configs |= dict.fromkeys(owners)
            reasons[file] = tuple(dict.fromkeys(refusal(data) if foreign else problems))
    sizes = (
        None if configs["ModelConfig"] or foreign else _without_vocabulary(values, clashes, data)
    )
    if sizes is not None and configs["TrainConfig"]:
        del reasons["config.json"]
    else:
        sizes = None
    made = configs | {"sizes": sizes}
    return Split(
        model_config=configs["ModelConfig"],
        sizes=sizes,
        generation_config=configs["GenerationConfig"],
        train_config=configs["TrainConfig"],
        optim_config=configs["OptimConfig"],
        corpus_config=configs["CorpusConfig"],
        tokenizer_config=configs["TokenizerConfig"],
        reasons=reasons,
        left_over={k: v for k, v in data.items() if not _has_place(k, data, made)},
    )


def _without_vocabulary(
    values: Mapping[str, tuple[str, object]],
    clashes: Mapping[str, list[str]],
    data: Mapping[str, object],
) -> dict[str, Any] | None:
    """Return the fields of an architecture that lacks its vocab_size and nothing else."""
    given = {place for place in values if place.startswith("ModelConfig.")}
    if not given and not refusal(data):
        return {}
    if "ModelConfig.vocab_size" in given or "ModelConfig" in clashes:
        return None
    names = [f"ModelConfig.{name}" for name in FROM_THE_TOKENIZER]
    known = {place: value for place, value in values.items() if place not in names}
    known["ModelConfig.vocab_size"] = ("vocab_size", PRESETS["gpt2"].vocab_size)
    config, _ = build("ModelConfig", known, data)
    if config is None:
        return None
    return {k: v for k, v in to_dict(config).items() if k not in FROM_THE_TOKENIZER}


def _has_place(key: str, data: Mapping[str, object], configs: Mapping[str, Any]) -> bool:
    """Say whether the value of a key stands in one of the files, so that it isn't lost."""
    name = known_name(key)
    model, generation = configs["ModelConfig"], configs["GenerationConfig"]
    if isinstance(data[key], Computed):
        return False
    if name in ("model_type", "architectures"):
        return model is not None and model.to_dict()[name] == data[key]
    if name == "do_sample":
        return generation is not None and (generation.temperature > 0) is data[key]
    places = [place for place, _ in settings_of(key, data[key], data)]
    owners = {place.partition(".")[0] for place in places}
    sizes = configs["sizes"] or {}
    in_sizes = any(place.removeprefix("ModelConfig.") in sizes for place in places)
    return in_sizes or any(configs[owner] is not None for owner in owners)
