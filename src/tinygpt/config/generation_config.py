"""How text is sampled: GenerationConfig, which is `generation_config.json` with HF's names.

Its fields are also the keyword arguments of `generate` and `stream`, all optional there. Standard
library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from tinygpt.config.html_repr import fields_html
from tinygpt.config.schema import check_types, from_dict, to_dict
from tinygpt.errors import ConfigError, did_you_mean

__all__ = ["GenerationConfig", "GenerationSettings", "changed"]

MAX_STOPS, MAX_STOP = 64, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """How text is sampled: `generation_config.json`, with HF's names."""

    temperature: float = 0.8
    """Divides the logits; 0 always takes the most likely token (greedy)."""
    top_k: int | None = None
    """Keep only the k most likely tokens; null keeps all."""
    top_p: float = 1.0
    """Keep the most likely tokens whose probabilities sum to at least p; 1 keeps all."""
    min_p: float = 0.0
    """Keep the tokens at least min_p times as likely as the most likely one; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Above 1 makes ids of the prompt and of the text so far less likely; 1 changes nothing."""
    max_new_tokens: int = 200
    """Number of tokens to generate, at most."""
    stop_strings: tuple[str, ...] = ()
    """Texts at which generation ends; they are not part of the output."""
    bos_token_id: int | None = None
    """Copied from ModelConfig."""
    eos_token_id: int | None = None
    """Copied from ModelConfig; generation ends when it is drawn."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible settings, naming the field, the value and the rule."""
        check_types(self)
        if self.temperature < 0:
            raise ConfigError(f"temperature={self.temperature} is not allowed: 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k} is not allowed: at least 1 (null keeps all)")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} is not allowed: 0 < top_p <= 1")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p={self.min_p} is not allowed: 0 <= min_p <= 1")
        if not 0.01 <= self.repetition_penalty <= 1e6:
            raise ConfigError(
                f"repetition_penalty={self.repetition_penalty} is not allowed: 0.01 to 1e6 (1 is "
                "none)"
            )
        if self.max_new_tokens < 0:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens} is not allowed: 0 or more")
        if len(self.stop_strings) > MAX_STOPS or any(len(s) > MAX_STOP for s in self.stop_strings):
            raise ConfigError(
                f"stop_strings holds {len(self.stop_strings):,} texts; allowed are {MAX_STOPS} of "
                f"at most {MAX_STOP:,} characters, each is looked for after every token"
            )
        if any(not stop for stop in self.stop_strings):
            raise ConfigError("stop_strings holds an empty text, which would stop at once")

    def to_dict(self) -> dict[str, Any]:
        """Return generation_config.json as transformers reads it (greedy is do_sample: false)."""
        data = to_dict(self)
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            data[name] = float(data[name])  # transformers refuses a penalty of 2
        sampled = self.temperature > 0
        data |= {"do_sample": sampled, "top_k": self.top_k or 0}
        if not sampled:
            del data["temperature"]
        for name in ("min_p", "stop_strings"):  # it warns of an idle min_p in a greedy config
            if not data[name]:
                del data[name]
        return data

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        where: str = "generation_config.json",
        strict: bool = True,
    ) -> "GenerationConfig":
        """Read the contents of a generation_config.json.

        Args:
            strict: True for files that tinygpt wrote: an unknown key is an error. False for
                foreign HF folders, whose other keys (beams, penalties ...) are not ours to run.

        Raises:
            ConfigError: unknown key (strict) or impossible value.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: expected a JSON object, got {type(data).__name__}")
        values = dict(data)
        sampled = values.pop("do_sample", None)
        if not strict:
            values = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
            values = {k: v for k, v in values.items() if v is not None or k.endswith("_id")}
            eos = values.get("eos_token_id")
            if isinstance(eos, list):  # HF allows several; the first counts
                values["eos_token_id"] = eos[0] if eos else None
            if isinstance(values.get("stop_strings"), str):
                values["stop_strings"] = [values["stop_strings"]]
        if values.get("top_k") == 0:
            values["top_k"] = None
        if sampled is False and strict:
            values["temperature"] = 0.0
        return from_dict(cls, values, where)


class GenerationSettings(TypedDict, total=False):
    """GenerationConfig's fields as keyword arguments, for editors and mypy; a test compares them.

    None keeps its meaning: top_k=None keeps all. What is not given comes from the model's file.
    """

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
