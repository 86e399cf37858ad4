"""How well several models predict one text, on the same bytes, and what the differences are worth.

Each model is scored with its own full context, and once more with as many bytes of context as the
smallest of them holds. What one model pays more than another comes with an interval.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tinygpt.comparison.result import ScoredText
from tinygpt.errors import DataError
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.bootstrap import BLOCK_BYTES, Difference, paired_differences
from tinygpt.evaluation.eval_texts import Text, escape_probability
from tinygpt.evaluation.result import Evaluation
from tinygpt.evaluation.token_losses import ContextBin, Costs, by_context, measure_costs
from tinygpt.inference.language_model import LanguageModel
from tinygpt.tokenizers.char_byte import CharTokenizer

__all__ = ["Progress", "Scores", "Scoring", "score_all", "scored_text"]

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the work that is done, 0 to 1."""

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
    by_context: bool = False,
    say: Progress,
) -> Scoring:
    """Score a text by every model.

    Args:
        models: with weights, and with names that differ.
        text: the same bytes for all of them.
        escape_unknown: pay for characters that a character model lacks instead of refusing them.
        by_context: also say what a byte costs by the bytes of context before it. Windows stand side
            by side there, so that every length of context comes up equally often; the same pass
            finds it.
        say: told the progress.

    Raises:
        TokenizerError: an unknown character that is not paid for.
    """
    n = max(1, len(models))
    native = {
        m.name: _measure(
            m,
            text,
            None,
            escape_unknown,
            partial(_part, say, m, text, 0.5 * i / n, 0.5 / n),
            side_by_side=by_context,
        )
        for i, m in enumerate(models)
    }
    reach = {name: e.context * costs.bytes_per_token for name, (e, costs) in native.items()}
    matched = dict(native)
    for i, m in enumerate(models):
        e, costs = native[m.name]
        context = max(1, round(min(reach.values()) / costs.bytes_per_token))
        if context < e.context:
            share = partial(_part, say, m, text, 0.5 + 0.5 * i / n, 0.5 / n)
            matched[m.name] = _measure(m, text, context, escape_unknown, share)
    n_bytes = len(text.text.encode())
    longest = math.ceil(max(reach.values(), default=0.0))
    block_bytes = max(BLOCK_BYTES, min(longest, n_bytes // ROOM))
    differences, why = _differences(native, block_bytes)
    return Scoring(
        scores={
            name: Scores(native=e, matched=matched[name][0], by_context=_bins(costs))
            for name, (e, costs) in native.items()
        },
        matched_context_bytes=min(reach.values(), default=None),
        block_bytes=block_bytes,
        differences=differences,
        matched_differences=_differences(matched, block_bytes)[0],
        no_interval=why,
    )


def _measure(
    lm: LanguageModel,
    text: Text,
    context: int | None,
    escape_unknown: bool,
    progress: Callable[[float], None],
    side_by_side: bool = False,
) -> tuple[Evaluation, Costs]:
    return measure_costs(
        lm.scorer,
        lm.tokenizer,
        text.text,
        prefix=text.prefix,
        context=context,
        escape=_escape(lm) if escape_unknown else None,
        side_by_side=side_by_side,
        progress=progress,
    )


def _bins(costs: Costs) -> tuple[ContextBin, ...]:
    return () if costs.side_by_side is None else by_context(costs.side_by_side)


def _escape(lm: LanguageModel) -> float | None:
    return escape_probability(lm.path) if isinstance(lm.tokenizer, CharTokenizer) else None


def _part(
    say: Progress, lm: LanguageModel, text: Text, begin: float, width: float, share: float
) -> None:
    say(f"{lm.name} on {text.name}", begin + width * share)


def _differences(
    measured: Mapping[str, tuple[Evaluation, Costs]], block_bytes: int
) -> tuple[tuple[Difference, ...], str | None]:
    """Return the paired differences, or none and the reason."""
    if len(measured) < 2:
        return (), "only one model has a figure"
    blocks = {name: costs.blocks(block_bytes) for name, (_, costs) in measured.items()}
    try:
        return paired_differences(blocks), None
    except DataError as error:
        return (), str(error)


def scored_text(
    text: Text, common_border: bool, scoring: Scoring, yardsticks: tuple[Yardstick, ...]
) -> ScoredText:
    """Put together what is known of a text."""
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
