"""The rows of the comparison table that say how well the models predict, and beside what."""

from tinygpt.comparison.result import Comparison, ModelReport, Quality, ScoredText
from tinygpt.comparison.verdict import rank
from tinygpt.escape import visible
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.profiling.result import PrecisionCost
from tinygpt.report.comparison.table import Row, Section

__all__ = ["quality_sections"]

MISSING = "needs the weights (below)"


def quality_sections(comparison: Comparison) -> list[Section]:
    """Return quality on each text, its yardsticks, and what context is worth."""
    found = [Section("How well they predict", _quality(comparison))]
    for i, text in enumerate(comparison.texts):
        if text.yardsticks:
            rows = tuple(_yardstick(y, comparison, i) for y in text.yardsticks)
            found.append(Section(f"Without a network, {visible(text.name)}", rows))
    rows = _precisions(comparison)
    if rows:
        n_bytes = max(c.n_bytes for m in comparison.models for c in m.precisions)
        name = visible(comparison.texts[0].name)
        found.append(Section(f"By precision, first {n_bytes:,} bytes of {name}", rows))
    rows = _context(comparison)
    if rows:
        name = visible(comparison.texts[0].name)
        found.append(Section(f"By bytes of context, {name}", rows))
    return found


def _precisions(comparison: Comparison) -> tuple[Row, ...]:
    found = [{c.engine: c for c in model.precisions} for model in comparison.models]

    def cell(costs: dict[str, PrecisionCost], engine: str) -> str:
        if engine not in costs:
            return "-"
        cost = costs[engine]
        return f"{cost.bits_per_byte:.4f} ({round(cost.difference, 5) + 0.0:+.5f})"

    return tuple(
        Row(f"bits per byte, {engine} (beside torch)", tuple(cell(c, engine) for c in found))
        for engine in dict.fromkeys(engine for costs in found for engine in costs)
    )


def _quality(comparison: Comparison) -> tuple[Row, ...]:
    rows = []
    for i, text in enumerate(comparison.texts):
        found = [model.quality[i] for model in comparison.models]
        name = visible(text.name)
        rows.append(Row(f"bits per byte, {name}", tuple(map(_native, found))))
        if any(q.matched != q.evaluation for q in found):
            label = f"same context ({text.matched_context_bytes:,.0f} bytes), {name}"
            rows.append(Row(label, tuple(map(_matched, found))))
        if any(q.evaluation and q.evaluation.n_unknown for q in found):
            rows.append(Row(f"of it unknown characters, {name}", tuple(map(_unknown, found))))
        if any(q.contamination for q in found):
            pairs = zip(comparison.models, found, strict=True)
            values = tuple(_contaminated(model, q, text) for model, q in pairs)
            rows.append(Row(f"in its training text, {name}", values))
    return tuple(rows)


def _native(quality: Quality) -> str:
    e = quality.evaluation
    if e is None:
        return MISSING
    return f"{e.bits_per_byte:.3f} (context {e.context:,}, stride {e.stride:,})"


def _matched(quality: Quality) -> str:
    e = quality.matched
    if e is None:
        return MISSING
    return f"{e.bits_per_byte:.3f} (context {e.context:,}, stride {e.stride:,})"


def _unknown(quality: Quality) -> str:
    e = quality.evaluation
    if e is None:
        return "-"
    if not e.n_unknown:
        return "none"
    return f"{e.escape_share:.1%} of the bits ({e.n_unknown:,} characters)"


def _contaminated(model: ModelReport, quality: Quality, text: ScoredText) -> str:
    c = quality.contamination
    if c is not None:
        return f"{c.share:.1%} of {c.span}-grams, longest {c.longest_characters:,} characters"
    if model.web_trained and text.public:
        return "probably: web text"
    return "not known"


def _yardstick(yardstick: Yardstick, comparison: Comparison, i: int) -> Row:
    def value(model: ModelReport) -> str:
        e = model.quality[i].evaluation
        if e is None:
            return "-"
        word = {-1: "better", 0: "level", 1: "worse"}[rank(e.bits_per_byte, yardstick)]
        return f"{word} ({e.bits_per_byte - yardstick.bits_per_byte:+.3f})"

    label = f"{yardstick.name}: {yardstick.bits_per_byte:.3f}"
    return Row(label, tuple(value(model) for model in comparison.models))


def _context(comparison: Comparison) -> tuple[Row, ...]:
    """Return bits per byte by the bytes of context; a model without such a context has a dash."""
    by_model = [
        {(b.begin_bytes, b.end_bytes): b.bits_per_byte for b in model.loss_by_context}
        for model in comparison.models
    ]
    ranges = sorted({found for bins in by_model for found in bins})
    return tuple(
        Row(
            f"{begin:,} to {end:,}",
            tuple(f"{bins[begin, end]:.3f}" if (begin, end) in bins else "-" for bins in by_model),
        )
        for begin, end in ranges
    )
