"""Build one ModelReport: everything except speed and scores, which compare() measures jointly.

How its tokenizer cuts the first text, what of the texts and of its samples stands in its training
text, what context is worth to it, and a verdict in words.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tinygpt.comparison.config_diff import config_files, labels_by_file
from tinygpt.comparison.result import ModelReport, Quality, Sample
from tinygpt.comparison.samples import draw_samples
from tinygpt.comparison.score_models import Scoring
from tinygpt.comparison.training_data import TrainingText, contamination, web_trained
from tinygpt.comparison.verdict import verdict
from tinygpt.errors import TinyGPTError
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.eval_texts import Text, known_to_all
from tinygpt.evaluation.result import ContextBin
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import Architecture, load_with
from tinygpt.model.external_config import account_of
from tinygpt.profiling.precision_cost import precision_costs
from tinygpt.profiling.result import PrecisionCost, Speed, Spread
from tinygpt.profiling.speed import time_loads
from tinygpt.progress import Progress
from tinygpt.runs.learning_curve import read_curve
from tinygpt.runs.log import last_losses
from tinygpt.tokenizers.char_byte import Tokenizer
from tinygpt.tokenizers.describe import first_words, token_texts, tokenization

__all__ = ["Setting", "report_on"]

N_LOADS = 3

N_LONGEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all models of a comparison are measured against."""

    texts: Sequence[Text]
    """The first one also gives bytes per token and the prompt of samples."""
    scorings: Sequence[Scoring]
    """Of each text; the first one's say what context is worth."""
    yardsticks: Sequence[Yardstick]
    """Of the first text."""


def report_on(
    model: LanguageModel | Architecture,
    setting: Setting,
    speed: Speed | str,
    training: TrainingText | str | None,
    say: Progress,
) -> ModelReport:
    """Build the ModelReport of one model.

    Args:
        model: opened by `open_model`.
        setting: texts, and how all models did on them.
        speed: measured beforehand, in turn with the other models; or why it could not be.
        training: what it was trained on, or why that is not known.
        say: told the progress.
    """
    config, tokenizer, first = model.config, model.tokenizer, setting.texts[0]
    lm = model if isinstance(model, LanguageModel) else None
    cut = _Cut() if tokenizer is None else _cut(tokenizer, first.text)
    per_byte = cut.bytes_per_token
    files = config_files(lm.path if lm else None, config)
    costs = account_of(config)
    flops = costs.flops_per_token
    known = training if isinstance(training, TrainingText) else None
    say(f"{model.name}: copies of its training text", 0.0)
    quality = tuple(
        _quality(model, text, scoring, known)
        for text, scoring in zip(setting.texts, setting.scorings, strict=True)
    )
    say(f"{model.name}: samples", 0.5)
    samples = draw_samples(lm, model.missing_weights, first, known)
    return ModelReport(
        name=model.name,
        path=str(lm.path) if lm and lm.path else None,
        commit=lm.commit if lm else None,
        missing_weights=model.missing_weights,
        tokenization=tokenization(tokenizer),
        first_tokens=cut.first_tokens,
        sentence_tokens=cut.sentence_tokens,
        longest_tokens=cut.longest_tokens,
        config=config.to_dict(),
        head_dim=config.head_dim,
        config_labels=labels_by_file(files),
        n_params=costs.n_params,
        n_params_by_component=costs.n_params_by_component,
        weights_bytes=costs.weights_bytes,
        kv_cache_bytes=costs.kv_cache_bytes,
        load_s=_load_s(lm),
        flops_per_token=flops,
        flops_per_byte=None if per_byte is None or flops is None else flops / per_byte,
        kv_cache_bytes_per_token=costs.kv_cache_bytes_per_token,
        context_tokens=config.n_positions,
        context_bytes=None if per_byte is None else config.n_positions * per_byte,
        bytes_per_token=per_byte,
        speed=speed if isinstance(speed, Speed) else None,
        speed_missing=speed if isinstance(speed, str) else None,
        quality=quality,
        samples=samples,
        curve=read_curve(lm.path if lm else None),
        loss_by_context=_by_context(model, setting),
        trained_on=known.described if known else None,
        web_trained=web_trained(model.name, lm),
        precisions=_precisions(lm, setting),
        verdict=_verdict(lm, quality[0], setting.yardsticks, samples),
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        blocks=config.blocks,
        start_token=config.start_token,
        costs_counted=costs.counted,
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """How a tokenizer cuts the first text; None where there is no tokenizer."""

    bytes_per_token: float | None = None
    first_tokens: tuple[str, ...] | None = None
    sentence_tokens: tuple[str, ...] | None = None
    longest_tokens: tuple[str, ...] | None = None


def _cut(tokenizer: Tokenizer, text: str) -> _Cut:
    known = known_to_all(text, [tokenizer])
    ids = tokenizer.encode(known).tolist()
    spelled = token_texts(tokenizer, ids)
    words = known_to_all(first_words(text), [tokenizer])
    often = Counter(spelled)  # of equal length the more frequent ones
    longest = sorted(often, key=lambda token: (-len(token), -often[token]))[:N_LONGEST]
    return _Cut(
        len(known.encode()) / max(1, len(ids)),
        spelled[:8],
        token_texts(tokenizer, tokenizer.encode(words)),
        tuple(longest),
    )


def _quality(
    model: LanguageModel | Architecture, text: Text, scoring: Scoring, known: TrainingText | None
) -> Quality:
    scores = scoring.scores.get(model.name)
    return Quality(
        text=text.name,
        evaluation=scores.native if scores else None,
        matched=scores.matched if scores else None,
        missing=model.missing_weights,
        contamination=None if known is None else contamination(text, known),
    )


def _by_context(model: LanguageModel | Architecture, setting: Setting) -> tuple[ContextBin, ...]:
    scores = setting.scorings[0].scores.get(model.name)
    return scores.by_context if scores else ()


def _precisions(lm: LanguageModel | None, setting: Setting) -> tuple[PrecisionCost, ...]:
    if lm is None or lm.missing_weights is not None:
        return ()
    return precision_costs(lm, setting.texts[0])


def _load_s(lm: LanguageModel | None) -> Spread | None:
    """Open the folder again; None for a model in memory, or one whose folder is gone."""
    if lm is None or lm.path is None or lm.missing_weights is not None:
        return None
    path = lm.path
    options = replace(lm.engine.options, threads=0)  # those of torch hold for the whole process
    with suppress(TinyGPTError):
        return time_loads(lambda: load_with(path, options).session(), N_LOADS)
    return None


def _verdict(
    lm: LanguageModel | None,
    quality: Quality,
    yardsticks: Sequence[Yardstick],
    samples: Sequence[Sample],
) -> tuple[str, ...]:
    """Say where the model stands; of its samples the one that copies most."""
    if quality.evaluation is None:
        return ()
    train_loss, val_loss = (lm and lm.path and last_losses(lm.path)) or (None, None)
    copied = [sample.copied for sample in samples if sample.copied is not None]
    return verdict(
        quality.evaluation.bits_per_byte,
        yardsticks,
        train_loss=train_loss,
        val_loss=val_loss,
        sample=max(copied, key=lambda c: (c.copied_share, len(c.longest)), default=None),
    )
