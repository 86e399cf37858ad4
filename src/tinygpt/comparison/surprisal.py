"""What each token of a text costs one model, and which tokens it held for likelier there.

The figures are those that `evaluate` adds up, seen on the way: nothing is computed twice, and
nothing is averaged.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from tinygpt.evaluation.bits_per_byte import Targets, evaluate, targets
from tinygpt.evaluation.eval_texts import Text, escape_probability
from tinygpt.evaluation.result import Evaluation
from tinygpt.inference.language_model import LanguageModel
from tinygpt.tokenizers.char_byte import CharTokenizer

__all__ = ["Alternative", "Token", "View", "view"]

N_ALTERNATIVES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A token that might have stood here."""

    token: str
    """Its text; bytes that are no whole character as backslash escapes."""
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of the text, and what it cost."""

    token: str
    """Its text; bytes that are no whole character as backslash escapes."""
    begin: int
    """Its first byte in the scored text."""
    end: int
    """The byte after its last one."""
    bits: float
    """What it cost, the share of an escape code included."""
    rank: int | None
    """1 if the model held no token for likelier; None where it gave no probabilities."""
    alternatives: tuple[Alternative, ...]
    """The five likeliest tokens here, best first; none where rank is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The text as one model sees it."""

    name: str
    path: str | None
    commit: str | None
    tokenization: str
    """"char", "byte" or "bpe"."""
    evaluation: Evaluation
    tokens: tuple[Token, ...]
    """In order, each byte of the text in exactly one; a character that the model lacks is one."""

    @property
    def bits(self) -> float:
        """What the whole text cost."""
        return math.fsum(token.bits for token in self.tokens)


def view(
    lm: LanguageModel,
    text: Text,
    context: int | None,
    stride: int | None,
    escape_unknown: bool,
    progress: Callable[[float], None],
) -> View:
    """Score a text under a model, token by token; arguments and errors as `lens.look`.

    `progress` is told the share that is done.
    """
    pays = escape_unknown and isinstance(lm.tokenizer, CharTokenizer)
    escape = escape_probability(lm.path) if pays else None
    goal = targets(lm.tokenizer, text.text, text.prefix, context or lm.config.n_positions, escape)
    seen = _Seen(goal)
    evaluation = evaluate(
        lm.scorer,
        lm.tokenizer,
        text.text,
        prefix=text.prefix,
        context=context,
        stride=stride,
        escape=escape,
        progress=progress,
        watch=seen.watch,
    )
    return View(
        name=lm.name,
        path=None if lm.path is None else str(lm.path),
        commit=lm.commit,
        tokenization=lm.tokenizer.kind,
        evaluation=evaluation,
        tokens=tuple(_tokens(lm, text.text, goal, seen)),
    )


class _Seen:
    """Nats, rank and likeliest ids of each target, gathered while `evaluate` goes over them."""

    def __init__(self, goal: Targets) -> None:
        self._ids = torch.from_numpy(goal.ids).long()
        self._next = 0 if len(goal.prefix_ids) else 1  # without a prefix the first is not asked for
        self.nats: list[float] = []
        self.ranks: list[int] = []
        self.best: list[list[tuple[int, float]]] = []

    def watch(self, logits: torch.Tensor, nats: torch.Tensor) -> None:
        """Take note of some targets: logits (n, V), nats (n,)."""
        n, v = logits.shape
        ids = self._ids[self._next : self._next + n].to(logits.device)
        self._next += n
        best, indices = logits.topk(min(N_ALTERNATIVES, v))  # (n, 5)
        own = logits.gather(1, ids[:, None])  # (n, 1)
        likelier = logits > own
        # The target's nats say what all exponentials sum to: no second pass over the vocabulary.
        probabilities = (best.double() - own.double() - nats[:, None].double()).exp()
        self.nats += nats.tolist()
        self.ranks += (likelier.sum(1) + 1).tolist()
        pairs = zip(indices.tolist(), probabilities.tolist(), strict=True)
        self.best += [list(zip(*pair, strict=True)) for pair in pairs]


def _tokens(lm: LanguageModel, text: str, goal: Targets, seen: _Seen) -> Iterator[Token]:
    """Yield the tokens of a text with what they cost; unknown characters are tokens too."""
    names, begin = lm.tokenizer.token_bytes, 0
    known = iter(_known(lm, goal, seen))
    unknown = iter(goal.unknown_nats)
    order = [True] * len(goal.ids) if goal.known is None else goal.known.tolist()
    for i, is_known in enumerate(order):
        if is_known:
            token_id, nats, rank, best = next(known)
            spelled = names[token_id]
        else:
            nats, rank, best, spelled = next(unknown), None, [], text[i].encode()
        yield Token(
            token=_spell(spelled),
            begin=begin,
            end=begin + len(spelled),
            bits=nats / math.log(2),
            rank=rank,
            alternatives=tuple(
                Alternative(
                    token=_spell(names[j]) if j < len(names) else f"(id {j}, no token)",
                    probability=probability,
                )
                for j, probability in best
            ),
        )
        begin += len(spelled)


def _known(
    lm: LanguageModel, goal: Targets, seen: _Seen
) -> Iterator[tuple[int, float, int | None, list[tuple[int, float]]]]:
    """Yield id, nats, rank and likeliest ids of each target."""
    ids = goal.ids.tolist()
    if ids and not len(goal.prefix_ids):  # nothing can stand before: uniform, as in `evaluate`
        yield ids.pop(0), math.log(lm.config.vocab_size) + goal.known_nats, None, []
    for i, nats, rank, best in zip(ids, seen.nats, seen.ranks, seen.best, strict=True):
        yield i, nats + goal.known_nats, rank, best


def _spell(token: bytes) -> str:
    return token.decode("utf-8", "backslashreplace")
