"""Which field of our config classes takes the value of which key of a config.

The names are in keys.py; here is what depends on the other keys and on the value, and how
tables in tables are laid flat: `{"model": {"n_layer": 4}}` has the key `model.n_layer`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tinygpt.config.schema import field_docs
from tinygpt.config.train_config import TrainConfig
from tinygpt.doctor.keys import KeyInfo, known_name, look_up
from tinygpt.errors import ConfigError

__all__ = [
    "GPT2_VOCABULARY",
    "MINGPT_SIZES",
    "NANOGPT_DATASETS",
    "Computed",
    "default_window",
    "flat",
    "foreign_model_type",
    "key_info",
    "named",
    "placed",
    "plain",
    "settings_of",
    "shown",
]

MINGPT_SIZES = {
    "openai-gpt": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
    "gopher-44m": (8, 16, 512),
    "gpt-mini": (6, 6, 192),
    "gpt-micro": (4, 4, 128),
    "gpt-nano": (3, 3, 48),
}
"""What minGPT calls model_type: n_layer, n_head, n_embd by name."""

NANOGPT_DATASETS = {
    "shakespeare_char": ("tinyshakespeare", "char"),
    "shakespeare": ("tinyshakespeare", "gpt2"),
}
"""What nanoGPT calls dataset: our names of the corpus and of the tokenizer."""

GPT2_VOCABULARY = 50257
"""No other tokenizer of ours has so many ids, but for a BPE that was made as large on purpose."""

_TWO_ROLES = ("ModelConfig.n_positions", "TrainConfig.block_size")

# Known keys that are tables where they hold an object.
_TABLES = {"corpus", "dataset", "lr_schedule", "optim", "optimizer", "scheduler", "tokenizer"}
_TABLES |= {"model_config"}


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that only running the program would tell."""

    expression: str
    """As the file writes it."""

    def __str__(self) -> str:
        return f"computed: {self.expression}"


def flat(data: Mapping[str, object]) -> dict[str, object]:
    """Lay tables in tables flat. An object that is the value of a known key stays one.

    Raises:
        ConfigError: data is not a mapping with texts as keys, or two keys have the same path.
    """
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"expected an object with keys, got {type(data).__name__}")
    out: dict[str, object] = {}
    for path, value in _leaves(data, ""):
        if path in out:
            raise ConfigError(f'the key "{path}" stands twice; keep one')
        out[path] = value
    return out


def named(data: Mapping[str, object]) -> dict[str, tuple[str, object]]:
    """Return by known name the first key of a flat config that bears it, and its value."""
    out: dict[str, tuple[str, object]] = {}
    for key, value in data.items():
        name = known_name(key)
        if name is not None and not isinstance(value, Computed):
            out.setdefault(name, (key, value))
    return out


def foreign_model_type(data: Mapping[str, object]) -> str | None:
    """Return the model_type of an HF config.json that is no GPT-2, or None.

    minGPT's names of its own sizes are none.
    """
    name = data.get("model_type")
    return name if isinstance(name, str) and name not in ("gpt2", *MINGPT_SIZES) else None


def key_info(key: str, data: Mapping[str, object]) -> KeyInfo | None:
    """Return what is known of a key among the others of its config.

    `block_size` is the longest context too, unless another key already says that or the file is a
    training.json or run file of ours.
    """
    info = look_up(key)
    if info is None or not set(_TWO_ROLES) <= set(info.fields):
        return info
    ours = key == "train.block_size" and ("corpus.corpus" in data or "tokenizer.tokenizer" in data)
    others = (look_up(other) for other in data)
    if not ours and not any(other and other.fields == _TWO_ROLES[:1] for other in others):
        return info
    meaning = field_docs(TrainConfig)["block_size"]
    return KeyInfo(("training",), None, None, _TWO_ROLES[1:], meaning)


def placed(
    data: Mapping[str, object],
) -> tuple[dict[str, tuple[str, object]], dict[str, list[str]]]:
    """Find a key for every field.

    Returns:
        By field ("ModelConfig.n_embd") the first key that sets it, and the value; by class, what
        is wrong where a second key sets it to another value. A tokenizer that no key names is
        GPT-2's where the size of its vocabulary or nanoGPT's name of a dataset says so.
    """
    values: dict[str, tuple[str, object]] = {}
    clashes: dict[str, list[str]] = {}
    for key, value in data.items():
        for place, setting in settings_of(key, value, data):
            first, other = values.setdefault(place, (key, setting))
            if isinstance(setting, Computed) or isinstance(other, Computed):
                values[place] = (key, setting) if isinstance(setting, Computed) else (first, other)
            elif other != setting or isinstance(other, bool) != isinstance(setting, bool):
                owner, _, name = place.partition(".")
                clashes.setdefault(owner, []).append(
                    f"{first}={shown(data[first])} and {key}={shown(value)} both set {name} and "
                    "differ; keep one"
                )
    for name, (key, value) in named(data).items():
        if (name == "dataset" and _dataset(value) == NANOGPT_DATASETS["shakespeare"]) or (
            name == "vocab_size" and value == GPT2_VOCABULARY
        ):
            values.setdefault("TokenizerConfig.tokenizer", (key, "gpt2"))
    return values, clashes


def _dataset(value: object) -> tuple[str, str] | None:
    return NANOGPT_DATASETS.get(value) if isinstance(value, str) else None


def plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    return str(value) if isinstance(value, Computed) else value


def shown(value: object) -> str:
    """Return a value as JSON shows it, shortened."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def settings_of(key: str, value: object, data: Mapping[str, object]) -> list[tuple[str, Any]]:
    """Return the fields that a key sets, each with its value in our terms."""
    info = key_info(key, data)
    places = info.fields if info else ()
    name = known_name(key)
    if isinstance(value, Computed):
        return [(place, value) for place in places]
    if name == "do_sample":  # true says no more than a temperature above 0
        return [] if value is True else [(places[0], 0.0 if value is False else value)]
    if name == "max_steps" and value == -1 and type(value) is int:
        return []  # HF's default: no limit
    if name == "betas" and isinstance(value, list | tuple) and len(value) == len(places):
        return list(zip(places, value, strict=True))
    if places == ("GenerationConfig.stop_strings",) and isinstance(value, str):
        value = (value,)
    if name == "dataset" and (meant := _dataset(value)):
        value = meant[0]
    if name == "top_k" and value == 0 and not isinstance(value, bool):
        value = None  # HF: 0 keeps all
    return [(place, tuple(value) if isinstance(value, list) else value) for place in places]


def default_window(values: Mapping[str, tuple[str, object]]) -> int:
    """Return the length of a training window where no key gives it: the default, if it fits."""
    default = TrainConfig().block_size
    context = values.get("ModelConfig.n_positions", ("", default))[1]
    return context if type(context) is int and 0 < context < default else default


def _leaves(table: Mapping[str, object], path: str) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        here = f"{path}{key}"
        if isinstance(value, Mapping) and value and all(isinstance(k, str) for k in value):
            name = known_name(here)
            if name is None or name in _TABLES:
                yield from _leaves(value, f"{here}.")
                continue
        yield here, value
