"""What a served model is made of and what it costs, as `inspect` says it; also at another width.

The picture of the weights is the reports' (report/charts/blocks.py).
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygpt.config.train_config import TrainConfig
from tinygpt.errors import ConfigError
from tinygpt.model.external_config import AnyAccount, AnyConfig, account_of
from tinygpt.report.charts.blocks import ModelShape, blocks_chart
from tinygpt.report.charts.palette import Mark
from tinygpt.report.comparison.table import COMPONENTS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["picture", "scale"]

_FLOAT_BYTES = 4

_LABELS = {**COMPONENTS, "attention_scores": "attention scores", "other": "other"}


def scale(
    name: str,
    config: AnyConfig,
    n_embd: int | None,
    bytes_per_token: float | None,
) -> dict[str, Any]:
    """Add up one model, or what it would be at another width.

    Args:
        name: of the model.
        config: its architecture.
        n_embd: the other width; None takes its own.
        bytes_per_token: mean of its tokenizer; None where it is not known.

    Raises:
        ConfigError: a width that the heads can't share, or one of another family's model.
    """
    own = config.n_embd
    if n_embd is not None and n_embd != own:
        if config.model_type != "gpt2":
            raise ConfigError(
                f"{name} is a {config.model_type}, counted on the model itself; leave out n_embd, "
                "only a GPT-2 is worked out at another width"
            )
        config = dataclasses.replace(config, n_embd=n_embd)
    costs = account_of(
        config,
        batch_size=TrainConfig().windows,
        block_size=min(TrainConfig().block_size, config.n_positions),
    )
    return {
        "name": name,
        **{key: getattr(config, key) for key in ("n_embd", "n_head", "n_layer")},
        **{key: getattr(config, key) for key in ("n_positions", "vocab_size")},
        "is_own": config.n_embd == own,
        "n_embd_step": None if costs.counted else config.n_head,
        "counted": "module" if costs.counted else "formulas",
        "components": _components(costs, bytes_per_token),
        "n_params": costs.n_params,
        "weights_bytes": costs.weights_bytes,
        "flops_per_token": costs.flops_per_token,
        "flops_per_byte": _per_byte(costs.flops_per_token, bytes_per_token),
        "bytes_per_token": bytes_per_token,
        "kv_cache_bytes_per_token": costs.kv_cache_bytes_per_token,
        "kv_cache_bytes": costs.kv_cache_bytes,
        "training_memory_bytes": costs.training_memory_bytes,
    }


def picture(found: Sequence[dict[str, Any]], width: float) -> list[Any]:
    """Draw what `scale` returned of models A and B to one scale, so many pixels wide.

    The SVG is [name, attributes, *children]: the page makes elements of it and reads no markup.
    """
    shapes = [
        ModelShape(
            Mark(letter, letter.lower(), ""),
            one["n_layer"],
            one["n_embd"],
            dict.fromkeys(_LABELS, 0) | {row["key"]: row["n_params"] for row in one["components"]},
        )
        for letter, one in zip("AB", found, strict=False)
    ]
    from xml.etree import ElementTree  # a start does not wait for a parser

    return _tree(ElementTree.fromstring(blocks_chart(shapes, width)))  # noqa: S314 - our own markup


def _tree(element: "Element") -> list[Any]:
    parts = [element.text, *(part for child in element for part in (_tree(child), child.tail))]
    return [element.tag, element.attrib, *filter(None, parts)]


def _components(costs: AnyAccount, bytes_per_token: float | None) -> list[dict[str, Any]]:
    """Return every part that has parameters or costs FLOPs; a tied output matrix has 0."""
    flops = costs.flops_per_token_by_component
    rows = []
    for key, label in _LABELS.items():
        n, cost = costs.n_params_by_component.get(key, 0), flops.get(key)
        if n or cost or key == "lm_head":
            rows.append(
                {
                    "key": key,
                    "label": label,
                    "n_params": n,
                    "bytes": _FLOAT_BYTES * n,
                    "flops_per_token": cost,
                    "flops_per_byte": _per_byte(cost, bytes_per_token),
                }
            )
    return rows


def _per_byte(flops: int | None, bytes_per_token: float | None) -> float | None:
    return None if flops is None or bytes_per_token is None else flops / bytes_per_token
