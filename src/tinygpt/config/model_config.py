"""The architecture of a model, and nothing else: `config.json` with the keys of HF's GPT2Config.

A key belongs here if changing it changes the shapes of the weights or the function computed, or if
GPT2Config files it here (the dropouts, the initializer). How a model was trained is
train_config.py; how it is sampled is GenerationConfig. Nothing in this module needs torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tinygpt.config.html_repr import fields_html
from tinygpt.config.schema import check_types, from_dict, to_dict
from tinygpt.errors import ConfigError, did_you_mean

__all__ = ["ACTIVATIONS", "GPT2_EOT_ID", "PRESETS", "ModelConfig", "stray_keys"]

ACTIVATIONS = (
    *("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"),
    *("gelu", "gelu_python", "quick_gelu", "relu", "silu", "swish", "tanh"),
)
"""Activations that model/gpt.py computes, by HF's names; the first five are one function."""

GPT2_EOT_ID = 50256
"""Id of <|endoftext|> in GPT-2's vocabulary, and GPT2Config's default for every vocabulary."""

MAX_PARAMETERS, MAX_LAYERS = 100_000_000_000, 1_000
"""A config above either is refused before anything is allocated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A GPT-2-shaped Transformer. The five sizes have no default: a model is its sizes."""

    vocab_size: int
    """Number of ids the model can emit. It follows from the tokenizer; for bpe it is chosen."""
    n_positions: int
    """Longest context in tokens: rows of the position table (nanoGPT calls it block_size)."""
    n_embd: int
    """Width of the residual stream (d_model). A multiple of n_head."""
    n_layer: int
    """Number of Transformer blocks."""
    n_head: int
    """Attention heads per block; each is n_embd / n_head wide."""
    n_inner: int | None = None
    """Width of the MLP's hidden layer; null means 4 * n_embd."""
    activation_function: str = "gelu_new"
    """Non-linearity of the MLP. GPT-2 uses gelu_new, the tanh form of GELU."""
    resid_pdrop: float = 0.1
    """Dropout on the output of each attention and MLP, while training."""
    embd_pdrop: float = 0.1
    """Dropout on the embeddings, while training."""
    attn_pdrop: float = 0.1
    """Dropout on the attention weights, while training."""
    layer_norm_epsilon: float = 1e-5
    """Added to the variance in every LayerNorm."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights (GPT-2 paper, section 2.3)."""
    tie_word_embeddings: bool = True
    """Use the token embedding as the output matrix too."""
    bos_token_id: int | None = None
    """Id that starts a text; null where there is none."""
    eos_token_id: int | None = None
    """Id that ends a text; null where there is none."""

    _repr_html_ = fields_html

    def __post_init__(self) -> None:
        """Refuse impossible architectures, naming the field, the value and the rule."""
        check_types(self)
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value} is not allowed: it must be at least 1")
            if value is not None and value > MAX_PARAMETERS:  # maybe thousands of digits
                raise ConfigError(f"{name} is above {MAX_PARAMETERS:,}; tinygpt opens no more")
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"n_embd={self.n_embd} is not divisible by n_head={self.n_head}; "
                "each head takes an equal share of the width"
            )
        if self.activation_function not in ACTIVATIONS:
            raise ConfigError(
                f'activation_function="{self.activation_function:.60}" is not known'
                f"{did_you_mean(self.activation_function, ACTIVATIONS)} "
                f"(known: {', '.join(ACTIVATIONS)})"
            )
        for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: 0 <= p < 1")
        for name in ("layer_norm_epsilon", "initializer_range"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed: must be above 0")
        for name in ("bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ConfigError(
                    f"{name}={value} is outside the vocabulary (0 to {self.vocab_size - 1}); "
                    "use null if there is none"
                )
        rows = self.vocab_size * (1 if self.tie_word_embeddings else 2) + self.n_positions
        columns = self.n_layer * (4 * self.n_embd + 2 * self.inner_dim)
        if self.n_layer > MAX_LAYERS or (rows + columns) * self.n_embd > MAX_PARAMETERS:
            raise ConfigError(
                f"n_layer={self.n_layer}, n_embd={self.n_embd}, n_inner={self.inner_dim}, "
                f"vocab_size={self.vocab_size}, n_positions={self.n_positions} are more than "
                f"{MAX_LAYERS:,} layers or {MAX_PARAMETERS:,} parameters; tinygpt opens no more"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def inner_dim(self) -> int:
        """Width of the MLP's hidden layer, `n_inner` or 4 * n_embd."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    @property
    def model_type(self) -> str:
        """Family of the model, by transformers' name."""
        return "gpt2"

    @property
    def blocks(self) -> str:
        """The blocks of the model, in words."""
        return (
            f"{self.n_layer} x (LayerNorm, attention, LayerNorm, MLP), pre-norm, "
            f"learned positions, {self.activation_function}"
        )

    @property
    def start_token(self) -> None:
        """Token that stands before every window: a GPT-2 has none."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return config.json: our fields plus the keys by which transformers knows the class."""
        return {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **to_dict(self)}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], *, where: str = "config.json", strict: bool = True
    ) -> "ModelConfig":
        """Read the contents of a config.json.

        Args:
            strict: True for files that tinygpt wrote: an unknown key is an error. False for
                foreign HF folders: unknown keys are left to `stray_keys`, absent GPT-2 keys take
                GPT2Config's defaults.

        Raises:
            ConfigError: unknown key (strict), missing size, impossible value, another model type,
                or a key whose value changes the computation in a way that tinygpt does not do.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: expected a JSON object, got {type(data).__name__}")
        _refuse_what_we_do_not_compute(data, where)
        own = {f.name for f in fields(cls)}
        if strict:
            known = own | _HF_SILENT.keys()
            for key in data:
                if key not in known:
                    raise ConfigError(f'{where}: unknown key "{key!s:.60}"{did_you_mean(key, own)}')
        values = {key: value for key, value in data.items() if key in own}
        if not strict:
            size = values.get("vocab_size")
            # GPT2Config's default, which is written out too: a smaller vocabulary has none.
            default = GPT2_EOT_ID if isinstance(size, int) and size > GPT2_EOT_ID else None
            for name in ("bos_token_id", "eos_token_id"):
                if values.get(name, GPT2_EOT_ID) == GPT2_EOT_ID:
                    values[name] = default
        return from_dict(cls, values, where)


PRESETS: dict[str, ModelConfig] = {
    "tinygpt": ModelConfig(
        vocab_size=65,
        n_positions=128,
        n_embd=128,
        n_layer=4,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.07,  # near 1/sqrt(n_embd); GPT-2's 0.02 learns slower at this width
    ),
    **{
        name: ModelConfig(
            vocab_size=50257,
            n_positions=1024,
            n_embd=n_embd,
            n_layer=n_layer,
            n_head=n_head,
            bos_token_id=50256,
            eos_token_id=50256,
        )
        for name, n_layer, n_head, n_embd in (
            ("distilgpt2", 6, 12, 768),
            ("gpt2", 12, 12, 768),
            ("gpt2-medium", 24, 16, 1024),
            ("gpt2-large", 36, 20, 1280),
            ("gpt2-xl", 48, 25, 1600),
        )
    },
}
"""Architectures by name. The width of TinyGPT is our choice (its author never wrote it down)."""


def stray_keys(data: Mapping[str, Any]) -> list[str]:
    """Return the keys of an HF config.json that no GPT-2 code reads, in file order.

    transformers keeps such keys silently; a typing error or a training setting hides there.
    """
    own = {f.name for f in fields(ModelConfig)}
    return [key for key in data if key not in own and key not in _HF_SILENT]


# Keys that HF's own GPT-2 files carry and that do not change the logits: why they can be ignored.
_HF_SILENT = {
    "model_type": "the class of the model",
    "architectures": "the class of the model",
    "n_ctx": "vestigial: n_positions is what counts",
    "use_cache": "a runtime setting",
    "summary_type": "for classification heads",
    "summary_use_proj": "for classification heads",
    "summary_activation": "for classification heads",
    "summary_proj_to_labels": "for classification heads",
    "summary_first_dropout": "for classification heads",
    "id2label": "for classification heads",
    "label2id": "for classification heads",
    "_num_labels": "for classification heads",
    "num_labels": "for classification heads",
    "task_specific_params": "old place of generation settings",
    "scale_attn_weights": "true is what everyone computes; false is refused",
    "scale_attn_by_inverse_layer_idx": "false is what everyone computes; true is refused",
    "reorder_and_upcast_attn": "a choice of precision, not of function",
    "add_cross_attention": "false is a decoder; true is refused",
    "pad_token_id": "padding, for batches",
    "transformers_version": "who wrote the file",
    "_name_or_path": "where the file came from",
    "torch_dtype": "dtype of the saved weights",
    "dtype": "dtype of the saved weights",
    "gradient_checkpointing": "a runtime setting",
    "n_special": "of the first GPT",
    "predict_special_tokens": "of the first GPT",
    "output_past": "an old name of use_cache",
    "tokenizer_class": "who reads the tokenizer files",
    "return_dict": "a runtime setting",
    "return_dict_in_generate": "a runtime setting",
    "output_attentions": "a runtime setting",
    "output_hidden_states": "a runtime setting",
    "is_encoder_decoder": "false for GPT-2",
    "chunk_size_feed_forward": "a runtime setting",
    "problem_type": "for classification heads",
}

_REFUSED_VALUES = {
    "scale_attn_weights": (True, "attention without the 1/sqrt(head_dim) scale"),
    "scale_attn_by_inverse_layer_idx": (False, "attention scaled by the inverse layer index"),
    "add_cross_attention": (False, "cross attention to an encoder"),
    "is_encoder_decoder": (False, "an encoder-decoder"),
}


def _refuse_what_we_do_not_compute(data: Mapping[str, Any], where: str) -> None:
    if data.get("model_type", "gpt2") != "gpt2":
        raise ConfigError(
            f'{where}: model_type "{data["model_type"]!s:.60}" is not a GPT-2; '
            'tinygpt computes model_type "gpt2" only'
        )
    names = data.get("architectures") or ()
    for name in names if isinstance(names, list | tuple) else (names,):
        if name not in ("GPT2LMHeadModel", "GPT2Model"):
            raise ConfigError(
                f"{where}: architectures names {name!s:.60}, which is not a language model that "
                "tinygpt computes (GPT2LMHeadModel or GPT2Model); save the language model alone"
            )
    for key, (allowed, meaning) in _REFUSED_VALUES.items():
        if data.get(key, allowed) is not allowed:
            raise ConfigError(
                f"{where}: {key}={data[key]!r:.60} asks for {meaning}, which tinygpt does not "
                f"compute; only {key}={str(allowed).lower()} can be opened"
            )
