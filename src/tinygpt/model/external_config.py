"""A causal language model of another family than GPT-2: its sizes, and what they cost.

transformers computes such a model (inference/transformers_backend/open.py); here is what tinygpt
says of it. The figures are counted on the model itself, because no formula holds for every family;
what can't be counted is None. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError
from tinygpt.model.costs import Account, account

__all__ = [
    "AnyConfig",
    "ForeignAccount",
    "ForeignConfig",
    "account_of",
    "blocks_of",
    "gpt2_config",
    "is_foreign",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAccount:
    """What `account.Account` says of a GPT-2, as far as it can be counted. Memory is float32."""

    n_params: int
    """Distinct parameters; a tied output matrix counts once."""
    n_params_non_embedding: int
    """Of these, all but token embedding, positions and output matrix."""
    n_params_by_component: dict[str, int]
    """The same by the module that holds them, under `account.parameters`' names; `other` is what
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignConfig:
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
    account: ForeignAccount
    data: Mapping[str, Any]
    """Its config.json."""

    def to_dict(self) -> dict[str, Any]:
        """Return config.json as it is in the folder."""
        return dict(self.data)


AnyConfig = ModelConfig | ForeignConfig
"""What any opened model says of itself."""


def is_foreign(data: Mapping[str, Any]) -> bool:
    """Tell whether a config.json is of another family than GPT-2, which tinygpt computes itself."""
    return isinstance(data.get("model_type"), str) and data["model_type"] not in ("", "gpt2")


def account_of(config: AnyConfig) -> Account | ForeignAccount:
    """Return what a model costs: by the formulas for a GPT-2, as counted for another family."""
    return config.account if isinstance(config, ForeignConfig) else account(config)


def gpt2_config(config: AnyConfig) -> ModelConfig:
    """Return the config of a model that tinygpt computes itself.

    Raises:
        ConfigError: it is of another family.
    """
    if isinstance(config, ForeignConfig):
        raise ConfigError(
            f"a model of model_type {config.model_type} can be compared, scored, sampled and timed;"
            " tinygpt trains, converts and climbs the ladder with GPT-2s only"
        )
    return config


def blocks_of(config: AnyConfig) -> str:
    """Say in words what the model's blocks are."""
    if isinstance(config, ForeignConfig):
        return config.blocks
    return (
        f"{config.n_layer} x (LayerNorm, attention, LayerNorm, MLP), pre-norm, "
        f"learned positions, {config.activation_function}"
    )
