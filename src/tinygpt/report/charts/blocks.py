"""The weights of each model drawn to one scale: the same area is the same number of parameters.

Every Transformer block is a column as wide as the model (n_embd); the token embedding is wrapped
into columns of the same height. So the same four pieces are seen at two sizes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinygpt.report.charts.axes import short
from tinygpt.report.charts.palette import Mark
from tinygpt.report.charts.svg import WIDTH, chip, element, picture, text

__all__ = ["ModelShape", "blocks_chart"]

HEIGHT, TALLEST = 225.0 / 370.0, 360.0
"""Of the tallest model: the share of the picture's width, and the most."""
THIN = 0.75
"""Least side of a rectangle; a thinner one would not be seen."""
GAP, APART, FOOT, LABEL = 2.0, 10.0, 78.0, 98.0
"""Between columns, between models; below a row, and the least width: what its words need."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the drawing needs of a model."""

    mark: Mark
    n_layer: int
    width: int
    """Of a column, in weights: n_embd."""
    components: dict[str, int]
    """Parameters by component, as `parameters` of model/costs.py names them."""

    @property
    def heights(self) -> tuple[float, float]:
        """Of attention and of MLP (with what fits neither) of one block, in weights."""
        each = self.n_layer * self.width
        mlp = self.components["mlp"] + self.components.get("other", 0)
        return self.components["attention"] / each, mlp / each

    @property
    def embedding_columns(self) -> float:
        """How many columns the embeddings and an untied output matrix fill."""
        rows = sum(self.components[name] for name in ("wte", "wpe", "lm_head")) / self.width
        return rows / sum(self.heights)

    @property
    def n_columns(self) -> int:
        """Of embeddings and blocks."""
        return math.ceil(self.embedding_columns) + self.n_layer


def blocks_chart(shapes: Sequence[ModelShape], width: float = WIDTH) -> str:
    """Draw the models beside each other, in rows where they need more room than the width."""
    gap = min(GAP, width / 2 / max(s.n_columns for s in shapes))
    fits = [(width - 8 - gap * s.n_columns) / (s.n_columns * s.width) for s in shapes]
    unit = min(min(TALLEST, HEIGHT * width) / max(sum(s.heights) for s in shapes), *fits)
    rows: list[list[ModelShape]] = [[]]
    x = 4.0
    for shape in shapes:
        wide = _wide(shape, unit, gap)
        if rows[-1] and x + wide > width:
            rows.append([])
            x = 4.0
        rows[-1].append(shape)
        x += wide + APART
    parts: list[str] = []
    floor = 0.0
    for row in rows:
        x, floor = 4.0, floor + max(sum(s.heights) for s in row) * unit + 6
        for shape in row:
            parts += _model(shape, x, floor, unit, gap)
            x += _wide(shape, unit, gap) + APART
        floor += FOOT
    told = "; ".join(
        f"{s.mark.letter} {s.mark.name}".rstrip() + f": {s.n_layer} blocks {s.width:,} wide, "
        f"{short(sum(s.components.values()))} parameters"
        for s in shapes
    )
    words = f"The weights to one scale, equal areas are equal numbers. {told}."
    return picture(width, floor, words, parts)


def _wide(shape: ModelShape, unit: float, gap: float) -> float:
    return max(shape.n_columns * (shape.width * unit + gap), LABEL)


def _model(shape: ModelShape, x: float, floor: float, unit: float, gap: float) -> list[str]:
    """Draw one model with its columns standing on the floor."""
    attention, mlp = (rows * unit for rows in shape.heights)
    width, height = shape.width * unit, attention + mlp
    parts = [chip(x + 8, floor + 16, shape.mark)]
    parts.append(text(x + 22, floor + 20, short(sum(shape.components.values())), "label"))
    about = ("parameters", f"{shape.n_layer} blocks,", f"{shape.width:,} wide")
    parts += [text(x, floor + 36 + 15 * i, words, "note") for i, words in enumerate(about)]
    left = shape.embedding_columns
    while left > 1e-9:
        part = min(left, 1.0) * height
        parts.append(_box(x, floor - part, width, part, shape.mark, "embedding"))
        x, left = x + width + gap, left - 1
    for _ in range(shape.n_layer):
        parts.append(_box(x, floor - height, width, mlp, shape.mark, "mlp"))
        parts.append(_box(x, floor - attention, width, attention, shape.mark, "attention"))
        x += width + gap
    return parts


def _box(x: float, y: float, width: float, height: float, mark: Mark, what: str) -> str:
    box = {
        "x": x,
        "y": y,
        "width": max(width, THIN),
        "height": max(height, THIN),
        "class": f"{what} {mark.css}",
    }
    return element("rect", box, element("title", {}, what))
