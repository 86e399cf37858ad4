"""What each token of a text costs a model: `score_text`, of which every figure is a summary.

`TextScores` holds every token in the order of the text, a character that a character model lacks
among them. `evaluate` sums it up, intervals cut it into blocks, `by_context` sorts it by the bytes
of context, the lens shows it token by token. The text is encoded once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygpt.errors import ConfigError, DataError
from tinygpt.evaluation.bootstrap import Blocks, cut_into_blocks
from tinygpt.evaluation.result import ContextBin
from tinygpt.evaluation.token_nll import (
    Counts,
    Ids,
    Nats,
    Scorer,
    TokenScores,
    engine_of,
    score_tokens,
)
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer

__all__ = ["Targets", "TextScores", "by_context", "score_text", "targets"]

FIRST_BIN_BYTES = 32
"""Of context: the first bin of `by_context` ends there, each later one at twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """A text as the ids that a model has to predict, and what the escape code adds."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextScores:
    """What each of a text's n tokens costs a model; a character that the model lacks is one too."""

    text: str
    targets: Targets
    tokens: TokenScores
    """Of `targets.ids`: what the model itself says, without the escape code."""
    context: int
    """Longest context in tokens."""
    stride: int
    """Tokens by which the window moved on."""
    engine: str
    """What gave the logits, and in which precision."""
    places: Counts
    """(len(targets.ids),) index of each id among the text's n tokens."""
    nats: Nats
    """(n,) the escape code included; they sum to the evaluation's total_nats."""
    n_bytes: Counts
    """(n,) UTF-8 bytes of each; they sum to the text's."""
    context_bytes: Counts
    """(n,) bytes of text that the model saw before it; -1 where an escape code was paid."""
    prefix_bytes: int
    """Bytes of unscored text that the model saw before the first one."""

    @property
    def bytes_per_token(self) -> float:
        """Mean bytes of the tokens that the model read; 1 if it knows no character of the text."""
        read = self.n_bytes[self.context_bytes >= 0]
        return float(read.mean()) if len(read) else 1.0

    def blocks(self, block_bytes: int) -> Blocks:
        """Return sums over blocks of equal bytes, for a paired interval."""
        return cut_into_blocks(self.nats, self.n_bytes.astype(np.float64), block_bytes)


def score_text(
    model: GPT | Scorer,
    tokenizer: Tokenizer,
    text: str,
    *,
    prefix: str = "",
    context: int | None = None,
    strides: Sequence[int | None] = (None,),
    escape: float | None = None,
    n_best: int = 0,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
) -> tuple[TextScores, ...]:
    """Return what each token of a text costs, once for each stride.

    Args:
        model: a GPT, or another engine's session in its place.
        prefix: unscored text right before it, shown as context (as much as fits).
        context: longest context in tokens; None takes n_positions.
        strides: tokens the window moves on; None is half the context.
        escape: probability of the escape code for characters outside a character model: an unknown
            one costs -ln(escape) + 8 ln 2 per UTF-8 byte, a known one -ln(1 - escape) more than the
            model says, and the model does not see the unknown ones. None refuses them.
        n_best: likeliest ids to keep with each token.
        progress: called with the share done, 0 to 1.

    Raises:
        TokenizerError: an unknown character, and `escape` is None.
        DataError: an empty text.
        ConfigError: an impossible context or stride.
    """
    context, steps = _window(model.config.n_positions, context, strides)
    if not text:
        raise DataError("the text to score is empty")
    goal = targets(tokenizer, text, prefix, context, escape)
    scored = score_tokens(
        model,
        goal.prefix_ids,
        goal.ids,
        context,
        steps,
        n_best=min(n_best, model.config.vocab_size),
        batch_size=batch_size,
        progress=progress,
    )
    lengths = _lengths(tokenizer)
    return tuple(
        _in_text(text, goal, tokens, lengths, context, stride, engine_of(model))
        for tokens, stride in zip(scored, steps, strict=True)
    )


def by_context(scores: TextScores) -> tuple[ContextBin, ...]:
    """Return what a byte costs by the bytes of context before it.

    The bins end at 32 bytes and then at each doubling; one without a token is left out.
    """
    read = scores.context_bytes >= 0
    nats, sizes, seen = scores.nats[read], scores.n_bytes[read], scores.context_bytes[read]
    index = np.ceil(np.log2(np.maximum(seen, 1) / FIRST_BIN_BYTES)).clip(0).astype(int)
    return tuple(
        ContextBin(
            begin_bytes=FIRST_BIN_BYTES * 2 ** (i - 1) + 1 if i else 0,
            end_bytes=FIRST_BIN_BYTES * 2**i,
            bits_per_byte=float(nats[index == i].sum() / math.log(2) / sizes[index == i].sum()),
            n_bytes=int(sizes[index == i].sum()),
        )
        for i in sorted(set(index.tolist()))
    )


def targets(
    tokenizer: Tokenizer, text: str, prefix: str, context: int, escape: float | None
) -> Targets:
    """Cut a text into targets; arguments and errors as `score_text`."""
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


def _window(
    n_positions: int, context: int | None, strides: Sequence[int | None]
) -> tuple[int, list[int]]:
    """Return context and strides in tokens, checked."""
    context = n_positions if context is None else context
    if not 1 <= context <= n_positions:
        raise ConfigError(f"context={context} is not allowed: 1 to {n_positions}")
    steps = [max(1, context // 2) if stride is None else stride for stride in strides]
    for stride in steps:
        if not 1 <= stride <= context:
            raise ConfigError(f"stride={stride} is not allowed: 1 to the context ({context})")
    return context, steps


def _in_text(
    text: str,
    goal: Targets,
    tokens: TokenScores,
    lengths: Counts,
    context: int,
    stride: int,
    engine: str,
) -> TextScores:
    """Put the scored ids and the characters that cost an escape code in the order of the text.

    Args:
        lengths: (V,) bytes of each token of the vocabulary.
    """
    sizes, before = lengths[goal.ids], lengths[goal.prefix_ids] * (not goal.start)
    ends = np.concatenate([[0], before, sizes]).cumsum()  # bytes before each token
    at = len(before) + np.arange(len(sizes))
    seen = ends[at] - ends[at - tokens.context]
    mask = np.ones(len(sizes), bool) if goal.known is None else goal.known
    known, unknown = np.flatnonzero(mask), np.flatnonzero(~mask)
    nats, n_bytes = np.empty(len(mask)), np.empty(len(mask), np.int64)
    context_bytes = np.full(len(mask), -1)
    nats[known], n_bytes[known], context_bytes[known] = tokens.nats + goal.known_nats, sizes, seen
    nats[unknown] = goal.unknown_nats
    n_bytes[unknown] = [len(text[i].encode()) for i in unknown]
    return TextScores(
        text=text,
        targets=goal,
        tokens=tokens,
        context=context,
        stride=stride,
        engine=engine,
        places=known,
        nats=nats,
        n_bytes=n_bytes,
        context_bytes=context_bytes,
        prefix_bytes=int(before.sum()),
    )


def _only(text: str, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    return "".join(c for c, wanted in zip(text, mask.tolist(), strict=True) if wanted)


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


def _lengths(tokenizer: Tokenizer) -> Counts:
    return np.array([len(b) for b in tokenizer.token_bytes], dtype=np.int64)
