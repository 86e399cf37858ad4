"""What each token of a text costs a model, with its bytes and the bytes of context before it.

The figures are those that `evaluate` adds up, seen on the way: whatever is made of them (blocks of
a paired interval, loss by position) has the same total.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tinygpt.evaluation.bits_per_byte import Targets, evaluate, targets
from tinygpt.evaluation.bootstrap import Blocks, cut_into_blocks
from tinygpt.evaluation.result import Evaluation
from tinygpt.evaluation.token_nll import Nats, Scorer, sliding_windows
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = ["ContextBin", "Costs", "by_context", "measure_costs"]

FIRST_BIN_BYTES = 32
"""Of context: the first bin of `by_context` ends there, each later one at twice as many."""

_Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Costs:
    """Every token of a text in order; a character that the model lacks is one too."""

    nats: Nats
    """(n,) float64, the escape code included; they sum to the evaluation's total_nats."""
    n_bytes: _Counts
    """(n,) UTF-8 bytes of each; they sum to the text's."""
    context_bytes: _Counts
    """(n,) bytes of text that the model saw before it; -1 where an escape code was paid."""
    side_by_side: "Costs | None" = None
    """The same where windows stand side by side; None unless asked for."""

    @property
    def bytes_per_token(self) -> float:
        """Of the tokens that the model read; 1 if it knows no character of the text."""
        read = self.n_bytes[self.context_bytes >= 0]
        return float(read.mean()) if len(read) else 1.0

    def blocks(self, block_bytes: int) -> Blocks:
        """Sum them into blocks of equal bytes, for a paired interval."""
        return cut_into_blocks(self.nats, self.n_bytes.astype(np.float64), block_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextBin:
    """What a byte cost after so much context."""

    begin_bytes: int
    end_bytes: int
    """Bytes of context: from begin to end, both included."""
    bits_per_byte: float
    n_bytes: int
    """Bytes of text that the figure rests on."""


def measure_costs(
    model: GPT | Scorer,
    tokenizer: Tokenizer,
    text: str,
    *,
    prefix: str = "",
    context: int | None = None,
    stride: int | None = None,
    escape: float | None = None,
    side_by_side: bool = False,
    progress: Callable[[float], None] | None = None,
) -> tuple[Evaluation, Costs]:
    """Score a text as `evaluate` does (arguments, errors), and keep what each token cost.

    Args:
        side_by_side: also what each costs where windows of this context stand side by side, so
            that every length of context comes up equally often.
    """
    seen: list[Nats] = []
    beside: list[Nats] | None = [] if side_by_side else None

    def watch(_: torch.Tensor, nats: torch.Tensor) -> None:
        seen.append(nats.cpu().numpy())

    evaluation = evaluate(
        model,
        tokenizer,
        text,
        prefix=prefix,
        context=context,
        stride=stride,
        escape=escape,
        progress=progress,
        watch=watch,
        side_by_side=beside,
    )
    goal = targets(tokenizer, text, prefix, evaluation.context, escape)
    lengths = np.array([len(b) for b in tokenizer.token_bytes], np.int64)
    first = math.log(model.config.vocab_size)
    costs = _costs(text, goal, first, seen, lengths, evaluation.context, evaluation.stride)
    if beside is not None:
        other = _costs(text, goal, first, beside, lengths, evaluation.context, evaluation.context)
        costs = replace(costs, side_by_side=other)
    return evaluation, costs


def by_context(costs: Costs) -> tuple[ContextBin, ...]:
    """Return what a byte costs by the bytes of context before it.

    The bins end at 32 bytes and then at each doubling; one without a token is left out.
    """
    read = costs.context_bytes >= 0
    nats, sizes, seen = costs.nats[read], costs.n_bytes[read], costs.context_bytes[read]
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


def _costs(
    text: str,
    goal: Targets,
    uniform_nats: float,
    seen: list[Nats],
    lengths: _Counts,
    context: int,
    stride: int,
) -> Costs:
    """Put together what was seen of the targets; the first one is uniform where nothing precedes.

    Args:
        lengths: (V,) bytes of each token of the vocabulary.
    """
    first = [uniform_nats] if not len(goal.prefix_ids) else []
    nats = np.concatenate([first[: len(goal.ids)], *seen]) + goal.known_nats
    before = lengths[goal.prefix_ids] if not goal.start else np.zeros(len(goal.prefix_ids), int)
    sizes = lengths[goal.ids]
    both = np.concatenate([before, sizes])
    return _with_unknown(
        text, goal, nats, sizes, _context_bytes(both, len(before), context, stride)
    )


def _context_bytes(sizes: _Counts, n_before: int, context: int, stride: int) -> _Counts:
    """Return the bytes between the begin of each target's window and the target.

    Args:
        sizes: of the tokens before the text, then of the text's own.
        n_before: how many stand before.
        context, stride: of the windows, in tokens.
    """
    ends = np.concatenate([[0], sizes.cumsum()])
    first = max(1, n_before)
    found = [np.zeros(first - n_before, np.int64)]  # nothing stands before the first one
    for begin, end, start in sliding_windows(len(sizes), first, context, stride):
        found.append(ends[start : end + 1] - ends[begin])
    return np.concatenate(found)[: len(sizes) - n_before]


def _with_unknown(
    text: str, goal: Targets, nats: Nats, sizes: _Counts, context_bytes: _Counts
) -> Costs:
    """Put the characters that were paid for by the escape code where they stand in the text."""
    if goal.known is None or goal.known.all():
        return Costs(nats=nats, n_bytes=sizes, context_bytes=context_bytes)
    every = [np.empty(len(text)), np.empty(len(text), np.int64), np.full(len(text), -1)]
    for whole, part in zip(every, (nats, sizes, context_bytes), strict=True):
        whole[goal.known] = part
    unknown = np.flatnonzero(~goal.known)
    every[0][unknown] = goal.unknown_nats
    every[1][unknown] = [len(text[i].encode()) for i in unknown]
    return Costs(nats=every[0], n_bytes=every[1], context_bytes=every[2])
