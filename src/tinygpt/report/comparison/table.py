"""What a comparison's table is made of: sections of rows, a value per model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygpt.comparison.result import ModelReport

__all__ = ["COMPONENTS", "Row", "Section", "rows_of"]

COMPONENTS = {
    "wte": "token embedding (wte)",
    "wpe": "positions (wpe)",
    "attention": "attention",
    "mlp": "MLP",
    "layer_norm": "LayerNorm",
    "lm_head": "output matrix (lm_head)",
}
"""What pictures and tables call the parts of a model."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what it is and a value per model."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that belong together."""

    title: str
    rows: tuple[Row, ...]


def rows_of(
    models: Sequence[ModelReport], wanted: dict[str, Callable[[ModelReport], str]]
) -> tuple[Row, ...]:
    """Return a row per label, its values computed for each model."""
    return tuple(Row(label, tuple(value(m) for m in models)) for label, value in wanted.items())
