"""Results of scoring: an `Evaluation`, and the cost by context. No torch."""

from dataclasses import dataclass

from tinygpt.config.html_repr import fields_html

__all__ = ["ContextBin", "Evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A text scored by a model. The figures hold for this context, stride and prefix only."""

    bits_per_byte: float
    """Total bits / bytes of the original text."""
    loss: float
    """Nats per scored token (only comparable with the same tokenizer)."""
    perplexity: float
    """exp(loss) (only comparable with the same tokenizer)."""
    total_nats: float
    """Everything that the text cost, unknown characters included."""
    n_bytes: int
    """UTF-8 bytes of the scored text."""
    n_characters: int
    """Characters of the scored text."""
    n_tokens: int
    """Tokens scored."""
    n_unknown: int
    """Characters that the tokenizer lacks, paid for by the escape code."""
    unknown_nats: float
    """What the unknown characters cost, part of total_nats."""
    escape_share: float
    """Share of total_nats that the escape code is: the unknown characters, and the little that
    every known one costs more because of it."""
    context: int
    """Longest context in tokens, the scored token's own position included."""
    stride: int
    """Tokens by which the window moves on: each target sees at least context - stride tokens."""
    prefix_bytes: int
    """Bytes of unscored text that were shown before it."""
    start: str
    """What stood before the first token where there was no prefix; empty otherwise."""
    sha256: str
    """SHA-256 of the scored bytes."""
    loss_by_position: tuple[float | None, ...]
    """Mean nats per token by the tokens of context, in eight equal ranges (null: none there)."""
    engine: str
    """What gave the logits, and in which precision: "torch float32", "native int8" ..."""

    _repr_html_ = fields_html

    def __repr__(self) -> str:
        """Show the figure and what it holds for."""
        return (
            f"<Evaluation {self.bits_per_byte:.4f} bits per byte on {self.n_bytes:,} bytes "
            f"(sha256 {self.sha256[:12]}), context {self.context:,}, stride {self.stride:,}>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextBin:
    """What a byte cost after so much context."""

    begin_bytes: int
    end_bytes: int
    """Bytes of context: from begin to end, both included."""
    bits_per_byte: float
    n_bytes: int
    """Bytes of text that the figure rests on."""
