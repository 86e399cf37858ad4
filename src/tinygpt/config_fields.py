"""Which field of our config classes takes the value of which key of a flat config.

The table is in config_keys.py; here is what depends on the other keys and on the value.
"""

import json
from collections.abc import Mapping
from typing import Any

from tinygpt.config_keys import KeyInfo, look_up
from tinygpt.run_config import TrainConfig
from tinygpt.settings import field_docs

__all__ = ["default_window", "key_info", "placed", "settings_of", "shown"]

_TWO_ROLES = ("ModelConfig.n_positions", "TrainConfig.block_size")


def key_info(key: str, data: Mapping[str, object]) -> KeyInfo | None:
    """Return what is known of a key among the others of its config.

    `block_size` is the longest context too, unless another key already says that.
    """
    info = look_up(key)
    if info is None or not set(_TWO_ROLES) <= set(info.fields):
        return info
    others = (look_up(other) for other in data)
    if not any(other and other.fields == _TWO_ROLES[:1] for other in others):
        return info
    meaning = field_docs(TrainConfig)["block_size"]
    return KeyInfo(("training",), None, None, _TWO_ROLES[1:], meaning)


def placed(
    data: Mapping[str, object],
) -> tuple[dict[str, tuple[str, object]], dict[str, list[str]]]:
    """Find a key for every field.

    Returns:
        By field ("ModelConfig.n_embd") the first key that sets it, and the value; by class, what
        is wrong where a second key sets it to another value.
    """
    values: dict[str, tuple[str, object]] = {}
    clashes: dict[str, list[str]] = {}
    for key, value in data.items():
        for place, setting in settings_of(key, value, data):
            first, other = values.setdefault(place, (key, setting))
            if other != setting or isinstance(other, bool) != isinstance(setting, bool):
                owner, _, name = place.partition(".")
                clashes.setdefault(owner, []).append(
                    f"{first}={shown(data[first])} and {key}={shown(value)} both set {name} and "
                    "differ; keep one"
                )
    return values, clashes


def shown(value: object) -> str:
    """Return a value as JSON shows it, shortened."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def settings_of(key: str, value: object, data: Mapping[str, object]) -> list[tuple[str, Any]]:
    """Return the fields that a key sets, each with its value in our terms."""
    info = key_info(key, data)
    places = info.fields if info else ()
    if key == "do_sample":  # true says no more than a temperature above 0
        return [] if value is True else [(places[0], 0.0 if value is False else value)]
    if key == "betas" and isinstance(value, list | tuple) and len(value) == len(places):
        return list(zip(places, value, strict=True))
    if places == ("GenerationConfig.stop_strings",) and isinstance(value, str):
        value = (value,)
    if key == "top_k" and value == 0 and not isinstance(value, bool):
        value = None  # HF: 0 keeps all
    return [(place, tuple(value) if isinstance(value, list) else value) for place in places]


def default_window(values: Mapping[str, tuple[str, object]]) -> int:
    """Return the length of a training window where no key gives it: the default, if it fits."""
    default = TrainConfig().block_size
    context = values.get("ModelConfig.n_positions", ("", default))[1]
    return context if type(context) is int and 0 < context < default else default
