"""Where scoring begins: the border between prefix and text, moved on to where it is fair to all.

A border inside a token makes a model pay for a token that it would never have cut there. So the
border moves on to the first start of a word: byte-level BPE tokenizers begin a token there whatever
their merges, and the same bytes are scored whoever the partner is.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tinygpt.evaluation.eval_texts import Text, first_bytes
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer

__all__ = ["REACH_BYTES", "align"]

REACH_BYTES = 256
"""How far the border may move on."""

_LOOK_AHEAD = 8 * REACH_BYTES  # characters: a token that begins within reach ends long before


def align(text: Text, tokenizers: Sequence[Tokenizer]) -> tuple[Text, bool]:
    """Move the border on to where a token starts in every tokenizer, at most 256 bytes later.

    The first start of a word is taken; where there is none that all tokenizers know, the first
    place that they have in common. No more than half of the text is given up for it, and as many
    bytes are scored as before, if so many follow.

    Args:
        text: cut to length; what follows it is its `rest`. Without a prefix nothing moves.
        tokenizers: of all the models that are compared; character models begin a token anywhere.

    Returns:
        The text, and False if the border had to stay where some tokenizer does not begin a token.
    """
    if not text.prefix:
        return text, True
    following = text.text + text.rest
    seen = text.prefix + following[:_LOOK_AHEAD]
    starts = _places(seen, len(text.prefix), min(REACH_BYTES, len(following.encode()) // 2))
    for tokenizer in tokenizers:
        if not isinstance(tokenizer, CharTokenizer):
            lengths = np.array([len(b) for b in tokenizer.token_bytes])
            ends = set(lengths[tokenizer.encode(seen)].cumsum().tolist())
            starts = {at: offset for at, offset in starts.items() if offset in ends}
    if not starts:
        return text, False
    at = next((at for at in starts if _is_word_start(seen, at)), min(starts)) - len(text.prefix)
    n_bytes = len(text.text.encode())
    scored = first_bytes(following[at:], n_bytes) or following[at]  # one character at least
    moved = dataclasses.replace(
        text,
        prefix=text.prefix + following[:at],
        text=scored,
        rest=following[at + len(scored) :],
    )
    return moved, True


def _places(text: str, first: int, reach_bytes: int) -> dict[int, int]:
    """Return the byte offset of each character of a text from the first one on, within reach."""
    begin = offset = len(text[:first].encode())
    places = {}
    for at in range(first, len(text)):
        if offset - begin > reach_bytes:
            break
        places[at] = offset
        offset += len(text[at].encode())
    return places


def _is_word_start(text: str, at: int) -> bool:
    """Say whether a line begins here, or a space between two letters stands here."""
    before, here, after = text[at - 1], text[at], text[at + 1 : at + 2]
    return (before == "\n" and not here.isspace()) or (
        before.isalpha() and here == " " and after.isalpha()
    )
