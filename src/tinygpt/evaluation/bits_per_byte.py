"""Bits per byte of a text: the figure that compares any two models (docs/measuring.md).

Total bits / bytes of the original text, every target scored once, with a stated context, stride
and unscored prefix; unknown characters are refused or paid for. Sums are float64.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygpt.errors import ConfigError, DataError
from tinygpt.evaluation.result import Evaluation
from tinygpt.evaluation.token_nll import (
    Ids,
    Nats,
    Scorer,
    Watch,
    engine_of,
    sliding_windows,
    token_nats,
)
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer

__all__ = ["Targets", "evaluate", "targets"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """A text as the ids that a model has to predict, and what is paid beside their nats."""

    prefix_ids: Ids
    """What the model sees before them; empty where nothing can stand there."""
    ids: Ids
    start: str
    """What stands before the first one where there is no prefix; empty otherwise."""
    known: np.ndarray[Any, np.dtype[np.bool_]] | None
    """Which characters are among the ids; None: all of them, at no extra cost."""
    known_nats: float
    """What each of these ids costs more, because an unknown character might have stood there."""
    unknown_nats: tuple[float, ...]
    """What each unknown character costs, in order."""


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
    watch: Watch | None = None,
    side_by_side: list[Nats] | None = None,
) -> Evaluation:
    """Score a text in bits per byte, every target once, through a sliding window.

    Args:
        model: a GPT, or another engine's session in its place.
        prefix: unscored text right before it, shown as context (as much as fits).
        context: longest context in tokens; None takes n_positions.
        stride: tokens the window moves on; None takes half the context.
        escape: probability of the escape code for characters outside a character model: an unknown
            one costs -ln(escape) + 8 ln 2 per UTF-8 byte, a known one -ln(1 - escape) more than the
            model says, and the model does not see the unknown ones. None refuses them.
        progress: called with the share done, 0 to 1.
        watch: shown logits and nats of the `targets` in order; not of a first one without prefix.
        side_by_side: filled as by `token_nats`.

    Raises:
        TokenizerError: an unknown character, and `escape` is None.
        DataError: an empty text.
        ConfigError: an impossible context or stride.
    """
    context, stride = _window(model, context, stride)
    if not text:
        raise DataError("the text to score is empty")
    goal = targets(tokenizer, text, prefix, context, escape)
    prefix_ids, ids, start = goal.prefix_ids, goal.ids, goal.start
    nats = token_nats(
        model,
        prefix_ids,
        ids,
        context,
        stride,
        batch_size=batch_size,
        progress=progress,
        watch=watch,
        side_by_side=side_by_side,
    )
    by_position = _by_position(nats, len(prefix_ids), context, stride)
    if not len(prefix_ids) and len(ids):  # nothing can stand before: the first token is uniform
        nats = np.concatenate([[math.log(model.config.vocab_size)], nats])
    model_nats = math.fsum(nats.tolist())
    unknown_nats = math.fsum(goal.unknown_nats)
    total = model_nats + unknown_nats + goal.known_nats * len(ids)
    loss = model_nats / max(1, len(ids))
    n_bytes = len(text.encode())
    return Evaluation(
        bits_per_byte=total / math.log(2) / n_bytes,
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),
        total_nats=total,
        n_bytes=n_bytes,
        n_characters=len(text),
        n_tokens=len(ids),
        n_unknown=len(goal.unknown_nats),
        unknown_nats=unknown_nats,
        escape_share=(total - model_nats) / total if total else 0.0,
        context=context,
        stride=stride,
        prefix_bytes=_byte_length(tokenizer, prefix_ids) if not start else 0,
        start=start,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        loss_by_position=by_position,
        engine=engine_of(model),
    )


def targets(
    tokenizer: Tokenizer, text: str, prefix: str, context: int, escape: float | None
) -> Targets:
    """Cut a text into targets; arguments and errors as `evaluate`."""
    known, known_nats, unknown_nats = None, 0.0, []
    if isinstance(tokenizer, CharTokenizer) and escape is not None:
        prefix = _only(prefix, tokenizer.known_mask(prefix))
        known = tokenizer.known_mask(text)
        known_nats = -math.log1p(-escape)
        unknown_nats = [
            -math.log(escape) + 8 * math.log(2) * len(c.encode()) for c in _only(text, ~known)
        ]
    scored = text if known is None else _only(text, known)
    prefix_ids, ids = _encode(tokenizer, prefix, scored)
    start = ""
    if not len(prefix_ids):
        prefix_ids, start = _start(tokenizer)
    return Targets(
        prefix_ids=prefix_ids[-max(1, context - 1) :],
        ids=ids,
        start=start,
        known=known,
        known_nats=known_nats,
        unknown_nats=tuple(unknown_nats),
    )


def _only(text: str, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    return "".join(c for c, wanted in zip(text, mask.tolist(), strict=True) if wanted)


def _window(model: GPT | Scorer, context: int | None, stride: int | None) -> tuple[int, int]:
    """Return context and stride, checked; all of the context and half of it unless given."""
    context = model.config.n_positions if context is None else context
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= context <= model.config.n_positions:
        raise ConfigError(f"context={context} is not allowed: 1 to {model.config.n_positions}")
    if not 1 <= stride <= context:
        raise ConfigError(f"stride={stride} is not allowed: 1 to the context ({context})")
    return context, stride


def _encode(tokenizer: Tokenizer, prefix: str, text: str) -> tuple[Ids, Ids]:
    """Encode both as one text where a token starts at the border, else each for itself."""
    joint = tokenizer.encode(prefix + text)
    lengths = _lengths(tokenizer)[joint].cumsum()
    border = len(prefix.encode())
    at = int(np.searchsorted(lengths, border)) + 1 if border else 0
    if border and (at > len(lengths) or lengths[at - 1] != border):
        return tokenizer.encode(prefix), tokenizer.encode(text)
    return joint[:at], joint[at:]


def _start(tokenizer: Tokenizer) -> tuple[Ids, str]:
    """Return what stands before a text that has no prefix, and its name for the report."""
    if tokenizer.eot_id is not None:
        return np.array([tokenizer.eot_id], np.int32), "<|endoftext|>"
    if not isinstance(tokenizer, CharTokenizer) or not tokenizer.unknown("\n"):
        return tokenizer.encode("\n"), "a newline"
    return np.empty(0, np.int32), "nothing: the first token costs ln(vocab_size)"


def _by_position(nats: Nats, n_prefix: int, context: int, stride: int) -> tuple[float | None, ...]:
    """Mean nats in eight equal ranges of the number of tokens that each target could see."""
    first = max(1, n_prefix)
    seen = [
        np.arange(start, end + 1) - begin
        for begin, end, start in sliding_windows(first + len(nats), first, context, stride)
    ]
    ranges = (np.concatenate(seen) - 1) * 8 // context if seen else np.empty(0, np.int64)
    sums, counts = np.bincount(ranges, nats, minlength=8), np.bincount(ranges, minlength=8)
    return tuple(float(s / n) if n else None for s, n in zip(sums, counts, strict=True))


def _byte_length(tokenizer: Tokenizer, ids: Ids) -> int:
    return int(_lengths(tokenizer)[ids].sum())


def _lengths(tokenizer: Tokenizer) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([len(b) for b in tokenizer.token_bytes], dtype=np.int64)
