"""Gives a new model the tokenizer that TokenizerConfig names, made from its corpus where it learns.

The kind settles fields of the architecture too: a vocabulary is as large as it is, except that of
a BPE trained here, whose size is chosen (`ModelConfig.vocab_size`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tinygpt.config.model_config import PRESETS
from tinygpt.data.batches import TRAINING_SHARE
from tinygpt.data.corpora import Corpus
from tinygpt.errors import ConfigError
from tinygpt.formats.hub import gpt2_vocabulary
from tinygpt.progress import Tell
from tinygpt.tokenizers.bpe import train_bpe
from tinygpt.tokenizers.char_byte import ByteTokenizer, CharTokenizer, Tokenizer
from tinygpt.tokenizers.load import load_tokenizer

__all__ = ["make_tokenizer", "settle", "settled_fields"]


def settled_fields(kind: str, corpus: Corpus) -> dict[str, int | None]:
    """Return the fields of ModelConfig that a kind of tokenizer settles, without making it."""
    if kind == "char":
        return {"vocab_size": len(corpus.characters)}
    if kind == "byte":
        return {"vocab_size": ByteTokenizer.vocab_size}
    if kind == "gpt2":
        gpt2 = PRESETS["gpt2"]
        return {n: getattr(gpt2, n) for n in ("vocab_size", "bos_token_id", "eos_token_id")}
    return {}


def settle(given: Mapping[str, Any], kind: str, corpus: Corpus) -> dict[str, Any]:
    """Return fields of ModelConfig that were given, with those that a kind of tokenizer settles.

    Raises:
        ConfigError: one that was given contradicts the tokenizer.
    """
    settled = settled_fields(kind, corpus)
    for name, value in settled.items():
        if (other := given.get(name, value)) == value:
            continue
        on = f" on {corpus.title}" if kind == "char" else ""
        if on and other == PRESETS["tinygpt"].vocab_size:
            on += f" ({other} is that of the corpus tinyshakespeare)"
        mend = f", or give --vocab-size {value}" if name == "vocab_size" else ""
        raise ConfigError(
            f'{name}={other} was given, but tokenizer "{kind}" makes it {value}{on}; leave {name} '
            f"out{mend}"
        )
    return {**given, **settled}


def make_tokenizer(
    kind: str, corpus: Corpus, vocab_size: int, progress: Tell | None = None
) -> Tokenizer:
    """Make a tokenizer of a kind that TOKENIZERS lists.

    Args:
        kind: char knows all characters of the corpus; bpe learns from its training part alone.
        corpus: what the model will be trained on.
        vocab_size: how many tokens bpe learns; the other kinds have their own size.
        progress: told how far bpe has read a corpus that comes in many pieces.

    Raises:
        ConfigError: less than 256 tokens for bpe.
        DataError: a text too short for so many tokens.
        MachineError: GPT-2's vocabulary can't be had.
    """
    if kind == "char":
        return CharTokenizer(corpus.characters)
    if kind == "byte":
        return ByteTokenizer()
    if kind == "gpt2":
        return load_tokenizer(gpt2_vocabulary())
    return train_bpe(_training_part(corpus, progress), vocab_size)


def _training_part(corpus: Corpus, progress: Tell | None) -> Iterator[str]:
    n_train, n_read = int(TRAINING_SHARE * len(corpus.text)), 0
    for piece in corpus.pieces(0, n_train):
        yield piece
        n_read += len(piece)
        if progress is not None and n_read < n_train:
            progress(f"learning tokens from {corpus.title}", n_read / n_train)
