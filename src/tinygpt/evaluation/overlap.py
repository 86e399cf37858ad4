"""What two texts share, word for word: how much of a sample is copied, how clean a scored text is.

Exact and in characters, nothing normalised: a copy with another space in it is none. Windows of one
length are found by rolling hashes (Karp and Rabin 1987) and then compared character by character.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygpt.errors import ConfigError, DataError

__all__ = ["SPAN", "Overlap", "find_overlap"]

SPAN = 50
"""Characters in a row that count as copied: about eight words, which are rarely equal by chance."""

_BASE = 0x9E3779B97F4A7C15
"""Of the hash; odd, so that it has an inverse modulo 2**64."""

_PIECE = 2**20
"""Windows of the training text that are hashed at once."""

_Hashes = np.ndarray[Any, np.dtype[np.uint64]]
_Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What a text shares with a training text."""

    span: int
    """Length in characters of the n-grams below, and of the shortest run that counts as copied."""
    n_characters: int
    """Of the text."""
    n_copied: int
    """Characters of the text that lie in a run of at least `span` that the training text has."""
    n_grams: int
    """Places of the text where `span` characters begin."""
    n_shared_grams: int
    """Of these, how many stand in the training text."""
    longest: str
    """The longest run that both have; the first one of several."""
    longest_at: int
    """Where it begins in the text, in characters."""
    longest_at_training: int
    """Where it begins in the training text, in characters; its first occurrence."""

    @property
    def copied_share(self) -> float:
        """Share of the text's characters that is copied: the figure for samples."""
        return self.n_copied / self.n_characters

    @property
    def shared_gram_share(self) -> float | None:
        """Share of n-grams in the training text: contamination; None if the text is too short."""
        return self.n_shared_grams / self.n_grams if self.n_grams else None


def find_overlap(text: str, train: str, span: int = SPAN) -> Overlap:
    """Search everything that a text has in common with a training text.

    Takes about 45 bytes of memory per character of the training text.

    Args:
        text: a sample without its prompt, or a scored text.
        train: all that the model was trained on, or that part of it that is asked about.
        span: at least 1.

    Raises:
        DataError: an empty text.
        ConfigError: an impossible span.
    """
    if not text:
        raise DataError("the text to search is empty; give at least one character")
    if span < 1:
        raise ConfigError(f"span={span} is not allowed: at least 1 character")
    both = _Pair(text, train)
    starts = both.shared(span)
    edges = np.zeros(len(text) + 1, np.int64)
    np.add.at(edges, list(starts), 1)
    np.add.at(edges, [start + span for start in starts], -1)
    at, at_training, length = _longest(both, span)
    return Overlap(
        span=span,
        n_characters=len(text),
        n_copied=int((edges.cumsum()[:-1] > 0).sum()),
        n_grams=max(0, len(text) - span + 1),
        n_shared_grams=len(starts),
        longest=text[at : at + length],
        longest_at=at,
        longest_at_training=at_training,
    )


def _longest(both: "_Pair", first_try: int) -> tuple[int, int, int]:
    """Return where the longest common run begins in both texts, and its length.

    Every part of a common run is common too, so its length can be bisected.
    """
    best, at, at_training, too_long = 0, 0, 0, len(both.text) + 1
    length = min(first_try, len(both.text))
    while best + 1 < too_long:
        found = both.first_shared(length)
        if found is None:
            too_long = length
        else:
            (at, at_training), best = found, length
        doubled = too_long > len(both.text) and 2 * best <= len(both.text)
        length = max(1, 2 * best) if doubled else (best + too_long) // 2
    return at, at_training, best


class _Pair:
    """Two texts with prefix sums s_0 b^0 + s_1 b^1 + ..., from which any window's hash follows."""

    def __init__(self, text: str, train: str) -> None:
        self.text, self.train = text, train
        n = max(len(text), len(train))
        inverse = np.full(n + 1, pow(_BASE, -1, 2**64), np.uint64)
        inverse[0] = 1
        self._inverse = inverse.cumprod(dtype=np.uint64)
        powers = np.full(n + 1, _BASE, np.uint64)
        powers[0] = 1
        powers = powers.cumprod(dtype=np.uint64)
        self._text_sums, self._train_sums = _sums(text, powers), _sums(train, powers)

    def shared(self, length: int) -> dict[int, int]:
        """Return every place of the text whose next `length` characters the training text has.

        Each with the first place there.
        """
        verified = {}
        for at, candidate in self._candidates(length):
            found = self._verified(at, candidate, length)
            if found >= 0:
                verified[at] = found
        return verified

    def first_shared(self, length: int) -> tuple[int, int] | None:
        """Return the first of `shared`, or None if there is none."""
        for at, candidate in self._candidates(length):
            found = self._verified(at, candidate, length)
            if found >= 0:
                return at, found
        return None

    def _verified(self, at: int, candidate: int, length: int) -> int:
        """Return where the window stands in the training text; -1 if only the hashes agreed."""
        window = self.text[at : at + length]
        if self.train[candidate : candidate + length] == window:
            return candidate
        return self.train.find(window)

    def _candidates(self, length: int) -> list[tuple[int, int]]:
        """Return the windows of the text whose hash the training text has, and where first."""
        asked = self._window_hashes(self._text_sums, 0, len(self.text), length)
        if not len(asked) or len(self.train) < length:
            return []
        # A table of bits tells nearly all windows of the training text apart from the text's.
        shift = np.uint64(64 - min(24, 6 + max(10, len(asked).bit_length())))
        table = np.zeros(2 ** (64 - int(shift)), np.bool_)
        table[asked >> shift] = True
        hashes, places = [], []
        for begin in range(0, len(self.train) - length + 1, _PIECE):
            found = self._window_hashes(self._train_sums, begin, begin + _PIECE, length)
            near = np.flatnonzero(table[found >> shift])
            hashes.append(found[near])
            places.append(near + begin)
        first, index = np.unique(np.concatenate(hashes), return_index=True)
        place: _Positions = np.concatenate(places)[index]
        if not len(first):
            return []
        at = np.minimum(np.searchsorted(first, asked), len(first) - 1)
        hit = np.flatnonzero(first[at] == asked)
        return list(zip(hit.tolist(), place[at[hit]].tolist(), strict=True))

    def _window_hashes(self, sums: _Hashes, begin: int, end: int, length: int) -> _Hashes:
        """Return the hashes of the windows that begin at begin to end - 1, as many as there are."""
        end = min(end, len(sums) - length)
        if end <= begin:
            return np.empty(0, np.uint64)
        out: _Hashes = sums[begin + length : end + length] - sums[begin:end]
        out *= self._inverse[begin:end]
        out *= np.uint64(_BASE)  # spreads it over the high bits, which the table is asked with
        return out


def _sums(text: str, powers: _Hashes) -> _Hashes:
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64) + np.uint64(1)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    return sums
