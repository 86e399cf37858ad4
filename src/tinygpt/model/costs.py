"""What a model costs, from its ModelConfig alone: parameters, FLOPs, KV cache, training memory.

Nothing is built or measured here, so `inspect` needs no torch; tests/model/test_costs.py holds
every figure against the built model, to the byte and to the FLOP. Letters: B batch_size, T
block_size, C n_embd, F inner_dim, H n_head, L n_layer, V vocab_size.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError

__all__ = [
    "Account",
    "account",
    "activations",
    "context_bytes",
    "flops_per_token",
    "forward_flops",
    "kv_cache_bytes_per_token",
    "n_params",
    "n_params_non_embedding",
    "parameters",
    "training_memory",
]

_FLOAT_BYTES = 4  # tinygpt trains in float32
_ID_BYTES = 8  # ids and targets are int64
_KEEPS_OUTPUT_ONLY = ("relu", "tanh")  # their gradient needs what they gave, not what they took


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All that `inspect` shows about one architecture. Memory is for float32 values."""

    counted: ClassVar[bool] = False
    """Whether the figures were counted on the model's module; these follow from formulas."""

    n_params: int
    """Distinct parameters; a tied output matrix counts once."""
    n_params_non_embedding: int
    """Of these, the blocks and the last LayerNorm."""
    n_params_by_component: dict[str, int]
    """The same, as `parameters` splits it."""
    weights_bytes: int
    """Size of the weights."""
    n_positions: int
    """Longest context in tokens."""
    flops_per_token: int
    """Forward FLOPs of one token that sees a full context."""
    flops_per_token_by_component: dict[str, int]
    """The same, as `forward_flops` splits it."""
    kv_cache_bytes_per_token: int
    """Keys and values of one token in all layers."""
    kv_cache_bytes: int
    """Keys and values of a full context."""
    batch_size: int
    """Windows per training step that the last fields assume."""
    block_size: int
    """Tokens per window that the last fields assume."""
    training_flops_per_step: int
    """Forward and backward FLOPs of one batch: three forwards."""
    training_memory_bytes: int
    """Memory of one training step; see `training_memory`."""
    training_memory_bytes_by_component: dict[str, int]
    """The same, by component."""
    activation_bytes_by_component: dict[str, int]
    """What the backward pass keeps; see `activations`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dict."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def account(config: ModelConfig, *, batch_size: int = 12, block_size: int | None = None) -> Account:
    """Add up one architecture.

    Args:
        config: the architecture.
        batch_size: windows of a training step.
        block_size: tokens of a window; None takes n_positions.

    Raises:
        ConfigError: batch_size below 1, or block_size outside 1 to n_positions.
    """
    block_size = config.n_positions if block_size is None else block_size
    memory = training_memory(config, batch_size, block_size)
    flops = forward_flops(config, 1, config.n_positions)
    window_flops = sum(forward_flops(config, block_size).values())
    return Account(
        n_params=n_params(config),
        n_params_non_embedding=n_params_non_embedding(config),
        n_params_by_component=parameters(config),
        weights_bytes=memory["weights"],
        n_positions=config.n_positions,
        flops_per_token=sum(flops.values()),
        flops_per_token_by_component=flops,
        kv_cache_bytes_per_token=kv_cache_bytes_per_token(config),
        kv_cache_bytes=kv_cache_bytes_per_token(config) * config.n_positions,
        batch_size=batch_size,
        block_size=block_size,
        training_flops_per_step=3 * batch_size * window_flops,
        training_memory_bytes=sum(memory.values()),
        training_memory_bytes_by_component=memory,
        activation_bytes_by_component=activations(config, batch_size, block_size),
    )


def parameters(config: ModelConfig) -> dict[str, int]:
    """Return the number of parameters by component; they sum to `n_params`.

    `attention` and `mlp` are matrices and biases of all layers, `layer_norm` all 2L + 1
    LayerNorms, `lm_head` the output matrix where it is not the token embedding (else 0).
    """
    c, f, n_layer = config.n_embd, config.inner_dim, config.n_layer
    return {
        "wte": config.vocab_size * c,
        "wpe": config.n_positions * c,
        "attention": n_layer * ((c + 1) * 3 * c + (c + 1) * c),
        "mlp": n_layer * ((c + 1) * f + (f + 1) * c),
        "layer_norm": (2 * n_layer + 1) * 2 * c,
        "lm_head": 0 if config.tie_word_embeddings else config.vocab_size * c,
    }


def n_params(config: ModelConfig) -> int:
    """Return the number of distinct parameters (tied weights once)."""
    return sum(parameters(config).values())


def n_params_non_embedding(config: ModelConfig) -> int:
    """Return the parameters that neither the vocabulary nor the context length changes.

    Without wte, wpe and an untied output matrix: N of Kaplan et al. 2020 (scaling laws),
    section 2.1, biases and LayerNorms included.
    """
    parts = parameters(config)
    return parts["attention"] + parts["mlp"] + parts["layer_norm"]


def forward_flops(
    config: ModelConfig, n_tokens: int = 1, n_keys: int | None = None
) -> dict[str, int]:
    """Return the FLOPs of one forward pass over one sequence, by component.

    A multiply-add is 2 FLOPs. Counted are the matrix products: `attention` (c_attn and c_proj),
    `attention_scores` (queries by keys, and weights by values), `mlp`, `lm_head`. The causal mask
    gives no discount: every token is charged for all n_keys keys, as torch's FlopCounterMode does
    and as the plain kernel computes. Embeddings, biases, LayerNorms, softmax and activation are
    left out: about 1% at width 768.

    Args:
        config: the architecture.
        n_tokens: new tokens, each with its logits.
        n_keys: keys that each of them is compared with; None means n_tokens, a forward without
            a cache. A decode step is n_tokens=1, n_keys=length of the context so far.
    """
    c, n_layer = config.n_embd, config.n_layer
    n_keys = n_tokens if n_keys is None else n_keys
    return {
        "attention": n_layer * n_tokens * 2 * (3 * c * c + c * c),
        "attention_scores": n_layer * n_tokens * 2 * 2 * n_keys * c,
        "mlp": n_layer * n_tokens * 2 * 2 * c * config.inner_dim,
        "lm_head": n_tokens * 2 * c * config.vocab_size,
    }


def flops_per_token(config: ModelConfig, context: int) -> int:
    """Return the forward FLOPs of one token that sees `context` tokens, itself included."""
    return sum(forward_flops(config, 1, context).values())


def kv_cache_bytes_per_token(config: ModelConfig, bytes_per_value: int = 4) -> int:
    """Return the bytes of one token's keys and values in all layers."""
    return 2 * config.n_layer * config.n_embd * bytes_per_value


