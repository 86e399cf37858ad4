"""What a module of another family costs, counted on its shapes: parameters, FLOPs, keys and values.

No formula holds for grouped heads, sliding windows, gates and experts alike; the module itself,
built without values, tells what it would do. tests/inference/transformers_backend/test_costs.py
holds the counts against the formulas of model/costs.py for a GPT-2, and against a Llama's worked
out by hand.
"""

import contextlib
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tinygpt.config.model_config import MAX_PARAMETERS
from tinygpt.errors import ConfigError
from tinygpt.model.external_config import ExternalAccount

__all__ = ["blocks", "count"]

_PARTS = {
    "attention": ("attn", "attention"),
    "mlp": ("mlp", "feed_forward", "ffn", "fc1", "fc2", "moe", "experts"),
}
"""Components by what the names of their modules contain."""


def blocks(module: nn.Module, config: Any) -> str:
    """Name a block's class and those of its parts that have parameters."""
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList) and len(m)]
    block = max(lists, key=len)[0] if lists else module
    parts = [type(c).__name__ for c in block.children() if any(True for _ in c.parameters())]
    names = ", ".join(dict.fromkeys(parts))
    act = getattr(config, "hidden_act", None) or getattr(config, "activation_function", None)
    n = max(map(len, lists)) if lists else 1
    return f"{n} x {type(block).__name__} ({names})" + (f", {act}" if isinstance(act, str) else "")


def count(module: nn.Module, n_positions: int) -> ExternalAccount:
    """Count parameters, and on shapes alone the FLOPs and what is kept of a full context.

    FLOPs are those of matrix products, as `forward_flops` of model/costs.py has them, seen by
    torch's FlopCounterMode. A module that it does not see through (grouped products of experts,
    scans) has fewer than two for each weight of a matrix; its FLOPs count as unknown.

    Args:
        module: on the device `meta`: shapes without values.
        n_positions: longest context in tokens, one that stands before every window included.

    Raises:
        ConfigError: more parameters than tinygpt opens.
    """
    parts = _components(module)
    total = sum(parts.values())
    if total > MAX_PARAMETERS:
        raise ConfigError(f"{total:,} parameters are too many; tinygpt opens {MAX_PARAMETERS:,}")
    flops = per_token = kept = None
    with contextlib.suppress(Exception):  # a family that can't be run on shapes alone
        flops, per_token, kept = _trace(module.eval(), n_positions)
    tied = 0 if parts["lm_head"] else parts["wte"]
    matrices = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    used = matrices - parts["wte"] - parts["wpe"] + tied
    if flops is not None and flops < 2 * used:
        flops = None
    return ExternalAccount(
        n_params=total,
        n_params_non_embedding=total - parts["wte"] - parts["wpe"] - parts["lm_head"],
        n_params_by_component=parts,
        weights_bytes=4 * total,
        n_positions=n_positions,
        flops_per_token=flops,
        kv_cache_bytes_per_token=per_token,
        kv_cache_bytes=kept,
    )


def _components(module: Any) -> dict[str, int]:
    """Return parameters by component, tied ones once."""
    found = dict.fromkeys(("wte", "wpe", "attention", "mlp", "layer_norm", "lm_head", "other"), 0)
    seen: set[int] = set()
    ends = {id(module.get_input_embeddings()): "wte", id(module.get_output_embeddings()): "lm_head"}
    for name, part in module.named_modules():
        place = ends.get(id(part))
        if place is None and isinstance(part, nn.Embedding):
            place = "wpe"
        if place is None and "norm" in type(part).__name__.lower():
            place = "layer_norm"
        if place is None:
            fits = (key for key, words in _PARTS.items() if any(w in name.lower() for w in words))
            place = next(fits, "other")
        for parameter in part.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[place] += parameter.numel()
    return found


@torch.inference_mode()
def _trace(module: nn.Module, n_positions: int) -> tuple[int, int, int]:
    """Run a full context on shapes: FLOPs of its last token, bytes kept of one token and of all."""
    ids = torch.zeros(1, n_positions, dtype=torch.long, device="meta")
    past = None
    if n_positions > 1:
        past = module(ids[:, 1:], use_cache=True).past_key_values
    with FlopCounterMode(display=False) as counter:
        past = module(ids[:, :1], past_key_values=past, use_cache=True).past_key_values
    tensors = [t for layer in past.layers for t in (layer.keys, layer.values)]  # (1, H, T, D)
    per_token = sum(t.numel() // t.shape[-2] for t in tensors)
    return int(counter.get_total_flops()), 4 * per_token, 4 * sum(t.numel() for t in tensors)
