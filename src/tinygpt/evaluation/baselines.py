"""Yardsticks: what a text costs without a network, in bits per byte, beside any model's figure.

Uniform characters, byte frequencies, a smoothed n-gram, xz and bzip2, each on exactly the bytes
that the models score and behind the same prefix (docs/measuring.md). No torch; numpy and the
standard library.
"""

import bz2
import lzma
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tinygpt.errors import DataError
from tinygpt.evaluation.ngram import choose_order, ngram_nats

__all__ = ["TRAINING_BYTES", "Yardstick", "measure_yardsticks"]

TRAINING_BYTES = 2**21
"""At most so much of a training text is used, its end: more takes longer than it teaches."""

_BZIP2_BLOCK = 720_000
"""Bytes that surely fit into one block of bzip2: 900,000, which runs of 4 may lengthen by 1/4."""

_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What a text costs by one simple method."""

    name: str
    """What reports call it, such as "7-gram"."""
    bits_per_byte: float
    """Total bits / UTF-8 bytes of the scored text."""
    trained_on: str | None
    """What it saw before the scored bytes; None if nothing."""
    settings: str
    """One line: how it computes, with its numbers."""
    order: int | None = None
    """Of an n-gram: bytes, the predicted one included; None for the others."""


def measure_yardsticks(
    text: str,
    train: str = "",
    *,
    prefix: str = "",
    n_train_bytes: int | None = None,
    threads: int = 1,
) -> tuple[Yardstick, ...]:
    """Score a text by every yardstick.

    Args:
        text: the scored text, the same as the models'.
        train: the training part of the model's corpus, or its end; without one, only what needs
            none is measured: the compressors on the text alone.
        prefix: the unscored text right before it, the same as the models'. It may begin with the
            end of `train`, as that of a held-out part does: no byte is shown twice.
        n_train_bytes: bytes of the whole training part, where `train` is only its end.
        threads: how many texts are compressed at once.

    Returns:
        In this order: uniform, unigram, n-gram, xz and bzip2 alone, both after the training text.
        bzip2 after it is left out where the text fills a block of bzip2, which then forgets it.

    Raises:
        DataError: an empty text.
    """
    if not text:
        raise DataError("the text to score is empty; give at least one character")
    scored, before, whole = text.encode(), prefix.encode(), train.encode()
    alone = [_alone(name, scored) for name in _SIZES]
    if not train:
        return tuple(alone)
    n_whole = max(len(whole), n_train_bytes or 0)
    used = whole[-TRAINING_BYTES:]
    order = choose_order(used)
    counted = [_ngram(n, used, before, scored, _said(len(used), n_whole)) for n in (1, order)]
    extra = _not_in(used, before)
    primed = []
    for name in _SIZES:
        room = len(used) if name == "xz" else _BZIP2_BLOCK - len(extra) - len(scored)
        if room > 0:
            shown = used[-room:]
            said = _said(len(shown), n_whole)
            primed.append(_primed(name, scored, shown + extra, said, threads))
    return (_uniform(text, train), *counted, *alone, *primed)


def _uniform(text: str, train: str) -> Yardstick:
    """Every character of the training text equally likely, the others by the escape code.

    It is where an untrained character model starts; the escape code is the comparison's.
    """
    known, n_bytes = set(train), len(text.encode())
    unknown = "".join(c for c in text if c not in known)
    escape = 1 / (len(train) + 1)
    bits = (math.log2(len(known)) - math.log2(1 - escape)) * (len(text) - len(unknown))
    bits += -math.log2(escape) * len(unknown) + 8 * len(unknown.encode())
    return Yardstick(
        name="uniform",
        bits_per_byte=bits / n_bytes,
        trained_on="the distinct characters of the training text",
        settings=f"{len(known):,} characters, {len(unknown):,} unknown ones by the escape code",
    )


def _ngram(order: int, train: bytes, prefix: bytes, text: bytes, said: str) -> Yardstick:
    nats = math.fsum(ngram_nats(train, prefix, text, order).tolist())
    how = f"order {order}, chosen on the last 2% of the training text; modified Kneser-Ney"
    return Yardstick(
        name="unigram" if order == 1 else f"{order}-gram",
        bits_per_byte=nats / math.log(2) / len(text),
        trained_on=said,
        settings="frequencies of single bytes, smoothed" if order == 1 else how,
        order=order,
    )


def _alone(name: str, text: bytes) -> Yardstick:
    return Yardstick(
        name=f"{name} alone",
        bits_per_byte=8 * _SIZES[name](text) / len(text),
        trained_on=None,
        settings=f"the size of the compressed text; {_LEVELS[name]}",
    )


def _primed(name: str, text: bytes, shown: bytes, said: str, threads: int) -> Yardstick:
    with ThreadPoolExecutor(threads) as pool:  # compressors let other threads run
        with_text, without = pool.map(_SIZES[name], (shown + text, shown))
    return Yardstick(
        name=f"{name} after training text",
        bits_per_byte=8 * (with_text - without) / len(text),
        trained_on=said,
        settings=f"what the text adds to the compressed training text; {_LEVELS[name]}",
    )


def _not_in(train: bytes, prefix: bytes) -> bytes:
    """Return the prefix without that beginning which is the end of the training text."""
    for n in range(min(len(train), len(prefix)), 0, -1):
        if train.endswith(prefix[:n]):
            return prefix[n:]
    return prefix


def _said(n_used: int, n_whole: int) -> str:
    if n_used == n_whole:
        return f"the training text, {n_whole:,} bytes"
    return f"the last {n_used:,} of {n_whole:,} bytes of the training text"


def _xz(data: bytes) -> int:
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=_XZ_FILTERS))


def _bzip2(data: bytes) -> int:
    return len(bz2.compress(data, 9))


_SIZES: dict[str, Callable[[bytes], int]] = {"xz": _xz, "bzip2": _bzip2}
_LEVELS = {"xz": "LZMA2, preset 9e, without xz's container", "bzip2": "level 9"}