def context_bytes(config: ModelConfig, bytes_per_token: float) -> float:
    """Return the longest context in bytes of UTF-8 text, the unit two tokenizers share.

    Args:
        config: the architecture.
        bytes_per_token: mean over a text, of the model's own tokenizer.
    """
    return config.n_positions * bytes_per_token


def training_memory(
    config: ModelConfig, batch_size: int, block_size: int, optimizer: str = "muon"
) -> dict[str, int]:
    """Return the bytes that one float32 training step holds, by component.

    `weights`; `gradients`, as many; `optimizer`, AdamW's two moments and a step count per tensor,
    or with "muon" one momentum for each matrix of the blocks; `activations`, see there. Passing
    buffers of the kernels come on top: logits of 64 MiB at most, and Muon's of a few matrices.

    Raises:
        ConfigError: batch_size below 1, or block_size outside 1 to n_positions.
    """
    weights = n_params(config) * _FLOAT_BYTES
    n_tensors = 12 * config.n_layer + 4 + (0 if config.tie_word_embeddings else 1)
    momenta = 0
    if optimizer == "muon":
        n_tensors -= 4 * config.n_layer
        momenta = (
            _FLOAT_BYTES
            * config.n_layer
            * config.n_embd
            * (4 * config.n_embd + 2 * config.inner_dim)
        )
    return {
        "weights": weights,
        "gradients": weights,
        "optimizer": 2 * weights - momenta + n_tensors * _FLOAT_BYTES,
        "activations": sum(activations(config, batch_size, block_size).values()),
    }


def activations(config: ModelConfig, batch_size: int, block_size: int) -> dict[str, int]:
    """Return the bytes that autograd keeps of one micro-batch for the backward pass.

    As torch's CPU kernels keep them in float32, cross-entropy included, with N = B * T:

    * `embedding`: ids and positions.
    * `layer_norm`, 2L + 1 times: the input (N, C), mean and deviation (N each).
    * `attention`, L times: input, queries, keys, values and result (N, C each), and one sum per
      head (N, H) from which the kernel recomputes the weights. With attn_pdrop above 0 torch
      has no such kernel and keeps three (B, H, T, T) tensors instead of the sums.
    * `mlp`, L times: the input (N, C), both sides of the activation (N, F each; relu and tanh
      need one side only).
    * `output`: the gradients of the last hidden states (N, C) and of lm_head (V, C), which
      training/cross_entropy.py computes on the way forward instead of keeping logits.
    * `dropout`: a float mask (N, C) for each place where the probability is not 0.

    Raises:
        ConfigError: batch_size below 1, or block_size outside 1 to n_positions.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} is not allowed: at least 1")
    if not 1 <= block_size <= config.n_positions:
        raise ConfigError(
            f"block_size={block_size} is not allowed: 1 to n_positions ({config.n_positions})"
        )
    n, n_layer, n_head = batch_size * block_size, config.n_layer, config.n_head
    nc = n * config.n_embd
    if config.attn_pdrop:
        scores = 3 * n * n_head * block_size
        if batch_size == 1 or n_head == 1:  # values stay a view, which keeps q and k alive too
            scores += 2 * nc
    else:
        scores = n * n_head
    sides = 1 if config.activation_function in _KEEPS_OUTPUT_ONLY else 2
    masks = (2 * n_layer if config.resid_pdrop else 0) + (1 if config.embd_pdrop else 0)
    return {
        "embedding": _ID_BYTES * (n + block_size),
        "layer_norm": _FLOAT_BYTES * (2 * n_layer + 1) * (nc + 2 * n),
        "attention": _FLOAT_BYTES * n_layer * (5 * nc + scores),
        "mlp": _FLOAT_BYTES * n_layer * (nc + sides * n * config.inner_dim),
        "output": _FLOAT_BYTES * config.n_embd * (n + config.vocab_size),
        "dropout": _FLOAT_BYTES * masks * nc,
    }
