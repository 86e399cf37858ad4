"""How a tokenizer cuts the prompt, and what a model would write next: figures for the page."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygpt.config.generation_config import GenerationConfig, changed
from tinygpt.inference.generate import prompt_ids
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.sampling import probabilities
from tinygpt.tokenizers.char_byte import CharTokenizer, refuse_surrogates
from tinygpt.tokenizers.describe import token_texts

__all__ = ["next_tokens", "tokens_of"]

_Places = np.ndarray[Any, np.dtype[np.int64]]


def tokens_of(lm: LanguageModel, text: str) -> dict[str, Any]:
    """Cut a text into tokens, with the characters (code points) that each of them spans.

    A character that a character model lacks is no token; it is named with the reason. `kept_from`
    is the first character that fits into the model's context.

    Raises:
        TokenizerError: half a surrogate pair, or a text that the tokenizer would change.
    """
    n_bytes = len(refuse_surrogates(text))
    ids, starts, ends = _cut(lm, text)
    n_positions = lm.config.n_positions
    kept = max(0, len(ids) - n_positions)
    spelled = token_texts(lm.tokenizer, ids)
    return {
        "tokens": [
            {"id": i, "start": start, "end": end, "text": token}
            for i, start, end, token in zip(ids, starts, ends, spelled, strict=True)
        ],
        "n_tokens": len(ids),
        "n_bytes": n_bytes,
        "n_characters": len(text),
        "unknown": list(_unknown(lm, text)),
        "context": {"n_positions": n_positions, "kept_from": starts[kept] if kept else 0},
    }


def next_tokens(lm: LanguageModel, text: str, k: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the k likeliest tokens after a text, before and after sampling's cuts.

    Of a text that is too long the tail counts, as with `truncate_prompt`.

    Args:
        settings: those of GenerationConfig that are not to be the model's own.

    Raises:
        ConfigError: an impossible setting.
        TokenizerError: a character that the model lacks.
    """
    chosen = changed(lm.generation_config, settings)
    whole = prompt_ids(lm.tokenizer, text, sys.maxsize)
    ids = whole[-lm.config.n_positions :]
    session = lm.session()
    session.prefill(0, ids)
    logits = session.logits(0)
    before = probabilities(logits, GenerationConfig(temperature=1.0))
    after = probabilities(logits, chosen, set(ids))
    best = np.argsort(-before, kind="stable")[:k].tolist()
    some = before[before > 0]
    return {
        "tokens": [
            {
                "id": i,
                **_named(lm.tokenizer.token_bytes, i),
                "probability": float(before[i]),
                "probability_after_sampling": float(after[i]),
            }
            for i in best
        ],
        "rest": max(0.0, 1.0 - float(before[best].sum())),
        "entropy_bits": max(0.0, float(-(some * np.log2(some)).sum())),
        "n_kept": int((after > 0).sum()),
        "n_tokens": len(whole),
        "truncated": len(whole) > len(ids),
    }


def _cut(lm: LanguageModel, text: str) -> tuple[list[int], list[int], list[int]]:
    """Return ids, and for each the first character and the one after its last."""
    if isinstance(lm.tokenizer, CharTokenizer):
        places = np.flatnonzero(lm.tokenizer.known_mask(text))
        ids = lm.tokenizer.encode("".join(text[i] for i in places))
        return ids.tolist(), places.tolist(), (places + 1).tolist()
    ids = lm.tokenizer.encode(text)
    if not len(ids):
        return [], [], []
    names = lm.tokenizer.token_bytes
    lengths = np.array([len(names[i]) for i in ids])
    ends = lengths.cumsum()
    character = np.repeat(np.arange(len(text)), [len(c.encode()) for c in text])  # of each byte
    starts = _character_of(character, ends - lengths)
    return ids.tolist(), starts.tolist(), (_character_of(character, ends - 1) + 1).tolist()


def _character_of(character: _Places, at: _Places) -> _Places:
    return character[np.clip(at, 0, len(character) - 1)]


def _unknown(lm: LanguageModel, text: str) -> Iterator[dict[str, Any]]:
    """Yield the stretches that a character model lacks, neighbours together."""
    if not isinstance(lm.tokenizer, CharTokenizer):
        return
    lacks = ~lm.tokenizer.known_mask(text)
    edges = np.flatnonzero(np.diff(lacks, prepend=False, append=False)).tolist()
    why = f"not among the {lm.tokenizer.vocab_size:,} characters that this model was trained on"
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        yield {"start": start, "end": end, "character": text[start:end], "reason": why}


def _named(names: tuple[bytes, ...], i: int) -> dict[str, Any]:
    """Return a token's text, and whether it is whole characters."""
    if i >= len(names) or not names[i]:
        return {"text": f"(id {i}, no token)", "whole": False}
    text = names[i].decode("utf-8", "backslashreplace")
    return {"text": text, "whole": text.encode() == names[i]}
