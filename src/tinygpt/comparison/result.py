"""Result of a comparison: models on scored texts. Plain data; report/ draws it. No torch.

A known architecture whose hub can't be reached is not left out: its sizes, costs and (on random
weights, labelled) its speed are true without the weights; what is not true is None, with the
reason and the command that mends it.
"""

import dataclasses
import importlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.comparison.config_diff import ConfigKey
from tinygpt.config.html_repr import table_html
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.bootstrap import Difference
from tinygpt.evaluation.overlap import Overlap
from tinygpt.evaluation.result import ContextBin, Evaluation
from tinygpt.profiling.result import PrecisionCost, Speed, Spread
from tinygpt.runs.learning_curve import LearningCurve

__all__ = ["Comparison", "Contamination", "ModelReport", "Quality", "Sample", "ScoredText"]

SCHEMA_VERSION = 1
"""Version of comparison.json; fields are added under it, never renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A text that every model scored."""

    name: str
    source: str
    n_bytes: int
    n_characters: int
    sha256: str
    """SHA-256 of the scored bytes, in hex."""
    prefix_bytes: int
    """Unscored bytes right before them, the same for every model."""
    common_border: bool
    """False if some model has no token that begins where the scored bytes do (boundary.py)."""
    public: bool
    """Whether it is part of a named corpus, which models trained on web text have probably seen."""
    matched_context_bytes: float | None
    """Bytes of this text that the smallest context holds on average: what `matched` was scored
    with; None where no model was scored."""
    block_bytes: int
    """Size in bytes of the blocks that the intervals resample."""
    differences: tuple[Difference, ...]
    """Difference of every two models, each with its own full context."""
    matched_differences: tuple[Difference, ...]
    """Difference of every two models, each with matched_context_bytes of context."""
    no_interval: str | None
    """Why there are no differences; None where there are."""
    yardsticks: tuple[Yardstick, ...]
    """What the same bytes cost without a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """How much of a scored text a run was trained on, word for word."""

    n_training_characters: int
    """Number of characters in the run's training part."""
    n_searched_characters: int
    """Number of these, counted from the end, that were searched."""
    span: int
    """Length in characters of the n-grams."""
    n_grams: int
    """Number of n-grams of that length in the scored text."""
    n_shared_grams: int
    """Number of these n-grams that also stand in the training text."""
    longest_characters: int
    """Length of the longest run that both have."""
    longest: str
    """Its beginning, at most 60 characters."""

    @property
    def share(self) -> float:
        """Share of the n-grams that stand in the training text."""
        return self.n_shared_grams / self.n_grams if self.n_grams else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A continuation; the same prompt, seed and number of characters for every model."""

    prompt: str
    seed: int
    temperature: float
    text: str | None
    missing: str | None
    copied: Overlap | None
    """What it shares with the model's training text; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What one model made of one text; evaluation or missing is None."""

    text: str
    """Name of the ScoredText."""
    evaluation: Evaluation | None
    """With the model's own full context."""
    matched: Evaluation | None
    """With the ScoredText's matched_context_bytes of context; None where evaluation is."""
    missing: str | None
    """Why there is no figure, and the command that gets it."""
    contamination: Contamination | None
    """How much of the text the run was trained on; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """One column of the table."""

    name: str
    path: str | None
    commit: str | None
    missing_weights: str | None
    """Why its weights are not here; None where they are."""
    tokenization: str
    """"raw characters" or "BPE"."""
    first_tokens: tuple[str, ...] | None
    """How its tokenizer cuts the beginning of the first text."""
    sentence_tokens: tuple[str, ...] | None
    """How it cuts the first words of the first text, the same for all; it may lack characters."""
    longest_tokens: tuple[str, ...] | None
    """The longest tokens that the first text is cut into, at most five."""
    config: dict[str, Any]
    """Its config.json."""
    head_dim: int | None
    """n_embd / n_head, unless the family has another; None where it has no heads."""
    config_labels: dict[str, dict[str, int]]
    """Per file: how many keys the doctor labels architecture, training, generation ..."""
    n_params: int
    n_params_by_component: dict[str, int]
    weights_bytes: int
    """Of the weights in float32."""
    kv_cache_bytes: int | None
    """Keys and values of a full context in float32; None where they can't be counted."""
    load_s: Spread | None
    """Opening the folder again, its files warm; None where there is none to open."""
    flops_per_token: int | None
    """Forward FLOPs of one token that sees a full context; None where they can't be counted."""
    flops_per_byte: float | None
    kv_cache_bytes_per_token: int | None
    context_tokens: int
    context_bytes: float | None
    """A full context in bytes of the first text, on average."""
    bytes_per_token: float | None
    """On the first text."""
    speed: Speed | None
    speed_missing: str | None
    """Why there is no speed; None where there is one."""
    quality: tuple[Quality, ...]
    samples: tuple[Sample, ...]
    curve: LearningCurve | None
    """How it learned, where it is a run."""
    loss_by_context: tuple[ContextBin, ...]
    """On the first text; windows stand side by side there. Empty without weights."""
    trained_on: str | None
    """The corpus of a run; None where it is not known."""
    web_trained: bool | None
    """Whether web text is behind it: a published model, or a run that began with one; None where
    that is not known."""
    precisions: tuple[PrecisionCost, ...]
    """On the first text: what each precision costs, where the native engine was asked for."""
    verdict: tuple[str, ...]
    """On the first text, in sentences (verdict.py); empty without a figure."""
    model_type: str
    """The family: gpt2, llama ..."""
    vocab_size: int
    n_layer: int
    n_head: int | None
    """None in a family without heads."""
    n_embd: int
    blocks: str
    """What its blocks are made of."""
    start_token: str | None
    """Stands before every window and is never scored; None where the tokenizer adds none."""
    costs_counted: bool
    """True if FLOPs and memory were counted on the module, False if formulas gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Any number of models on the same texts; `to_json` is comparison.json, schema_version 1."""

    schema_version: int = SCHEMA_VERSION
    tinygpt_version: str
    created: str
    """UTC, ISO 8601."""
    machine: dict[str, Any]
    corpus: dict[str, Any] | None
    """Name (`corpus`) and sha256 of what the first run was trained on."""
    texts: tuple[ScoredText, ...]
    models: tuple[ModelReport, ...]
    yardsticks_from: str | None
    """The model whose training text taught the yardsticks; None if nothing did."""
    config_keys: tuple[ConfigKey, ...]
    """Every key of the models' files, the differing ones first."""
    rules: tuple[str, ...]
    """The rules that were applied, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return comparison.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self, path: Path | str) -> None:
        """Write the HTML page. Deprecated: use `tinygpt.write_html(result, path)`."""
        said = "to_html is deprecated: use tinygpt.write_html(result, path)"
        warnings.warn(said, DeprecationWarning, stacklevel=2)
        # By name: an import statement would point from a result up to what draws it.
        importlib.import_module("tinygpt.report").write_html(self, path)

    def __repr__(self) -> str:
        """Name the models and the texts."""
        models = ", ".join(model.name for model in self.models)
        return f"<Comparison of {models} on {', '.join(text.name for text in self.texts)}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook, one row per model."""
        head = ("model", *(f"bits per byte on {text.name}" for text in self.texts))
        rows = [
            (
                model.name,
                *(
                    f"{q.evaluation.bits_per_byte:.4f}" if q.evaluation else q.missing or "-"
                    for q in model.quality
                ),
                f"{model.n_params:,}",
                _decode_speed(model),
            )
            for model in self.models
        ]
        return table_html("Comparison", rows, head=(*head, "parameters", "decode, bytes/s"))


def _decode_speed(model: ModelReport) -> str:
    if model.speed is None:
        return model.speed_missing or "-"
    drawn = " (random weights)" if model.speed.random_weights else ""
    return f"{model.speed.decode_bytes_per_s.median:,.0f}{drawn}"
