"""Bits per byte of a text: the figure that compares any two models (docs/measuring.md).

Total bits / bytes of the original text, every target scored once, with a stated context, stride
and unscored prefix; unknown characters are refused or paid for. Sums are float64.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np

from tinygpt.evaluation.result import Evaluation
from tinygpt.evaluation.token_losses import TextScores, score_text
from tinygpt.evaluation.token_nll import Scorer, TokenScores
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = ["evaluate", "summary"]


def evaluate(
    model: GPT | Scorer,
    tokenizer: Tokenizer,
    text: str,
    *,
    prefix: str = "",
    context: int | None = None,
    stride: int | None = None,
    escape: float | None = None,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Score a text in bits per byte, every target once, through a sliding window.

    Arguments and errors as `score_text`; a stride of None is half the context.
    """
    (scores,) = score_text(
        model,
        tokenizer,
        text,
        prefix=prefix,
        context=context,
        strides=(stride,),
        escape=escape,
        batch_size=batch_size,
        progress=progress,
    )
    return summary(scores)


def summary(scores: TextScores) -> Evaluation:
    """Return the sums of a text's scores: bits per byte and what they hold for."""
    goal, n, n_bytes = scores.targets, len(scores.targets.ids), len(scores.text.encode())
    model_nats = math.fsum(scores.tokens.nats.tolist())
    unknown_nats = math.fsum(goal.unknown_nats)
    total = model_nats + unknown_nats + goal.known_nats * n
    loss = model_nats / max(1, n)
    return Evaluation(
        bits_per_byte=total / math.log(2) / n_bytes,
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),
        total_nats=total,
        n_bytes=n_bytes,
        n_characters=len(scores.text),
        n_tokens=n,
        n_unknown=len(goal.unknown_nats),
        unknown_nats=unknown_nats,
        escape_share=(total - model_nats) / total if total else 0.0,
        context=scores.context,
        stride=scores.stride,
        prefix_bytes=scores.prefix_bytes,
        start=goal.start,
        sha256=hashlib.sha256(scores.text.encode()).hexdigest(),
        loss_by_position=_by_position(scores.tokens, scores.context),
        engine=scores.engine,
    )


def _by_position(tokens: TokenScores, context: int) -> tuple[float | None, ...]:
    """Mean nats in eight equal ranges of the number of tokens that each target could see."""
    seen = tokens.context > 0
    ranges = (tokens.context[seen] - 1) * 8 // context
    sums = np.bincount(ranges, tokens.nats[seen], minlength=8)
    counts = np.bincount(ranges, minlength=8)
    return tuple(float(s / n) if n else None for s, n in zip(sums, counts, strict=True))
