"""The Transformer of GPT-2, once, for both scales: TinyGPT and distilgpt2 are two configs of it.

Pre-norm blocks of causal self-attention and MLP, learned positions, tied output matrix, with the
module names of HF's GPT2LMHeadModel. Sources: Radford et al. 2019 (GPT-2), section 2.3; Vaswani et
al. 2017 for attention. Read it top-down: KVCache, Attention, MLP, Block, GPT.

Differences from HF's file: nn.Linear instead of the transposed Conv1D (hf_weights.py turns the
matrices round), no cross attention, no heads for classification, and the loss lives outside the
model. Differences from nanoGPT's: biases everywhere, the activation is a setting, and there is a KV
cache.

Shape letters: B batch, T time (tokens), C n_embd, H n_head, D head_dim, V vocab_size,
S slots of the cache, P n_positions, E keys visible to attention.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ContextError

__all__ = ["GPT", "MLP", "Attention", "Block", "KVCache"]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # GPT-2's own: Hendrycks and Gimpel 2016, the tanh approximation, which HF spells in five ways
    **dict.fromkeys(
        ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"),
        _gelu_tanh,
    ),
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "quick_gelu": _quick_gelu,  # their sigmoid approximation
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
}


class KVCache:
    """Keys and values of past tokens: one buffer pair per layer, a row (slot) per sequence.

    Attributes:
        keys, values: per layer one (S, H, P, D) tensor.
        lengths: tokens held by each slot; shrinking an entry forgets the tail of that sequence.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_slots: int = 1,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (n_slots, config.n_head, config.n_positions, config.head_dim)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layer)]
            for _ in range(2)
        )
        self.lengths = [0] * n_slots
        self.n_positions = config.n_positions


@dataclass(frozen=True, slots=True)
class _Span:
    """The T new tokens of some slots during one forward pass: where they go, what they see."""

    cache: KVCache
    slots: Sequence[int]
    starts: Sequence[int]  # first new position of each slot
    length: int  # T
    mask: Tensor | None  # (B, 1, T, E) bool, True where a key is visible; None if all or causal
    is_causal: bool

    @classmethod
    def open(
        cls, cache: KVCache, slots: Sequence[int], length: int, device: torch.device
    ) -> "_Span":
        starts = [cache.lengths[slot] for slot in slots]
        even = len(set(starts)) == 1
        mask = None
        if not even or (starts[0] and length > 1):
            queries = torch.tensor(starts, device=device)[:, None] + torch.arange(
                length, device=device
            )
            keys = torch.arange(max(starts) + length, device=device)
            mask = (keys <= queries[:, :, None])[:, None]  # (B, 1, T, E)
        return cls(cache, slots, starts, length, mask, even and not starts[0] and length > 1)

    def store(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, H, T, D) keys and values; return all that the new tokens may look at."""
        end = max(self.starts) + self.length
        out = []
        for buffer, new in ((self.cache.keys[layer], k), (self.cache.values[layer], v)):
            for row, (slot, start) in enumerate(zip(self.slots, self.starts, strict=True)):
                buffer[slot, :, start : start + self.length] = new[row]
            first, n = self.slots[0], len(self.slots)
            if list(self.slots) == list(range(first, first + n)):  # neighbours need no copy
                out.append(buffer[first : first + n, :, :end])
            else:
                out.append(buffer[list(self.slots), :, :end])
        return out[0], out[1]  # (B, H, E, D)


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_head, self.attn_pdrop = layer, config.n_head, config.attn_pdrop
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, span: _Span | None = None) -> Tensor:
        """Let each token of x (B, T, C) look at itself and what came before; (B, T, C)."""
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, self.n_head, -1).transpose(1, 2)  # (B, H, T, D)
            for part in self.c_attn(x).split(c, dim=2)
        )
        if span is not None:
            k, v = span.store(self.layer, k, v)  # (B, H, E, D)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if span is None else span.mask,
            dropout_p=self.attn_pdrop if self.training else 0.0,
            is_causal=span is None or span.is_causal,
        )  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(b, t, c)  # (B, T, C)
        return self.resid_dropout(self.c_proj(y))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two linear layers with a non-linearity between, on each token alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.inner_dim)
        self.c_proj = nn.Linear(config.inner_dim, config.n_embd)
        self.activation = _ACTIVATIONS[config.activation_function]
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        return self.dropout(self.c_proj(self.activation(self.c_fc(x))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then MLP, each on a normalised copy and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, span: _Span | None = None) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        x = x + self.attn(self.ln_1(x), span)
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class _Embedding(nn.Embedding):
    """Draws nothing: GPT does, and on "meta" torch's draw would load its compiler, for seconds."""

    def reset_parameters(self) -> None:
        """Leave the weights to GPT."""


