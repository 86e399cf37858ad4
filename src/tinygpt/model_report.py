"""One model's column of a comparison: opened if it can be, measured, and what is missing said.

A known architecture whose hub can't be reached is not left out: its sizes, costs and (on random
weights, labelled) its speed are true without the weights; what is not true is None, with the
reason and the command that mends it.
"""

from dataclasses import dataclass
from typing import Any

from tinygpt.bench import Speed, Spread
from tinygpt.costs import ContextBin
from tinygpt.errors import MachineError
from tinygpt.evaluate import Evaluation
from tinygpt.hub import gpt2_vocabulary
from tinygpt.language_model import LanguageModel
from tinygpt.learning_curve import LearningCurve
from tinygpt.model_config import PRESETS, ModelConfig
from tinygpt.opening import load, untrained
from tinygpt.precision import PrecisionCost
from tinygpt.samples import Sample
from tinygpt.tokenizer import Tokenizer
from tinygpt.tokenizer_file import load_tokenizer
from tinygpt.training_text import Contamination

__all__ = [
    "Architecture",
    "ModelReport",
    "Quality",
    "open_model",
    "without_weights",
]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A known model of which neither weights nor tokenizer are at hand."""

    name: str
    config: ModelConfig
    missing_weights: str
    tokenizer: Tokenizer | None = None


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


def open_model(
    name: str,
    *,
    engine: str = "auto",
    precision: str = "exact",
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> LanguageModel | Architecture:
    """Open a model; a preset whose hub can't be reached comes with random weights, labelled.

    Arguments and errors as `opening.load`; random weights are float32.
    """
    try:
        return load(
            name,
            engine=engine,
            precision=precision,
            device=device,
            dtype=dtype,
            threads=threads,
            revision=revision,
            allow_pickle=allow_pickle,
        )
    except MachineError as error:
        return without_weights(
            name, error, engine=engine, precision=precision, device=device, threads=threads
        )


def without_weights(
    name: str,
    error: MachineError,
    *,
    engine: str = "auto",
    precision: str = "exact",
    device: str = "auto",
    threads: int = 0,
) -> LanguageModel | Architecture:
    """Return a preset with random weights after `load` failed so; raise the error of all else."""
    if name not in PRESETS or name == "tinygpt":
        raise error
    why = str(error)
    try:
        tokenizer = load_tokenizer(gpt2_vocabulary())
    except MachineError as none:
        return Architecture(name, PRESETS[name], f"{why}; nor is its vocabulary at hand: {none}")
    return untrained(
        name,
        PRESETS[name],
        tokenizer,
        why,
        engine=engine,
        precision=precision,
        device=device,
        threads=threads,
    )
