"""How a model is trained: four small classes, which make `training.json`.

They are the tables [train] [optim] [corpus] [tokenizer] of a TOML file. None shares a field with
ModelConfig, and model/gpt.py can't import this module (the import contract). Standard library only.
"""

from dataclasses import dataclass

from tinygpt.config.html_repr import fields_html
from tinygpt.config.schema import check_types
from tinygpt.errors import ConfigError, did_you_mean

__all__ = [
    "BATCH_SIZE",
    "OPTIMIZERS",
    "TOKENIZERS",
    "CorpusConfig",
    "OptimConfig",
    "TokenizerConfig",
    "TrainConfig",
]


TOKENIZERS = ("char", "byte", "bpe", "gpt2")
"""Kinds of tokenizer that a new model can be given."""

OPTIMIZERS = ("muon", "adamw")
"""What can update a model."""

BATCH_SIZE = 8
"""Windows per forward pass where nothing else is asked for."""

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
    batch_size: int | None = None
    """Windows per forward pass (micro-batch); null takes 8, or with minutes what suits them."""
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
    zero_init: bool = True
    """Begin a new model with zeros in what attention and MLP write: each block adds nothing yet."""
    gradient_checkpointing: bool = False
    """Compute each block again on the way back instead of keeping it: less memory, more time."""
    compile: bool = False
    """torch.compile the model: up to a minute before the first step; pays in long runs on CUDA."""
    seed: int = 0
    """Seed of the initial weights, of the order of the windows and of dropout."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible settings, naming the field, the value and the rule."""
        check_types(self)
        for name in _AT_LEAST_1:
            value = getattr(self, name)
            if value is not None and value < 1:
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
        """Whether a slice of the training part is set apart to decide by (data/batches.py)."""
        return self.keep_best or self.early_stopping_patience is not None

    @property
    def tokens_per_step(self) -> int:
        """Tokens trained on in one optimizer step."""
        return self.windows * self.gradient_accumulation_steps * self.block_size

    @property
    def windows(self) -> int:
        """batch_size, or what stands for null."""
        return BATCH_SIZE if self.batch_size is None else self.batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimizer and its schedule: linear warm-up, then linear decay over the budget."""

    optimizer: str = "muon"
    """muon: Muon for the matrices of the blocks, AdamW for the rest. adamw: AdamW for all."""
    learning_rate: float = 8e-3
    """AdamW's peak. Small models take large ones; fine-tuning distilgpt2 wants 5e-5."""
    matrix_learning_rate: float = 0.02
    """Muon's peak; it follows the same schedule."""
    momentum: float = 0.9
    """Muon's momentum (Nesterov)."""
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
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(
                f'optimizer="{self.optimizer}" is not known'
                f"{did_you_mean(self.optimizer, OPTIMIZERS)} (known: {', '.join(OPTIMIZERS)})"
            )
        for name in ("learning_rate", "matrix_learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: above 0")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ConfigError(
                f"final_learning_rate={self.final_learning_rate} is not allowed: between 0 and "
                f"learning_rate ({self.learning_rate})"
            )
        for name in ("warmup_steps", "weight_decay", "grad_clip"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: 0 or more")
        for name in ("momentum", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: 0 <= {name} < 1")
        if not self.adam_epsilon > 0:
            raise ConfigError(f"adam_epsilon={self.adam_epsilon} is not allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """Which text. Its last 10% are always held out."""

    corpus: str = "tinyshakespeare"
    """A named corpus (tinyshakespeare, shakespeare, python-docs), or your own .txt or folder."""
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
