"""The rules that a comparison applied, in words: what is said here is what was done."""

from collections.abc import Sequence

from tinygpt.comparison.result import ModelReport
from tinygpt.comparison.samples import SAMPLE_CHARACTERS, SAMPLE_TEMPERATURE
from tinygpt.comparison.score_models import Scoring
from tinygpt.evaluation.boundary import REACH_BYTES
from tinygpt.evaluation.overlap import SPAN

__all__ = ["rules"]


def rules(
    models: Sequence[ModelReport], scorings: Sequence[Scoring], escape_unknown: bool
) -> tuple[str, ...]:
    """Return the rules in the order of the report; one that had no occasion is left out."""
    return (
        "every model scores the same bytes (sha256 and count above), each byte once",
        "bits per byte = total bits / UTF-8 bytes of the original text; sums in float64",
        "own context: each model uses its full context; windows move on by half of it",
        *_engines(models),
        *_matched(scorings),
        "the text before the scored bytes is shown to every model and scored for none; the border "
        f"between them is moved on, at most {REACH_BYTES} bytes, to the start of a word, where a "
        "token starts in every tokenizer",
        _unknown(escape_unknown),
        *_intervals(scorings),
        "a BPE model could write a text in other tokens too; only one way is scored, so its figure "
        "is an upper bound",
        "yardsticks score the same bytes behind the same prefix",
        *_searched(models),
        "speed in bytes of text per second, batch 1, models timed in turn, median of the rounds",
        f"samples: the same prompt, seeds and {SAMPLE_CHARACTERS} characters, drawn at temperature "
        f"{SAMPLE_TEMPERATURE}, which is not comparable across vocabularies; quality is measured "
        "at temperature 1",
        "models trained on web text have probably seen public texts before",
    )


def _engines(models: Sequence[ModelReport]) -> list[str]:
    """Say what scored, by model where that differs."""
    engines = {
        model.name: next((q.evaluation.engine for q in model.quality if q.evaluation), None)
        for model in models
    }
    named = {name: engine for name, engine in engines.items() if engine is not None}
    if len(set(named.values())) > 1:
        return ["scored by: " + "; ".join(f"{name}: {engine}" for name, engine in named.items())]
    return [f"scored by {engine}" for engine in sorted(set(named.values()))]


def _matched(scorings: Sequence[Scoring]) -> list[str]:
    if not any(scoring.scores for scoring in scorings):
        return []
    return [
        "same context: once more with as many bytes of context for every model as the smallest "
        "context holds of this text, in whole tokens, on average; windows move on by half of it"
    ]


def _unknown(escape_unknown: bool) -> str:
    if escape_unknown:
        return (
            "a character outside a character model's vocabulary is paid for by an escape code of "
            "probability 1/(training characters + 1) plus 8 bits per UTF-8 byte"
        )
    return "a character outside a character model's vocabulary is refused"


def _intervals(scorings: Sequence[Scoring]) -> list[str]:
    found = [scoring for scoring in scorings if scoring.differences]
    if not found:
        return []
    sizes = sorted({scoring.block_bytes for scoring in found})
    blocks = " or ".join(f"{size:,}" for size in sizes)
    rule = (
        f"a model is called better only if the 95% interval of the difference (paired bootstrap "
        f"over blocks of {blocks} bytes, 10,000 resamples) does not span 0; it says how sure the "
        "difference is on this text, not what another seed of the training would give"
    )
    n_pairs = found[0].differences[0].n_compared
    if n_pairs == 1:
        return [rule]
    return [rule, f"the {n_pairs} pairs of each text are corrected by Holm's method"]


def _searched(models: Sequence[ModelReport]) -> list[str]:
    if not any(q.contamination for model in models for q in model.quality):
        return []
    return [
        f"contamination: every {SPAN} characters in a row of a text are searched in each run's own "
        f"training text; of a sample, what lies in runs of {SPAN} characters or more counts as "
        "copied"
    ]
