"""How well several models predict one text, on the same bytes, and what the differences are worth.

Each model is scored with its own full context, and once more with as many bytes of context as the
smallest of them holds. What one model pays more than another comes with an interval.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinygpt.comparison.result import ScoredText
from tinygpt.errors import DataError
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.bits_per_byte import summary
from tinygpt.evaluation.bootstrap import BLOCK_BYTES, Difference, paired_differences
from tinygpt.evaluation.eval_texts import Text
from tinygpt.evaluation.result import ContextBin, Evaluation
from tinygpt.evaluation.token_losses import TextScores, by_context, score_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.progress import Progress

__all__ = ["Scores", "Scoring", "score_all", "scored_text"]

ROOM = 16
"""Blocks are as long as the longest context only where the text holds at least so many of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One model on one text."""

    native: Evaluation
    """With the model's own full context."""
    matched: Evaluation
    """With `Scoring.matched_context_bytes` of context."""
    by_context: tuple[ContextBin, ...]
    """What a byte costs by the bytes of context before it; none unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Several models on one text."""

    scores: dict[str, Scores]
    """By the model's name."""
    matched_context_bytes: float | None
    """Bytes of text that the smallest context of them holds on average; None without a model."""
    block_bytes: int
    """Of a block of the intervals."""
    differences: tuple[Difference, ...]
    """Every two models, each with its own full context; none where there is no interval."""
    matched_differences: tuple[Difference, ...]
    """The same with the same bytes of context."""
    no_interval: str | None
    """Why there are no differences; None where there are."""


def score_all(
    models: Sequence[LanguageModel],
    text: Text,
    *,
    escape_unknown: bool,
    with_context: bool = False,
    say: Progress,
) -> Scoring:
    """Score a text by every model.

    Args:
        models: with weights, and with names that differ.
        text: the same bytes for all of them.
        escape_unknown: pay for characters that a character model lacks instead of refusing them.
        with_context: also say what a byte costs by the bytes of context before it. Windows stand
            side by side there, so that every length of context comes up equally often; the same
            pass finds it.
        say: told the progress.

    Raises:
        TokenizerError: an unknown character that is not paid for.
    """
    n = max(1, len(models))
    own: dict[str, TextScores] = {}
    bins: dict[str, tuple[ContextBin, ...]] = {}
    for i, m in enumerate(models):
        strides = (None, m.config.n_positions) if with_context else (None,)
        share = say.part(0.5 * i / n, 0.5 / n)
        own[m.name], *beside = _score(m, text, None, strides, escape_unknown, share)
        bins[m.name] = by_context(beside[0]) if beside else ()
    reach = {name: scores.context * scores.bytes_per_token for name, scores in own.items()}
    matched = dict(own)
    for i, m in enumerate(models):
        context = max(1, round(min(reach.values()) / own[m.name].bytes_per_token))
        if context < own[m.name].context:
            share = say.part(0.5 + 0.5 * i / n, 0.5 / n)
            (matched[m.name],) = _score(m, text, context, (None,), escape_unknown, share)
    n_bytes = len(text.text.encode())
    longest = math.ceil(max(reach.values(), default=0.0))
    block_bytes = max(BLOCK_BYTES, min(longest, n_bytes // ROOM))
    differences, why = _differences(own, block_bytes)
    return Scoring(
        scores={
            name: Scores(
                native=summary(scores), matched=summary(matched[name]), by_context=bins[name]
            )
            for name, scores in own.items()
        },
        matched_context_bytes=min(reach.values(), default=None),
        block_bytes=block_bytes,
        differences=differences,
        matched_differences=_differences(matched, block_bytes)[0],
        no_interval=why,
    )


def _score(
    lm: LanguageModel,
    text: Text,
    context: int | None,
    strides: Sequence[int | None],
    escape_unknown: bool,
    say: Progress,
) -> tuple[TextScores, ...]:
    return score_text(
        lm.scorer,
        lm.tokenizer,
        text.text,
        prefix=text.prefix,
        context=context,
        strides=strides,
        escape=lm.escape if escape_unknown else None,
        progress=say.named(f"{lm.name} on {text.name}"),
    )


def _differences(
    scored: Mapping[str, TextScores], block_bytes: int
) -> tuple[tuple[Difference, ...], str | None]:
    """Return the paired differences, or none and the reason."""
    if len(scored) < 2:
        return (), "only one model has a figure"
    blocks = {name: scores.blocks(block_bytes) for name, scores in scored.items()}
    try:
        return paired_differences(blocks), None
    except DataError as error:
        return (), str(error)


def scored_text(
    text: Text, common_border: bool, scoring: Scoring, yardsticks: tuple[Yardstick, ...]
) -> ScoredText:
    """Build the ScoredText of a text from its scoring and yardsticks."""
    return ScoredText(
        name=text.name,
        source=text.described,
        n_bytes=len(text.text.encode()),
        n_characters=len(text.text),
        sha256=hashlib.sha256(text.text.encode()).hexdigest(),
        prefix_bytes=len(text.prefix.encode()),
        common_border=common_border,
        public=text.public,
        matched_context_bytes=scoring.matched_context_bytes,
        block_bytes=scoring.block_bytes,
        differences=scoring.differences,
        matched_differences=scoring.matched_differences,
        no_interval=scoring.no_interval,
        yardsticks=yardsticks,
    )
