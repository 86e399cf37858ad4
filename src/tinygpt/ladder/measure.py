"""One rung measured: opened or made, its sizes, its speeds, and where it can be had its quality."""

import statistics
from typing import Any, NamedTuple

import torch

from tinygpt.config.engine_options import EngineOptions
from tinygpt.data.batches import prepare
from tinygpt.data.fit_tokenizer import make_tokenizer
from tinygpt.errors import ConfigError, ContextError, DataError, TinyGPTError, TokenizerError
from tinygpt.evaluation.eval_texts import known_to_all
from tinygpt.evaluation.result import Evaluation
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import Architecture, untrained
from tinygpt.ladder.context import LadderContext, Stopped
from tinygpt.ladder.cost import cost, decode_speed, free_memory, pace, training_flops
from tinygpt.ladder.results import (
    Cost,
    DecodeSpeed,
    Pace,
    RungQuality,
    RungResult,
    RungRun,
)
from tinygpt.ladder.rung import Rung
from tinygpt.ladder.train import folder_of, score, train_rung
from tinygpt.progress import Tell
from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = ["measure_rung"]

_REFUSED = (ConfigError, ContextError, DataError, TokenizerError)
"""What makes a rung impossible on this corpus; what the machine refuses ends the ladder."""

_UNTRAINED = "its weights are random as long as it is not trained"


def measure_rung(
    rung: Rung,
    number: int,
    changes: dict[str, list[Any]],
    first_bytes: int | None,
    context: LadderContext,
    tell: Tell,
) -> RungResult:
    """Measure one rung.

    Args:
        number: its place, from 1.
        changes: what it changes of the rung before.
        first_bytes: of text that the first trained rung was trained on, for the estimate.
        context: what all rungs are measured with.
        tell: told what is being done.

    Raises:
        Stopped: `context.stop` said so; a run in hand is saved.
        MachineError: the disk refused.
    """
    began_s = context.clock()
    tell("opening", 0.0)
    lm, tokenizer, missing = _opened(rung, context)
    known = "" if tokenizer is None else known_to_all(context.text.text, [tokenizer])
    sizes = cost(rung, tokenizer, known)
    speed: DecodeSpeed | str = missing or ""
    outlook = _Outlook(None, None, 1.0, None)
    runs: tuple[RungRun, ...] = ()
    evaluations: list[Evaluation] = []
    if lm is not None:
        context.check()
        tell("timing", 0.0)
        speed = _decode_speed(lm, context)
        if rung.trained:
            outlook = _outlook(lm, rung, number, sizes, context)
        missing = (lm.missing_weights if rung.start else None) or outlook.refusal
        if missing is None and rung.trained:
            try:
                runs, evaluations = train_rung(
                    lm, rung, number, outlook.steps, outlook.bytes_per_token, context, tell
                )
            except ConfigError as error:
                missing = str(error)
        elif missing is None:
            evaluations = [score(lm, context, tell)]
    return RungResult(
        name=rung.name,
        changes=changes,
        cost=sizes,
        decode=speed if isinstance(speed, DecodeSpeed) else None,
        decode_missing=speed if isinstance(speed, str) else None,
        pace=outlook.pace,
        runs=runs,
        quality=_quality(evaluations) if missing is None else None,
        missing=missing,
        missing_weights=context.opened[rung.start].missing_weights if rung.start else None,
        estimated_train_s=first_bytes / outlook.pace.bytes_per_s
        if missing is not None and outlook.pace is not None and first_bytes is not None
        else None,
        elapsed_s=context.clock() - began_s,
    )


def _opened(
    rung: Rung, context: LadderContext
) -> tuple[LanguageModel | None, Tokenizer | None, str | None]:
    """Return the model before its training, its tokenizer, and why there is none."""
    if rung.start is not None:
        model = context.opened[rung.start]
        if isinstance(model, Architecture):
            return None, model.tokenizer, model.missing_weights
        return model, model.tokenizer, None
    try:
        tokenizer = make_tokenizer(
            rung.tokenizer.tokenizer,
            context.corpus,
            rung.model.vocab_size,
            lambda *_: context.check(),
        )
    except TinyGPTError as error:
        return None, None, str(error)
    options = EngineOptions(engine="torch", device=str(context.device.device))
    lm = untrained(rung.name, rung.model, tokenizer, _UNTRAINED, options)
    return lm, tokenizer, None


def _decode_speed(lm: LanguageModel, context: LadderContext) -> DecodeSpeed | str:
    try:
        return decode_speed(lm, known_to_all(context.timed, [lm.tokenizer]), context.clock)
    except DataError as error:
        return str(error)


class _Outlook(NamedTuple):
    """What a few timed steps say about the training of a rung."""

    pace: Pace | None
    steps: int | None
    """Of a run; None where the minutes decide."""
    bytes_per_token: float
    """Of the training part."""
    refusal: str | None
    """Why the rung can't be trained; None if it can."""


def _outlook(
    lm: LanguageModel, rung: Rung, number: int, sizes: Cost, context: LadderContext
) -> _Outlook:
    needed, free = sizes.training_memory_bytes or 0, free_memory(context.device.device)
    if free is not None and needed > free:
        why = f"training takes {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"
        return _Outlook(None, None, 1.0, why)
    try:
        data = prepare(
            context.corpus, lm.tokenizer, rung.train.block_size, lambda *_: context.check()
        )
        found = pace(lm, rung, data, context.device, clock=context.clock, stop=context.stop)
    except _REFUSED as error:
        return _Outlook(None, None, 1.0, str(error))
    except torch.OutOfMemoryError:
        return _Outlook(None, None, 1.0, "the memory of the device does not hold its training")
    if found is None:
        raise Stopped
    step_bytes = rung.train.tokens_per_step * data.bytes_per_token
    steps = context.allowance.steps(step_bytes, training_flops(rung.model, rung.train))
    begun = any(folder_of(rung, number, seed, context).exists() for seed in range(context.n_seeds))
    refusal = None if begun else context.allowance.refusal(steps, found.step_s)
    return _Outlook(found, steps, data.bytes_per_token, refusal)


def _quality(evaluations: list[Evaluation]) -> RungQuality:
    bits, first = [e.bits_per_byte for e in evaluations], evaluations[0]
    return RungQuality(
        bits_per_byte=statistics.median(bits),
        min_bits_per_byte=min(bits),
        max_bits_per_byte=max(bits),
        n_seeds=len(bits),
        n_bytes=first.n_bytes,
        sha256=first.sha256,
        context=first.context,
        stride=first.stride,
    )
