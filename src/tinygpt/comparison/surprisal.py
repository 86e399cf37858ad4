"""NLL of each token of a text under one model, its rank, and the likeliest tokens there.

The figures are those that `evaluate` adds up: nothing is computed twice, and nothing is averaged.
"""

import math
from collections.abc import Callable, Iterator, Sequence

from tinygpt.comparison.lens_result import Alternative, Token, View
from tinygpt.evaluation.bits_per_byte import summary
from tinygpt.evaluation.eval_texts import Text
from tinygpt.evaluation.token_losses import TextScores, score_text
from tinygpt.inference.language_model import LanguageModel

__all__ = ["view"]

N_ALTERNATIVES = 5


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
    (scores,) = score_text(
        lm.scorer,
        lm.tokenizer,
        text.text,
        prefix=text.prefix,
        context=context,
        strides=(stride,),
        escape=lm.escape if escape_unknown else None,
        n_best=N_ALTERNATIVES,
        progress=progress,
    )
    return View(
        name=lm.name,
        path=None if lm.path is None else str(lm.path),
        commit=lm.commit,
        tokenization=lm.tokenizer.kind,
        evaluation=summary(scores),
        tokens=tuple(_tokens(lm.tokenizer.token_bytes, scores)),
    )


def _tokens(names: Sequence[bytes], scores: TextScores) -> Iterator[Token]:
    """Yield the tokens of a text with what they cost; unknown characters are tokens too."""
    begin, found, ids = 0, scores.tokens, scores.targets.ids.tolist()
    which = dict(zip(scores.places.tolist(), range(len(ids)), strict=True))
    for i, nats in enumerate(scores.nats.tolist()):
        k = which.get(i)  # among the ids; None where the model lacks the character
        spelled = scores.text[i].encode() if k is None else names[ids[k]]
        rank = None if k is None else int(found.ranks[k]) or None
        best = (
            []
            if k is None or rank is None
            else zip(found.best_ids[k].tolist(), found.best_probabilities[k].tolist(), strict=True)
        )
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


def _spell(token: bytes) -> str:
    return token.decode("utf-8", "backslashreplace")
