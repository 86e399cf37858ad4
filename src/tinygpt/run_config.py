"""How a model is trained and sampled: everything that is not architecture.

Four small classes make `training.json` (the tables [train] [optim] [corpus] [tokenizer] of a TOML
file); GenerationConfig is `generation_config.json`. None shares a field with ModelConfig, and
model.py can't import this module (the import contract). Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.notebook import fields_html
from tinygpt.settings import check_types, from_dict, to_dict

__all__ = [
    "SCORED_BYTES",
    "TOKENIZERS",
    "CorpusConfig",
    "GenerationConfig",
    "OptimConfig",
    "TokenizerConfig",
    "TrainConfig",
]

SCORED_BYTES = 32 * 1024
"""How much of a text is scored in bits per byte unless something else is asked for."""

TOKENIZERS = ("char", "byte", "bpe", "gpt2")
"""Kinds of tokenizer that a new model can be given."""


_AT_LEAST_1 = (
    "block_size",
    "batch_size",
    "gradient_accumulation_steps",
    "eval_tokens",
    "sample_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """The loop: windows, batches, budget. Not the architecture and not the optimizer."""

    block_size: int = 128
    """Length of one training window in tokens; at most the model's n_positions."""
    batch_size: int = 8
    """Windows per forward pass (micro-batch)."""
    gradient_accumulation_steps: int = 1
    """Micro-batches per optimizer step; the batch of a step is their product."""
    minutes: float | None = None
    """Time budget in minutes, from the start of the verb to the final save."""
    max_steps: int | None = None
    """Budget in optimizer steps; such a run repeats and resumes bit for bit."""
    n_evals: int = 8
    """How often val_loss is measured on the way, evenly over the budget."""
    eval_tokens: int = 8192
    """Size in tokens of the fixed held-out sample measured on the way."""
    save_every: int | None = None
    """Optimizer steps between checkpoints; null saves about once a minute."""
    sample_prompts: tuple[str, ...] = ()
    """Texts continued at every evaluation on the way, into samples.jsonl; one at the end always."""
    sample_tokens: int = 100
    """Length of such a sample in tokens."""
    keep_best: bool = False
    """Keep the weights of the best evaluation on the monitor slice instead of the last ones."""
    early_stopping_patience: int | None = None
    """End after so many evaluations in a row without a better monitor loss; null never does."""
    seed: int = 0
    """Seed of the initial weights, of the order of the windows and of dropout."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible settings, naming the field, the value and the rule."""
        check_types(self)
        for name in _AT_LEAST_1:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: at least 1")
        if self.minutes is not None and self.max_steps is not None:
            raise ConfigError(
                f"minutes={self.minutes} and max_steps={self.max_steps}: give one budget, not two"
            )
        if self.minutes is not None and self.minutes <= 0:
            raise ConfigError(f"minutes={self.minutes} is not allowed: must be above 0")
        for name in ("max_steps", "save_every", "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} is not allowed: at least 1")
        if self.n_evals < 0:
            raise ConfigError(f"n_evals={self.n_evals} is not allowed: 0 or more")
        if self.monitored and not self.n_evals:
            raise ConfigError(
                "n_evals=0 is not allowed with keep_best or early_stopping_patience, which follow "
                "the evaluations on the way: at least 1"
            )
        if any(not prompt for prompt in self.sample_prompts):
            raise ConfigError("sample_prompts holds an empty text; leave it out")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed={self.seed} is not allowed: 0 <= seed < 2**63")

    @property
    def monitored(self) -> bool:
        """Whether a slice of the training part is set apart to decide by (data.py)."""
        return self.keep_best or self.early_stopping_patience is not None

    @property
    def tokens_per_step(self) -> int:
        """Tokens trained on in one optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps * self.block_size


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedule: linear warm-up, then linear decay over the budget."""

    learning_rate: float = 5e-3
    """Peak learning rate. Small models take large ones; fine-tuning distilgpt2 wants 5e-5."""
    final_learning_rate: float = 0.0
    """Learning rate at the end of the budget."""
    warmup_steps: int = 30
    """Optimizer steps of linear warm-up."""
    weight_decay: float = 0.1
    """Decoupled weight decay on matrices; never on biases and LayerNorms."""
    beta1: float = 0.8
    """AdamW's decay of the first moment."""
    beta2: float = 0.995
    """AdamW's decay of the second moment."""
    adam_epsilon: float = 1e-8
    """AdamW's epsilon."""
    grad_clip: float = 1.0
    """Largest global norm of the gradient; 0 does not clip."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible settings, naming the field, the value and the rule."""
        check_types(self)
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate={self.learning_rate} is not allowed: above 0")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ConfigError(
                f"final_learning_rate={self.final_learning_rate} is not allowed: between 0 and "
                f"learning_rate ({self.learning_rate})"
            )
        for name in ("warmup_steps", "weight_decay", "grad_clip"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: 0 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: 0 <= beta < 1")
        if not self.adam_epsilon > 0:
            raise ConfigError(f"adam_epsilon={self.adam_epsilon} is not allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """Which text. Its last 10% are always held out."""

    corpus: str = "tinyshakespeare"
    """A named corpus (tinyshakespeare, shakespeare, python-docs), your own .txt or folder of them."""
    sha256: str | None = None
    """SHA-256 of the text's UTF-8 bytes; filled in by the run, checked when it is repeated."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible settings, naming the field, the value and the rule."""
        check_types(self)
        if not self.corpus:
            raise ConfigError(
                "corpus is empty: give a named corpus, or a .txt file or a folder of them"
            )
        if self.sha256 is not None and (
            len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")
        ):
            raise ConfigError(f'sha256="{self.sha256}" is not allowed: 64 lower-case hex digits')


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """How text becomes ids in a new model (a fine-tuned one keeps its own tokenizer)."""

    tokenizer: str = "char"
    """char: the corpus's distinct characters. byte: the 256 bytes. bpe: trained on the corpus, of
    vocab_size tokens. gpt2: GPT-2's 50,257-token BPE."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse unknown kinds."""
        check_types(self)
        if self.tokenizer not in TOKENIZERS:
            raise ConfigError(
                f'tokenizer="{self.tokenizer}" is not known'
                f"{did_you_mean(self.tokenizer, TOKENIZERS)} (known: {', '.join(TOKENIZERS)})"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """How text is sampled: `generation_config.json`, with HF's names."""

    temperature: float = 0.8
    """Divides the logits; 0 always takes the most likely token (greedy)."""
    top_k: int | None = None
    """Keep only the k most likely tokens; null keeps all."""
    top_p: float = 1.0
    """Keep the most likely tokens whose probabilities sum to at least p; 1 keeps all."""
    min_p: float = 0.0
    """Keep the tokens at least min_p times as likely as the most likely one; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Above 1 makes ids of the prompt and of the text so far less likely; 1 changes nothing."""
    max_new_tokens: int = 200
    """Number of tokens to generate, at most."""
    stop_strings: tuple[str, ...] = ()
    """Texts at which generation ends; they are not part of the output."""
    bos_token_id: int | None = None
    """Copied from ModelConfig."""
    eos_token_id: int | None = None
    """Copied from ModelConfig; generation ends when it is drawn."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible settings, naming the field, the value and the rule."""
        check_types(self)
        if self.temperature < 0:
            raise ConfigError(f"temperature={self.temperature} is not allowed: 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k} is not allowed: at least 1 (null keeps all)")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} is not allowed: 0 < top_p <= 1")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p={self.min_p} is not allowed: 0 <= min_p <= 1")
        if not self.repetition_penalty > 0:
            raise ConfigError(
                f"repetition_penalty={self.repetition_penalty} is not allowed: above 0 (1 is none)"
            )
        if self.max_new_tokens < 0:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens} is not allowed: 0 or more")
        if any(not stop for stop in self.stop_strings):
            raise ConfigError("stop_strings holds an empty text, which would stop at once")

    def to_dict(self) -> dict[str, Any]:
        """Return generation_config.json as transformers reads it (greedy is do_sample: false)."""
        data = to_dict(self)
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            data[name] = float(data[name])  # transformers refuses a penalty of 2
        sampled = self.temperature > 0
        data |= {"do_sample": sampled, "top_k": self.top_k or 0}
        if not sampled:
            del data["temperature"]
        for name in ("min_p", "stop_strings"):  # it warns of an idle min_p in a greedy config
            if not data[name]:
                del data[name]
        return data

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        where: str = "generation_config.json",
        strict: bool = True,
    ) -> "GenerationConfig":
        """Read the contents of a generation_config.json.

        Args:
            strict: True for files that tinygpt wrote: an unknown key is an error. False for
                foreign HF folders, whose other keys (beams, penalties ...) are not ours to run.

        Raises:
            ConfigError: unknown key (strict) or impossible value.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: expected a JSON object, got {type(data).__name__}")
        values = dict(data)
        sampled = values.pop("do_sample", None)
        if not strict:
            values = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
            values = {k: v for k, v in values.items() if v is not None or k.endswith("_id")}
            eos = values.get("eos_token_id")
            if isinstance(eos, list):  # HF allows several; the first counts
                values["eos_token_id"] = eos[0] if eos else None
            if isinstance(values.get("stop_strings"), str):
                values["stop_strings"] = [values["stop_strings"]]
        if values.get("top_k") == 0:
            values["top_k"] = None
        if sampled is False and strict:
            values["temperature"] = 0.0
        return from_dict(cls, values, where)
