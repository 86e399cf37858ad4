"""The keyword arguments of `generate` and `stream`: GenerationConfig's fields, all optional.

What is not given comes from the model's generation_config.json. Written out as types, so that
editors complete the names and mypy checks them; None keeps its meaning (top_k=None keeps all).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.run_config import GenerationConfig

__all__ = ["GenerationSettings", "changed"]


class GenerationSettings(TypedDict, total=False):
    """Fields of GenerationConfig, which says what they mean; a test compares the two."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float
    repetition_penalty: float
    max_new_tokens: int
    stop_strings: tuple[str, ...]
    bos_token_id: int | None
    eos_token_id: int | None


def changed(config: GenerationConfig, settings: Mapping[str, Any]) -> GenerationConfig:
    """Return a config with some settings changed.

    Raises:
        ConfigError: an unknown or impossible setting.
    """
    known = GenerationConfig.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise ConfigError(
                f'"{name}" is not a generation setting{did_you_mean(name, known)} '
                f"(known: {', '.join(sorted(known))})"
            )
    return replace(config, **settings)
