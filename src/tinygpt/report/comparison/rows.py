"""The rows of the comparison table, once, for every way of drawing it."""

from collections.abc import Callable, Sequence

from tinygpt.comparison.result import Comparison, ModelReport
from tinygpt.escape import visible
from tinygpt.profiling.result import Speed, Spread
from tinygpt.report.comparison.quality_rows import quality_sections
from tinygpt.report.comparison.table import COMPONENTS, Row, Section, rows_of

__all__ = ["components", "config_rows", "sections", "sentences", "title"]


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
        *quality_sections(comparison),
    ]


def _architecture(models: Sequence[ModelReport]) -> tuple[Row, ...]:
    first = models[0].n_params

    def parameters(m: ModelReport) -> str:
        ratio = m.n_params / first
        return f"{m.n_params:,}" + (f" ({ratio:,.1f} x)" if m is not models[0] else "")

    return rows_of(
        models,
        {
            "tokenization": lambda m: m.tokenization,
            "the text begins": lambda m: (
                "(no vocabulary)" if m.first_tokens is None else _spelled(m.first_tokens) + "·..."
            ),
            "longest tokens in it": lambda m: (
                "(no vocabulary)" if m.longest_tokens is None else _spelled(m.longest_tokens[:3])
            ),
            "vocab_size": lambda m: f"{m.vocab_size:,}",
            "context length (tokens)": lambda m: f"{m.context_tokens:,}",
            "n_layer": lambda m: f"{m.n_layer}",
            "n_head": lambda m: _or_dash(m.n_head, "{}"),
            "n_embd (d_model)": lambda m: f"{m.n_embd}",
            "head size": _head_size,
            "parameters": parameters,
            "config contents": _contents,
            "blocks": lambda m: visible(m.blocks),
        },
    )


def _head_size(m: ModelReport) -> str:
    if m.n_head is not None and m.head_dim == m.n_embd // m.n_head:
        return f"{m.n_embd} / {m.n_head} = {m.head_dim}"
    return _or_dash(m.head_dim, "{}")


def _spelled(tokens: Sequence[str]) -> str:
    """Write tokens side by side, each space visible."""
    return "·".join(visible(token).replace(" ", "␣") for token in tokens)


def config_rows(comparison: Comparison) -> tuple[Row, ...]:
    """Return the keys in which files differ that two or more models have, labelled."""
    return tuple(
        Row(
            f"{visible(key.key)} ({', '.join(key.labels)})",
            tuple("-" if value is None else visible(value) for value in key.values),
        )
        for key in comparison.config_keys
        if key.differs and sum(value is not None for value in key.values) > 1
    )


def sentences(comparison: Comparison) -> list[tuple[str, str]]:
    """Return (model and number of tokens, the same words cut by its tokenizer)."""
    return [
        (f"{visible(m.name)}, {len(m.sentence_tokens):,} tokens", _spelled(m.sentence_tokens))
        for m in comparison.models
        if m.sentence_tokens
    ]


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


def components(models: Sequence[ModelReport]) -> list[str]:
    """Return the names of the parts that some model has, in their order."""
    names = dict.fromkeys(name for m in models for name in m.n_params_by_component)
    return [n for n in names if n != "other" or any(m.n_params_by_component.get(n) for m in models)]


def _components(models: Sequence[ModelReport]) -> tuple[Row, ...]:
    def value(m: ModelReport, name: str) -> str:
        n = m.n_params_by_component.get(name, 0)
        if name == "lm_head" and not n:
            return "tied to wte"
        if name == "wpe" and not n:
            return "none"
        return f"{n:,} ({n / m.n_params:.1%})"

    return tuple(
        Row(COMPONENTS.get(name, name), tuple(value(m, name) for m in models))
        for name in components(models)
    )


def _costs(models: Sequence[ModelReport]) -> tuple[Row, ...]:
    return rows_of(
        models,
        {
            "bytes per token": lambda m: _or_dash(m.bytes_per_token, "{:.2f}"),
            "context in bytes": lambda m: _or_dash(m.context_bytes, "{:,.0f}"),
            "FLOPs per token": lambda m: _si(m.flops_per_token),
            "FLOPs per byte": lambda m: _si(m.flops_per_byte),
            "KV cache per token": lambda m: _or_dash(m.kv_cache_bytes_per_token, "{:,} bytes"),
            "KV cache, full context": lambda m: _or_dash(
                None if m.kv_cache_bytes is None else m.kv_cache_bytes / 2**20, "{:,.2f} MiB"
            ),
            "weights, float32": lambda m: f"{m.weights_bytes / 2**20:,.2f} MiB",
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
        engine = s.engine if s.isa is None else f"{s.engine} ({s.isa})"
        return f"{engine}, {s.device}, {s.precision}, {s.threads} threads{weights}"

    return rows_of(
        comparison.models,
        {
            "prefill, bytes/s": spread(lambda s: s.prefill_bytes_per_s),
            "decode, bytes/s": spread(lambda s: s.decode_bytes_per_s),
            "decode, tokens/s": spread(lambda s: s.decode_tok_per_s),
            "opening its files, warm": _load_time,
            "measured with": setting,
        },
    )


def _load_time(m: ModelReport) -> str:
    if m.load_s is None:
        return "-"
    return f"{m.load_s.median:.3f} s ({m.load_s.min:.3f} to {m.load_s.max:.3f})"


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _si(value: float | None) -> str:
    if value is None:
        return "-"
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:,.2f} {letter}"
    return f"{value:,.0f}"
