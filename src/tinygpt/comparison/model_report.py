"""One model's column of a comparison: opened if it can be, measured, and what is missing said.

A known architecture whose hub can't be reached is not left out: its sizes, costs and (on random
weights, labelled) its speed are true without the weights; what is not true is None, with the
reason and the command that mends it.
"""

from dataclasses import dataclass
from typing import Any

from tinygpt.comparison.samples import Sample
from tinygpt.comparison.training_data import Contamination
from tinygpt.evaluation.result import Evaluation
from tinygpt.evaluation.token_losses import ContextBin
from tinygpt.profiling.precision_cost import PrecisionCost
from tinygpt.profiling.speed import Speed, Spread
from tinygpt.runs.learning_curve import LearningCurve

__all__ = [
    "ModelReport",
    "Quality",
]


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
