"""One of our config classes from the fields that a flat config sets, or all that is against it."""

from collections.abc import Mapping
from typing import Any

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.schema import to_dict
from tinygpt.doctor.fields import Computed, default_window, named
from tinygpt.doctor.keys import CLASSES
from tinygpt.errors import ConfigError

__all__ = ["FROM_THE_TOKENIZER", "NO_SIZES", "build", "refusal"]

NO_SIZES = "no size of an architecture is given"
"""Why a pure training config has no config.json: no contradiction."""

FROM_THE_TOKENIZER = ("vocab_size", "bos_token_id", "eos_token_id")
"""Fields of an architecture that follow from the tokenizer."""

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


def build(
    owner: str, values: Mapping[str, tuple[str, object]], data: Mapping[str, object]
) -> tuple[Any, list[str]]:
    """Return a config, or None and everything that stands against it.

    Who names no optimizer and no initial weights means AdamW and GPT-2's, not our defaults.

    Args:
        owner: the name of the class.
        values: by field the key that sets it, and the value.
        data: the flat config.
    """
    given = {
        place.partition(".")[2]: value
        for place, value in values.items()
        if place.startswith(f"{owner}.")
    }
    problems = refusal(data) if owner == "ModelConfig" else []
    problems += [
        f"{key} is {value}, and the doctor runs nothing: write the value itself"
        for key, value in given.values()
        if isinstance(value, Computed)
    ]
    own = {name: value for name, (_, value) in given.items() if not isinstance(value, Computed)}
    if owner == "ModelConfig":
        missing = [name for name in _SIZES if name not in given]
        few = f"missing: {', '.join(missing)}; a model is its {len(_SIZES)} sizes, add them"
        if not own.keys() >= set(_SIZES):
            found = _without_sizes(own, given)
            if missing and not (missing == ["vocab_size"] and found):  # it alone would do no harm
                problems.append(NO_SIZES if len(missing) == len(_SIZES) else few)
            return None, [*problems, *found]
    if owner == "TrainConfig":
        own = {"block_size": default_window(values), "zero_init": False} | own
    if owner == "OptimConfig":
        own = {"optimizer": "adamw"} | own
        name = own["optimizer"]
        if isinstance(name, str) and name.lower().startswith("adamw"):  # HF's adamw_torch, say
            own["optimizer"] = "adamw"
    config, found = _made(CLASSES[owner], own, given)
    return (None if problems else config), [*problems, *found]


def _made(
    cls: type, own: Mapping[str, Any], given: Mapping[str, tuple[str, object]]
) -> tuple[Any, list[str]]:
    """Return a config of a class, or None and everything that its fields are refused for."""
    own, problems = dict(own), []
    while True:
        try:
            config = cls(**own)
        except ConfigError as error:
            problems.append(_in_their_words(str(error), given))
            name = str(error).partition("=")[0]
            if name not in own or name in _SIZES:
                return None, problems
            del own[name]  # look for more to say; the config is lost already
        else:
            return (None if problems else config), problems


def _without_sizes(own: Mapping[str, Any], given: Mapping[str, tuple[str, object]]) -> list[str]:
    """Return what stands against an architecture already, though some of its sizes are unknown."""
    roomy = to_dict(PRESETS["gpt2"]) | {"n_layer": 1, "n_head": 1, "n_inner": None}
    heads = own.get("n_head")
    if type(heads) is int and heads > 0:
        roomy["n_embd"] = heads
    unknown = [name for name in _SIZES if name not in own]
    known = {k: v for k, v in own.items() if "vocab_size" in own or k not in FROM_THE_TOKENIZER}
    _, found = _made(ModelConfig, {name: roomy[name] for name in unknown} | known, given)
    guessed = tuple(f"{name}={roomy[name]}" for name in unknown)
    return [message for message in found if not any(each in message for each in guessed)]


def refusal(data: Mapping[str, object]) -> list[str]:
    """Return why tinygpt does not compute this kind of model, or nothing."""
    names = named(data)
    asked = {name: names[name][1] for name in _REFUSABLE if name in names}
    try:
        ModelConfig.from_dict(to_dict(PRESETS["tinygpt"]) | asked, where="", strict=False)
    except ConfigError as error:
        return [str(error).removeprefix(": ")]
    return []


def _in_their_words(message: str, given: Mapping[str, tuple[str, object]]) -> str:
    """Add the user's names of the fields that a message names, and what would do."""
    theirs = [
        f"{name} is {key} here"
        for name, (key, _) in given.items()
        if key != name and f"{name}=" in message
    ]
    if "not divisible" in message:
        width, heads = (given[name][1] for name in ("n_embd", "n_head"))
        assert isinstance(width, int)
        assert isinstance(heads, int)
        near = max(n for n in range(1, min(heads, width, 1000) + 1) if width % n == 0)
        wide = -(-width // heads) * heads
        message += f": n_head={near} or n_embd={wide} would do"
    return f"{message} ({', '.join(theirs)})" if theirs else message
