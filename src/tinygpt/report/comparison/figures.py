"""Which pictures a page about a Comparison has; one that lacks its figures is left out."""

from collections.abc import Callable

from tinygpt.comparison.result import Comparison, ModelReport
from tinygpt.escape import visible
from tinygpt.evaluation.result import Evaluation
from tinygpt.report.charts.bars import Bar, Group, bar_chart
from tinygpt.report.charts.blocks import ModelShape, blocks_chart
from tinygpt.report.charts.charts import Curve, Level, Point, line_chart, scatter
from tinygpt.report.charts.page import Figure
from tinygpt.report.charts.palette import Mark, marks
from tinygpt.report.comparison.rows import components, sections

__all__ = ["learning", "quality", "size"]

BITS = "bits per byte (lower is better)"


def quality(comparison: Comparison) -> list[Figure]:
    """Return how well the models predict: each text, and against what that costs."""
    models = marks(comparison.models)
    groups = []
    for i, scored in enumerate(comparison.texts):
        found = [model.quality[i] for model in comparison.models]
        name = visible(scored.name)
        yardsticks = [(y.name, y.bits_per_byte) for y in scored.yardsticks]
        own = [q.evaluation for q in found]
        groups.append(Group(f"{name}, own context", _bars(models, own), yardsticks))
        if any(q.matched != q.evaluation for q in found):
            label = f"{name}, {scored.matched_context_bytes:,.0f} bytes of context for all"
            groups.append(Group(label, _bars(models, [q.matched for q in found])))
    if all(bar.value is None for group in groups for bar in group.bars):
        return []
    caption = (
        "What each model needs to write the text down, given all that stands before: 8 bits per "
        "byte is no compression at all, 0 would be perfect foresight."
    )
    if any(group.yardsticks for group in groups):
        caption += " Dashed: what the same bytes cost without a network."
    drawn = [Figure("Bits per byte", bar_chart(groups, "bits per byte"), caption)]
    return drawn + _prices(comparison, models)


def _bars(models: list[Mark], found: list[Evaluation | None]) -> list[Bar]:
    return [
        Bar(mark, None, "needs the weights")
        if e is None
        else Bar(mark, e.bits_per_byte, f"{e.bits_per_byte:.3f}")
        for mark, e in zip(models, found, strict=True)
    ]


def _prices(comparison: Comparison, models: list[Mark]) -> list[Figure]:
    """Return quality on the first text against size, compute and speed."""
    first = visible(comparison.texts[0].name)
    wanted: tuple[tuple[str, str, str, Callable[[ModelReport], float | None]], ...] = (
        ("Quality against size", "parameters", "Further left is smaller.", lambda m: m.n_params),
        (
            "Quality against compute",
            "FLOPs per byte",
            "Further left computes less for each byte of text.",
            lambda m: m.flops_per_byte,
        ),
        (
            "Quality against speed",
            "bytes of text written per second",
            "Further right writes faster, batch 1, on the machine named below.",
            lambda m: m.speed.decode_bytes_per_s.median if m.speed else None,
        ),
    )
    drawn = []
    for heading, words, meaning, pick in wanted:
        points = []
        for mark, model in zip(models, comparison.models, strict=True):
            x, e = pick(model), model.quality[0].evaluation
            if x is not None:
                points.append(Point(mark, x, None if e is None else e.bits_per_byte))
        if len(points) > 1 and any(p.y is not None for p in points):
            caption = f"On {first}; the upright axis does not begin at zero. {meaning}"
            drawn.append(Figure(heading, scatter(points, words, BITS), caption))
    return drawn


def size(comparison: Comparison) -> list[Figure]:
    """Return the weights to scale, and where in each model they are."""
    models = marks(comparison.models)
    shapes = [
        ModelShape(mark, model.n_layer, model.n_embd, model.n_params_by_component)
        for mark, model in zip(models, comparison.models, strict=True)
    ]
    rows = next(s.rows for s in sections(comparison) if s.title == "Parameters by component")
    groups = []
    for name, row in zip(components(comparison.models), rows, strict=True):
        bars = [
            Bar(mark, model.n_params_by_component.get(name, 0) / model.n_params, words)
            for mark, model, words in zip(models, comparison.models, row.values, strict=True)
        ]
        if any(bar.value for bar in bars):
            groups.append(Group(row.label, bars))
    return [
        Figure(
            "The blocks, to one scale",
            blocks_chart(shapes),
            "Equal areas are equal numbers of weights. Faint: the embeddings, wrapped into "
            "columns; then a column for each block, attention in full colour below its MLP. "
            "LayerNorm is thinner than a line.",
        ),
        Figure(
            "Parameters by component",
            bar_chart(groups, "share of each model's parameters"),
            "Bars are shares of each model's own parameters; the numbers are parameters.",
        ),
    ]


def learning(comparison: Comparison) -> list[Figure]:
    """Return how the runs learned, and what context is worth to each model."""
    models = list(zip(marks(comparison.models), comparison.models, strict=True))
    first = comparison.texts[0]
    drawn = []
    if runs := [curve for mark, model in models for curve in _run(mark, model)]:
        taught = comparison.yardsticks_from is not None
        counts = [y for y in first.yardsticks if taught and y.order is not None]
        levels = [Level(y.name, y.bits_per_byte) for y in counts]
        svg = line_chart(runs, "bytes of training text read", BITS, levels)
        caption = (
            "With dots: val_loss on the run's own held-out text (disjoint windows, so another "
            "figure than the table's). Faint: the training loss since the dot before, averaged."
        )
        if levels:
            caption += f" Dashed: counting, on {visible(first.name)}."
        drawn.append(Figure("How the runs learned", svg, caption))
    by_context = [
        Curve(mark, _by_context(model), "by context")
        for mark, model in models
        if len(model.loss_by_context) > 1
    ]
    if by_context:
        svg = line_chart(by_context, "bytes of context", BITS, may_be_log=True)
        caption = (
            f"On {visible(first.name)}: the price of a byte by how much text the model sees "
            "before it. Windows stand side by side here, so the mean is not the table's figure."
        )
        drawn.append(Figure("What context is worth", svg, caption))
    return drawn


def _run(mark: Mark, model: ModelReport) -> list[Curve]:
    """Return the curves of a run on training text and on held-out text."""
    if model.curve is None:
        return []
    points = model.curve.points
    taught = [(p.train_bytes, p.train_bits_per_byte) for p in points]
    known = [(x, y) for x, y in taught if y is not None]
    held_out = [(p.train_bytes, p.val_bits_per_byte) for p in points]
    faint = [Curve(mark, known, "training text", faint=True)] if known else []
    return [*faint, Curve(mark, held_out, "held-out text")]


def _by_context(model: ModelReport) -> list[tuple[float, float]]:
    """Return (bytes of context, bits per byte), at the middle of each range."""
    return [((b.begin_bytes + b.end_bytes) / 2, b.bits_per_byte) for b in model.loss_by_context]
