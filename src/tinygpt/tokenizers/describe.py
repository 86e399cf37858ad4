"""How a tokenizer cuts a text, for the eye: what it is called, and the same words in its tokens."""

import re
from collections.abc import Iterable

from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = ["first_words", "token_texts", "tokenization"]

WORDS_CHARACTERS = 72
"""At most so many, unless the first word is longer: two lines on a phone."""


def first_words(text: str) -> str:
    """Return the beginning of a text up to a border of words, where tokens begin everywhere."""
    begin = len(text) - len(text.lstrip())
    text = text[begin : begin + WORDS_CHARACTERS + 1]
    if len(text) <= WORDS_CHARACTERS:
        return text
    borders = [match.start() for match in re.finditer(r"(?<=\S)\s", text)]
    return text[: borders[-1] if borders else WORDS_CHARACTERS]


def token_texts(tokenizer: Tokenizer, ids: Iterable[int]) -> tuple[str, ...]:
    r"""Return the text of each id; bytes that are part of a character are written as \xf0."""
    return tuple(tokenizer.token_bytes[i].decode("utf-8", "backslashreplace") for i in ids)


def tokenization(tokenizer: Tokenizer | None) -> str:
    """Say in words what its tokens are; None stands for a vocabulary that is not at hand."""
    names = {"char": "raw characters", "byte": "raw bytes"}
    return names.get(tokenizer.kind if tokenizer else "bpe", "BPE subwords")
