"""The rows of the comparison table, once, for every way of drawing it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygpt.bench import Speed, Spread
from tinygpt.border import REACH_BYTES
from tinygpt.comparison import Comparison
from tinygpt.escape import visible
from tinygpt.model_report import ModelReport

__all__ = ["Row", "Section", "footnotes", "sections", "title"]


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


def title(comparison: Comparison) -> str:
    """Return the headline."""
    return " and ".join(visible(m.name) for m in comparison.models) + ", side by side"


def sections(comparison: Comparison) -> list[Section]:
    """Return the table, top to bottom."""
    models = comparison.models
    return [
        Section("What they are", _architecture(models)),
        Section("Parameters by component", _components(models)),
        Section("What a token and a byte cost", _costs(models)),
        Section("Speed on this machine", _speed(comparison)),
        Section("How well they predict", _quality(comparison)),
    ]


def footnotes(comparison: Comparison) -> list[str]:
    """Return what must be said below the table: missing weights, texts, prefix, rules."""
    notes = [
        f"{visible(m.name)}: {visible(m.missing_weights)}"
        for m in comparison.models
        if m.missing_weights is not None
    ]
    reasons = {m.speed_missing for m in comparison.models if m.speed_missing != m.missing_weights}
    notes += [f"no speed: {visible(reason)}" for reason in reasons if reason is not None]
    for text in comparison.texts:
        notes.append(
            f"{visible(text.name)} = {text.n_bytes:,} bytes, sha256 {text.sha256[:16]}..., after "
            f"{text.prefix_bytes:,} unscored bytes; {visible(text.source)}"
        )
        if not text.common_border:
            notes.append(
                f"{visible(text.name)}: within {REACH_BYTES} bytes there is no place where a token "
                "starts in every tokenizer; a model whose token would lie across the border has "
                "prefix and text encoded apart, which costs it a little"
            )
    for model in comparison.models:
        for quality in model.quality:
            e = quality.evaluation
            if e is not None and e.start:
                notes.append(
                    f"{visible(model.name)} on {visible(quality.text)}: no prefix, before the "
                    f"first token stands {e.start}"
                )
            if e is not None and e.n_unknown:
                notes.append(
                    f"{visible(model.name)} on {visible(quality.text)}: {e.n_unknown:,} of "
                    f"{e.n_characters:,} characters are outside its vocabulary and cost "
                    f"{e.unknown_nats / e.total_nats:.0%} of the bits"
                )
    return notes


def _rows(
    models: Sequence[ModelReport], wanted: dict[str, Callable[[ModelReport], str]]
) -> tuple[Row, ...]:
    return tuple(Row(label, tuple(value(m) for m in models)) for label, value in wanted.items())


def _architecture(models: Sequence[ModelReport]) -> tuple[Row, ...]:
    first = models[0].n_params

    def parameters(m: ModelReport) -> str:
        ratio = m.n_params / first
        return f"{m.n_params:,}" + (f" ({ratio:,.1f} x)" if m is not models[0] else "")

    return _rows(
        models,
        {
            "tokenization": lambda m: m.tokenization,
            "the text begins": lambda m: (
                "(no vocabulary)"
                if m.first_tokens is None
                else "·".join(visible(t).replace(" ", "␣") for t in m.first_tokens) + "·..."
            ),
            "vocab_size": lambda m: f"{m.config['vocab_size']:,}",
            "context length (tokens)": lambda m: f"{m.config['n_positions']:,}",
            "n_layer": lambda m: f"{m.config['n_layer']}",
            "n_head": lambda m: f"{m.config['n_head']}",
            "n_embd (d_model)": lambda m: f"{m.config['n_embd']}",
            "head size": lambda m: f"{m.config['n_embd']} / {m.config['n_head']} = {m.head_dim}",
            "parameters": parameters,
            "config contents": _contents,
            "blocks": lambda m: (
                f"{m.config['n_layer']} x (LayerNorm, attention, LayerNorm, MLP), pre-norm, "
                f"learned positions, {m.config['activation_function']}"
            ),
        },
    )


def _contents(m: ModelReport) -> str:
    """Say where architecture and training settings are written down: the doctor's counts."""
    config = m.config_labels["config.json"]
    parts = [f"config.json: {config.get('architecture', 0)} architecture keys"]
    mixed = config.get("training", 0)
    parts.append(f"{mixed} training keys" if mixed else "no training key")
    training = m.config_labels.get("training.json")
    if training is None:
        parts.append("training settings are not in the folder")
    else:
        parts.append(f"training.json: {training.get('training', 0)} training keys")
    return "; ".join([", ".join(parts[:2]), parts[2]])


def _components(models: Sequence[ModelReport]) -> tuple[Row, ...]:
    def value(m: ModelReport, name: str) -> str:
        n = m.n_params_by_component[name]
        if name == "lm_head" and not n:
            return "tied to wte"
        return f"{n:,} ({n / m.n_params:.1%})"

    meanings = {
        "wte": "token embedding (wte)",
        "wpe": "positions (wpe)",
        "attention": "attention",
        "mlp": "MLP",
        "layer_norm": "LayerNorm",
        "lm_head": "output matrix (lm_head)",
    }
    return tuple(
        Row(meanings.get(name, name), tuple(value(m, name) for m in models))
        for name in models[0].n_params_by_component
    )


def _costs(models: Sequence[ModelReport]) -> tuple[Row, ...]:
    return _rows(
        models,
        {
            "bytes per token": lambda m: _or_dash(m.bytes_per_token, "{:.2f}"),
            "context in bytes": lambda m: _or_dash(m.context_bytes, "{:,.0f}"),
            "FLOPs per token": lambda m: _si(m.flops_per_token),
            "FLOPs per byte": lambda m: _si(m.flops_per_byte),
            "KV cache per token": lambda m: f"{m.kv_cache_bytes_per_token:,} bytes",
            "KV cache, full context": lambda m: (
                f"{m.kv_cache_bytes_per_token * m.context_tokens / 2**20:,.2f} MiB"
            ),
        },
    )


def _speed(comparison: Comparison) -> tuple[Row, ...]:
    def spread(pick: Callable[[Speed], Spread]) -> Callable[[ModelReport], str]:
        def cell(m: ModelReport) -> str:
            if m.speed is None:
                return "not measured (below)"
            s = pick(m.speed)
            return f"{s.median:,.0f} ({s.min:,.0f} to {s.max:,.0f})"

        return cell

    def setting(m: ModelReport) -> str:
        s = m.speed
        if s is None:
            return "-"
        weights = ", random weights" if s.random_weights else ""
        return f"{s.engine}, {s.device}, {s.precision}, {s.threads} threads{weights}"

    return _rows(
        comparison.models,
        {
            "prefill, bytes/s": spread(lambda s: s.prefill_bytes_per_s),
            "decode, bytes/s": spread(lambda s: s.decode_bytes_per_s),
            "decode, tokens/s": spread(lambda s: s.decode_tok_per_s),
            "measured with": setting,
        },
    )


def _quality(comparison: Comparison) -> tuple[Row, ...]:
    rows = []
    for i, text in enumerate(comparison.texts):
        values = []
        for m in comparison.models:
            e = m.quality[i].evaluation
            if e is None:
                values.append("needs the weights (below)")
            else:
                values.append(f"{e.bits_per_byte:.3f} (context {e.context:,}, stride {e.stride:,})")
        rows.append(Row(f"bits per byte, {visible(text.name)}", tuple(values)))
    return tuple(rows)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _si(value: float | None) -> str:
    if value is None:
        return "-"
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:,.2f} {letter}"
    return f"{value:,.0f}"
