"""A flat mixed config taken apart into our config classes, and the parts written.

What is wrong with it is said by doctor.py. Nothing is guessed: two keys that contradict each other
or an impossible value leave their file unwritten, and every key that goes nowhere is kept apart.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.config_fields import default_window, placed, settings_of
from tinygpt.config_keys import CLASSES
from tinygpt.errors import ConfigError, MachineError
from tinygpt.model_config import PRESETS, ModelConfig
from tinygpt.run_config import (
    CorpusConfig,
    GenerationConfig,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
)
from tinygpt.settings import to_dict

__all__ = ["NO_SIZES", "Split", "split_config", "write_split"]

NO_SIZES = "no size of an architecture is given"
"""Why a pure training config has no config.json: no contradiction."""

_FILES = {
    "config.json": ("ModelConfig",),
    "generation_config.json": ("GenerationConfig",),
    "training.json": ("TrainConfig", "OptimConfig", "CorpusConfig", "TokenizerConfig"),
}
_SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
# Keys whose value can ask for what tinygpt does not compute; ModelConfig.from_dict says it.
_REFUSABLE = (
    "model_type",
    "architectures",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "add_cross_attention",
    "is_encoder_decoder",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A flat config taken apart. What could not be made is None, and `reasons` says why.

    The four classes of training.json are made together or not at all.
    """

    model_config: ModelConfig | None
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
        return {**self.files(), "left_over": dict(self.left_over), "reasons": reasons}

    def files(self) -> dict[str, dict[str, Any]]:
        """Return the contents of each file that could be made, by name."""
        out: dict[str, dict[str, Any]] = {}
        if self.model_config is not None:
            out["config.json"] = self.model_config.to_dict()
        if self.generation_config is not None:
            out["generation_config.json"] = self.generation_config.to_dict()
        if self.train_config is not None:
            out["training.json"] = {
                "train": to_dict(self.train_config),
                "optim": to_dict(self.optim_config),
                "corpus": to_dict(self.corpus_config),
                "tokenizer": to_dict(self.tokenizer_config),
            }
        return out


def write_split(split: Split, folder: Path) -> list[Path]:
    """Write the files that could be made, and leftover.json if a key went nowhere.

    Returns:
        The files written, none of which was there before.

    Raises:
        ConfigError: a file is there already, or a value is not JSON; nothing is written then.
        MachineError: the disk failed.
    """
    contents: dict[str, Any] = split.files()
    if split.left_over:
        contents["leftover.json"] = split.left_over
    there = [name for name in contents if os.path.lexists(folder / name)]
    if there:
        raise ConfigError(f"{folder}: {', '.join(there)} is there already; give a new folder")
    try:
        texts = {n: json.dumps(c, indent=2, allow_nan=False) + "\n" for n, c in contents.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a value can't be written as JSON: {error}") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{error.filename}: is there already; give a new folder") from None
    except OSError as error:
        raise MachineError(f"{folder}: can't be written: {error.strerror}") from None
    return [folder / name for name in texts]


def split_config(data: Mapping[str, object]) -> Split:
    """Take a flat config apart. A field that no key sets has its class's default."""
    values, clashes = placed(data)
    configs: dict[str, Any] = {}
    reasons: dict[str, tuple[str, ...]] = {}
    for file, owners in _FILES.items():
        problems: list[str] = []
        for owner in owners:
            configs[owner], messages = _build(owner, values, data)
            problems += clashes.get(owner, []) + messages
        if problems:
            configs |= dict.fromkeys(owners)
            reasons[file] = tuple(dict.fromkeys(problems))
    return Split(
        model_config=configs["ModelConfig"],
        generation_config=configs["GenerationConfig"],
        train_config=configs["TrainConfig"],
        optim_config=configs["OptimConfig"],
        corpus_config=configs["CorpusConfig"],
        tokenizer_config=configs["TokenizerConfig"],
        reasons=reasons,
        left_over={k: v for k, v in data.items() if not _has_place(k, data, configs)},
    )


def _build(
    owner: str, values: Mapping[str, tuple[str, object]], data: Mapping[str, object]
) -> tuple[Any, list[str]]:
    """Return a config, or None and everything that stands against it."""
    given = {
        place.partition(".")[2]: value
        for place, value in values.items()
        if place.startswith(f"{owner}.")
    }
    own = {name: value for name, (_, value) in given.items()}
    problems = _refusal(data) if owner == "ModelConfig" else []
    if owner == "ModelConfig":
        missing = [name for name in _SIZES if name not in own]
        if missing:
            few = f"missing: {', '.join(missing)}; a model is its {len(_SIZES)} sizes, add them"
            return None, [*problems, NO_SIZES if len(missing) == len(_SIZES) else few]
    if owner == "TrainConfig" and "block_size" not in own:
        own["block_size"] = default_window(values)
    while True:
        try:
            config = CLASSES[owner](**own)
        except ConfigError as error:
            problems.append(_in_their_words(str(error), given))
            name = str(error).partition("=")[0]
            if name not in own or name in _SIZES:
                return None, problems
            del own[name]  # look for more to say; the config is lost already
        else:
            return (None if problems else config), problems


def _refusal(data: Mapping[str, object]) -> list[str]:
    asked = {key: data[key] for key in _REFUSABLE if key in data}
    try:
        ModelConfig.from_dict(to_dict(PRESETS["tinygpt"]) | asked, where="", strict=False)
    except ConfigError as error:
        return [str(error).removeprefix(": ")]
    return []


def _in_their_words(message: str, given: Mapping[str, tuple[str, object]]) -> str:
    """Add the user's names of the fields that a message names."""
    theirs = [
        f"{name} is {key} here"
        for name, (key, _) in given.items()
        if key != name and f"{name}=" in message
    ]
    return f"{message} ({', '.join(theirs)})" if theirs else message


def _has_place(key: str, data: Mapping[str, object], configs: Mapping[str, Any]) -> bool:
    """Say whether the value of a key stands in one of the files, so that it isn't lost."""
    model, generation = configs["ModelConfig"], configs["GenerationConfig"]
    if key in ("model_type", "architectures"):
        return model is not None and model.to_dict()[key] == data[key]
    if key == "do_sample":
        return generation is not None and (generation.temperature > 0) is data[key]
    owners = {place.partition(".")[0] for place, _ in settings_of(key, data[key], data)}
    return any(configs[owner] is not None for owner in owners)
