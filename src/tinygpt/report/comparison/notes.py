"""What is said below a comparison's table: what differs surely, what is missing, what it is."""

from collections.abc import Iterator

from tinygpt.comparison.result import Comparison, ModelReport, ScoredText
from tinygpt.escape import visible
from tinygpt.evaluation.boundary import REACH_BYTES
from tinygpt.evaluation.result import Evaluation

__all__ = ["footnotes", "verdicts"]


def verdicts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return (model, what its figures on the first text are worth), where it has any."""
    return [(visible(m.name), visible(" ".join(m.verdict))) for m in comparison.models if m.verdict]


def footnotes(comparison: Comparison) -> list[str]:
    """Return the notes in the order of their weight."""
    notes = [note for text in comparison.texts for note in _differences(text)]
    notes += _seen_before(comparison)
    notes += [
        f"{visible(m.name)}: {visible(m.missing_weights)}"
        for m in comparison.models
        if m.missing_weights is not None
    ]
    reasons = {m.speed_missing for m in comparison.models if m.speed_missing != m.missing_weights}
    notes += [f"no speed: {visible(reason)}" for reason in reasons if reason is not None]
    for text in comparison.texts:
        notes += _text(text)
    if comparison.yardsticks_from is not None:
        name = visible(comparison.yardsticks_from)
        notes.append(f"the yardsticks were taught by the training text of {name}; see the JSON")
    for model in comparison.models:
        for quality in model.quality:
            if quality.evaluation is not None:
                where = f"{visible(model.name)} on {visible(quality.text)}"
                notes += [f"{where}: {note}" for note in _evaluation(quality.evaluation)]
        notes += [*_searched(model), *_family(model)]
    return notes


def _differences(text: ScoredText) -> Iterator[str]:
    """Yield who is better on a text, or that it can't be told."""
    name = visible(text.name)
    for difference in text.differences:
        yield f"{name}: {visible(str(difference))}"
    if text.matched_differences != text.differences:
        for difference in text.matched_differences:
            yield (
                f"{name}, {text.matched_context_bytes:,.0f} bytes of context for all: "
                f"{visible(str(difference))}"
            )
    if text.no_interval and not text.differences:
        yield f"{name}: no interval: {visible(text.no_interval)}"


def _seen_before(comparison: Comparison) -> Iterator[str]:
    """Yield the banner for public texts, which models may know by heart."""
    names = " and ".join(visible(text.name) for text in comparison.texts if text.public)
    if not names:
        return
    for model in comparison.models:
        if all(quality.evaluation is None for quality in model.quality):
            continue
        name = visible(model.name)
        if model.web_trained:
            yield (
                f"WARNING: {name} was trained on web text, which probably contains {names}: its "
                "figures there may be memory"
            )
        elif model.web_trained is None:
            yield (
                f"WARNING: what all {name} was trained on is not known here; {names} may be in "
                "it, for anyone can have it"
            )


def _text(text: ScoredText) -> Iterator[str]:
    name = visible(text.name)
    yield (
        f"{name} = {text.n_bytes:,} bytes, sha256 {text.sha256[:16]}..., after "
        f"{text.prefix_bytes:,} unscored bytes; {visible(text.source)}"
    )
    if not text.common_border:
        yield (
            f"{name}: within {REACH_BYTES} bytes there is no place where a token "
            "starts in every tokenizer; a model whose token would lie across the border has "
            "prefix and text encoded apart, which costs it a little"
        )


def _evaluation(e: Evaluation) -> Iterator[str]:
    if e.start:
        yield f"no prefix, before the first token stands {e.start}"
    if e.n_unknown:
        yield (
            f"{e.n_unknown:,} of {e.n_characters:,} characters are outside its vocabulary; their "
            f"escape code is {e.escape_share:.1%} of the bits"
        )


def _family(model: ModelReport) -> Iterator[str]:
    """Yield how a model that is no GPT-2 was measured."""
    if not model.costs_counted:
        return
    name = visible(model.name)
    unknown = "; what it can't see is -" if model.flops_per_token is None else ""
    yield (
        f"{name}: a {visible(model.model_type)}, computed by transformers; its FLOPs (matrix "
        "products of one token that sees a full context, a multiply-add is 2) and its KV cache "
        f"are counted by torch on the model's shapes{unknown}"
    )
    if model.start_token is not None:
        yield (
            f"{name}: {visible(model.start_token)} stands before every window, as its tokenizer "
            "puts it, and is not scored"
        )


def _searched(model: ModelReport) -> Iterator[str]:
    """Yield how much of a large training text was searched."""
    for c in [quality.contamination for quality in model.quality][:1]:
        if c is not None and c.n_searched_characters < c.n_training_characters:
            yield (
                f"{visible(model.name)}: copies were searched in the last "
                f"{c.n_searched_characters:,} of {c.n_training_characters:,} characters of its "
                "training text"
            )
