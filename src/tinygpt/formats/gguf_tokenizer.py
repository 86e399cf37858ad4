"""A tokenizer in the form in which llama.cpp cuts texts into the same ids.

A BPE is llama.cpp's "gpt2" tokenizer. Characters and bytes, which never join, are its "rwkv": a
table of byte strings, of which the longest that fits is taken. (As a "gpt2" without merges they
would not open, id 11 would end every text, and unknown characters would be dropped silently.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import BYTE_LETTERS, EOT, Tokenizer
from tinygpt.tokenizers.padding import PaddedTokenizer

__all__ = ["GGUFTokens", "gguf_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFTokens:
    """What a GGUF file says under `tokenizer.ggml`; the first V tokens are the model's ids."""

    model: str
    """The rules: gpt2 or rwkv."""
    texts: tuple[str, ...]
    """One spelling per token, all different."""
    special: frozenset[int]
    """Tokens that are found in a text before anything else."""
    hidden: frozenset[int]
    """Tokens that write nothing: the end of a text and padding."""
    merges: tuple[str, ...]
    """Pairs of spellings, the first to be joined first."""
    eos_id: int | None
    """The token that ends a text."""
    n_beginnings: int
    """How many tokens at the end are first bytes of characters, which no text holds alone."""


def gguf_tokens(tokenizer: Tokenizer, eos_id: int | None) -> GGUFTokens:
    """Return a tokenizer as llama.cpp's; `eos_id` is the model's end of text, if it has one."""
    core = tokenizer.tokenizer if isinstance(tokenizer, PaddedTokenizer) else tokenizer
    known = core.token_bytes
    special: dict[int, str] = {}
    merges: tuple[str, ...] = ()
    spelled = [_escaped(token) for token in known]
    beginnings = _beginnings(known)
    if isinstance(core, BPETokenizer):
        special = {i: text for text, i in core.special_tokens.items()}
        merges = tuple(" ".join(pair) for pair in core.merges)
    if merges:
        letters = {byte: letter for letter, byte in BYTE_LETTERS.items()}
        spelled = ["".join(letters[byte] for byte in token) for token in known]
        beginnings = ()
        if eos_id is None and core.eot_id is None:  # llama.cpp would take 11
            eos_id = known.index(b"\xff")  # a byte that no text holds
    padding = range(len(known), tokenizer.vocab_size)
    texts = [special.get(i, text) for i, text in enumerate(spelled)]
    texts += [rf"\xff[PAD{i}]" for i in padding]  # the byte again: nothing that a text could match
    return GGUFTokens(
        model="gpt2" if merges else "rwkv",
        texts=(*texts, *map(_escaped, beginnings)),
        special=frozenset(special),
        hidden=frozenset(padding) | {i for i, text in special.items() if text == EOT},
        merges=merges,
        eos_id=core.eot_id if eos_id is None else eos_id,
        n_beginnings=len(beginnings),
    )


def _beginnings(tokens: Sequence[bytes]) -> tuple[bytes, ...]:
    # A text that leaves the table within a character (an unknown one) sends llama.cpp (0.3.36 of
    # its Python package) into a loop that fills the memory. With these it goes on, to an error.
    return tuple(sorted({token[:1] for token in tokens} - {*tokens}))


def _escaped(token: bytes) -> str:
    return "".join(
        chr(byte) if 33 <= byte < 127 and byte != ord("\\") else f"\\x{byte:02x}" for byte in token
    )
