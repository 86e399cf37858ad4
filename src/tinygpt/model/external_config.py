"""A causal language model of another family than GPT-2: its sizes, and what they cost.

transformers computes such a model (inference/transformers_backend/open.py); here is what tinygpt
says of it. The figures are counted on the model itself, because no formula holds for every family;
what can't be counted is None. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError
from tinygpt.model.costs import Account, account

__all__ = [
    "AnyAccount",
    "AnyConfig",
    "ExternalAccount",
    "ExternalConfig",
    "account_of",
    "gpt2_config",
    "is_external",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAccount:
    """What `costs.Account` says of a GPT-2, as far as it can be counted. Memory is float32."""

    counted: ClassVar[bool] = True
    """Whether the figures were counted on the model's module."""
    training_memory_bytes: ClassVar[None] = None
    """Memory of one training step: unknown, tinygpt does not train such a model."""

    n_params: int
    """Distinct parameters; a tied output matrix counts once."""
    n_params_non_embedding: int
    """Of these, all but token embedding, positions and output matrix."""
    n_params_by_component: dict[str, int]
    """The same by the module that holds them, under `costs.parameters`' names; `other` is what
    none of these names fits."""
    weights_bytes: int
    """Size of the weights."""
    n_positions: int
    """Longest context in tokens."""
    flops_per_token: int | None
    """Forward FLOPs of one token that sees a full context; None where they can't be counted."""
    kv_cache_bytes_per_token: int | None
    """Keys and values of one token in all layers; None for a model that keeps none."""
    kv_cache_bytes: int | None
    """Keys and values of a full context; less than a token's times n_positions where a layer keeps
    the last ones only."""

    @property
    def flops_per_token_by_component(self) -> dict[str, int]:
        """Forward FLOPs by component: torch counts the sum only."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalConfig:
    """A causal LM that transformers computes, in the words of ModelConfig."""

    model_type: str
    """transformers' name of the family: llama, qwen2, gpt_neox ..."""
    vocab_size: int
    """Number of ids the model can emit."""
    n_positions: int
    """Longest context in tokens, `start_token` not counted."""
    n_embd: int
    """Width of the residual stream."""
    n_layer: int
    """Number of blocks."""
    n_head: int | None
    """Query heads per block; None where it has none."""
    head_dim: int | None
    """Width of one head."""
    blocks: str
    """What a block is made of, by the names of its modules' classes."""
    start_token: str | None
    """Stands before every window and is never scored (<s>); None where the tokenizer adds none."""
    bos_token_id: int | None
    eos_token_id: int | None
    account: ExternalAccount
    data: Mapping[str, Any]
    """Its config.json."""

    def to_dict(self) -> dict[str, Any]:
        """Return config.json as it is in the folder."""
        return dict(self.data)


AnyConfig = ModelConfig | ExternalConfig
"""What any opened model says of itself."""

AnyAccount = Account | ExternalAccount
"""What any opened model costs."""


def is_external(data: Mapping[str, Any]) -> bool:
    """Tell whether a config.json is of another family than GPT-2, which tinygpt computes itself."""
    return isinstance(data.get("model_type"), str) and data["model_type"] not in ("", "gpt2")


def account_of(
    config: AnyConfig, *, batch_size: int = 12, block_size: int | None = None
) -> AnyAccount:
    """Return what a model costs: by the formulas for a GPT-2, as counted for another family.

    Args:
        config: of the model.
        batch_size, block_size: of a training step, as `costs.account`; of no use to a model that
            tinygpt does not train.
    """
    if isinstance(config, ExternalConfig):
        return config.account
    return account(config, batch_size=batch_size, block_size=block_size)


def gpt2_config(config: AnyConfig) -> ModelConfig:
    """Return the config of a model that tinygpt computes itself.

    Raises:
        ConfigError: it is of another family.
    """
    if isinstance(config, ExternalConfig):
        raise ConfigError(
            f"a model of model_type {config.model_type} can be compared, scored, sampled and timed;"
            " tinygpt trains, converts and climbs the ladder with GPT-2s only"
        )
    return config