class _Body(nn.Module):
    """Everything below the output matrix; a class of its own only for HF's key names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wte = _Embedding(config.vocab_size, config.n_embd)
        self.wpe = _Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)


class GPT(nn.Module):
    """A GPT-2 language model: ids in, scores of the next id out.

    Args:
        config: the architecture.
        generator: source of the initial weights; None takes torch's global one. Under
            `torch.device("meta")` nothing is drawn or allocated, for weights that come from a file.
    """

    def __init__(self, config: ModelConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # what torch's modules draw is overwritten
            self.transformer = _Body(config)
            self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.tie_weights()
        if self.transformer.wte.weight.device.type != "meta":
            self._init_weights(generator)

    def hidden(
        self, idx: Tensor, cache: KVCache | None = None, slots: Sequence[int] = (0,)
    ) -> Tensor:
        """Run the blocks.

        Args:
            idx: (B, T) int64 in [0, vocab_size).
            cache: if given, row b of idx continues the sequence in slot `slots[b]`, whose keys and
                values are used and extended.
            slots: B different slots of the cache.

        Returns:
            (B, T, C), after the last LayerNorm.

        Raises:
            ContextError: the sequence would be longer than n_positions.
        """
        t, starts = idx.shape[1], [0] if cache is None else [cache.lengths[s] for s in slots]
        if max(starts) + t > self.config.n_positions:
            raise ContextError(
                f"{max(starts) + t} tokens are more than this model's n_positions="
                f"{self.config.n_positions}; give a shorter text"
            )
        span = None if cache is None else _Span.open(cache, slots, t, idx.device)
        positions = torch.arange(t, device=idx.device)  # (T,)
        if any(starts):
            positions = torch.tensor(starts, device=idx.device)[:, None] + positions  # (B, T)
        body = self.transformer
        x = body.drop(body.wte(idx) + body.wpe(positions))  # (B, T, C)
        for block in body.h:
            x = block(x, span)
        if cache is not None:
            for slot, start in zip(slots, starts, strict=True):
                cache.lengths[slot] = start + t
        return body.ln_f(x)  # type: ignore[no-any-return]

    def forward(
        self, idx: Tensor, cache: KVCache | None = None, slots: Sequence[int] = (0,)
    ) -> Tensor:
        """Return the logits of every next token, (B, T, V) float32; arguments as `hidden`."""
        return self.lm_head(self.hidden(idx, cache, slots)).float()  # type: ignore[no-any-return]

    def tie_weights(self) -> None:
        """Make the output matrix the token embedding, where the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    @torch.no_grad()
    def _init_weights(self, generator: torch.Generator | None) -> None:
        """Draw GPT-2's initial weights (GPT-2 paper, section 2.3).

        Normal with standard deviation initializer_range; the two projections of each block that
        write to the residual stream by 1/sqrt(2 * n_layer) less; biases 0, LayerNorms 1 and 0.
        """
        std = self.config.initializer_range
        for name, parameter in self.named_parameters():  # tied weights come once
            if name.endswith("bias"):
                parameter.zero_()
            elif "ln_" in name:
                parameter.fill_(1.0)
            else:
                scale = (2 * self.config.n_layer) ** -0.5 if "c_proj" in name else 1.0
                parameter.normal_(0.0, std * scale, generator=generator)
