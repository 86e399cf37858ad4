"""Result of the lens: the bits of every token of a text. Plain data; report/ draws it. No torch.

A token's bits belong to all the bytes that it spans. Where a figure per character is wanted they
are spread evenly over those bytes, and two models are subtracted over the shortest stretches at
whose ends a token of each ends: so every sum is exact, and the totals are those of `evaluate`.
"""

import dataclasses
import importlib
import itertools
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.config.html_repr import table_html
from tinygpt.evaluation.result import Evaluation

__all__ = ["Alternative", "Lens", "Stretch", "Token", "View"]

SCHEMA_VERSION = 1
"""Version of the JSON document; fields are added under it, never renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A token that might have stood here."""

    token: str
    """Text of the token; bytes that form no whole character are backslash escapes."""
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of the text, and what it cost."""

    token: str
    """Text of the token; bytes that form no whole character are backslash escapes."""
    begin: int
    """Index of its first byte in the scored text."""
    end: int
    """Index of the byte after its last one."""
    bits: float
    """Cost in bits, its share of the escape code included."""
    rank: int | None
    """Rank by probability, 1 for the likeliest; None where the model gave no probabilities."""
    alternatives: tuple[Alternative, ...]
    """The five likeliest tokens here, best first; none where rank is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The text as one model sees it."""

    name: str
    path: str | None
    commit: str | None
    tokenization: str
    """"char", "byte" or "bpe"."""
    evaluation: Evaluation
    tokens: tuple[Token, ...]
    """In order, each byte of the text in exactly one; a character that the model lacks is one."""

    @property
    def bits(self) -> float:
        """What the whole text cost."""
        return math.fsum(token.bits for token in self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Whole characters at whose ends a token of every model ends; no shorter piece has that."""

    begin: int
    """Index of its first byte in the scored text."""
    end: int
    """Index of the byte after its last one."""
    text: str
    bits: tuple[float, ...]
    """What it cost each model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A text under one or two models; `to_json` is the document of `tinygpt lens --json`."""

    schema_version: int = SCHEMA_VERSION
    tinygpt_version: str
    name: str
    """Name of the text."""
    source: str
    """One line: where the text came from."""
    text: str
    """What was scored."""
    prefix_bytes: int
    """Unscored bytes right before it, the same for every model (each sees what fits)."""
    common_border: bool
    """False if some model has no token that begins where the text does (evaluation/boundary.py)."""
    views: tuple[View, ...]

    def stretches(self, alone: View | None = None) -> tuple[Stretch, ...]:
        """Cut the text where a token of every model ends and a character does.

        Args:
            alone: heed this model's tokens only.
        """
        views = self.views if alone is None else (alone,)
        wholes = dict(self._character_ends())  # byte -> character
        for one in views:
            ends = {token.end for token in one.tokens}
            wholes = {byte: character for byte, character in wholes.items() if byte in ends}
        bits = [_bits_between(one.tokens, wholes) for one in views]
        cuts = itertools.pairwise([(0, 0), *wholes.items()])
        return tuple(
            Stretch(begin=begin, end=end, text=self.text[first:last], bits=costs)
            for ((begin, first), (end, last)), costs in zip(
                cuts, zip(*bits, strict=True), strict=True
            )
        )

    def character_bits(self, one: View) -> tuple[float, ...]:
        """Return the bits of each character: a token's are spread evenly over its bytes."""
        share = [t.bits / (t.end - t.begin) for t in one.tokens for _ in range(t.begin, t.end)]
        ends = itertools.pairwise([0, *(byte for byte, _ in self._character_ends())])
        return tuple(math.fsum(share[begin:end]) for begin, end in ends)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data: the fields, and per view its character_bits; the stretches."""
        document = dataclasses.asdict(self)
        for table, one in zip(document["views"], self.views, strict=True):
            table["bits"] = one.bits
            table["character_bits"] = self.character_bits(one)
        document["stretches"] = [dataclasses.asdict(stretch) for stretch in self.stretches()]
        return document

    def to_json(self) -> str:
        """Return the document as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self, path: Path | str) -> None:
        """Write the HTML page. Deprecated: use `tinygpt.write_html(result, path)`."""
        said = "to_html is deprecated: use tinygpt.write_html(result, path)"
        warnings.warn(said, DeprecationWarning, stacklevel=2)
        # By name: an import statement would point from a result up to what draws it.
        importlib.import_module("tinygpt.report").write_html(self, path)

    def __repr__(self) -> str:
        """Name the models, with their figures, and the text."""
        views = ", ".join(f"{v.name} {v.evaluation.bits_per_byte:.4f}" for v in self.views)
        return f"<Lens on {self.name}, {len(self.text.encode()):,} bytes; bits per byte: {views}>"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook, one row per model."""
        head = ("model", "bits per byte", "bits", "tokens", "unknown characters")
        rows = [
            (
                one.name,
                f"{one.evaluation.bits_per_byte:.4f}",
                f"{one.bits:,.1f}",
                f"{one.evaluation.n_tokens:,}",
                f"{one.evaluation.n_unknown:,}",
            )
            for one in self.views
        ]
        return table_html(f"Lens on {self.name}", rows, head=head)

    def _character_ends(self) -> Iterator[tuple[int, int]]:
        """Yield the byte and the character after each character."""
        lengths = (len(character.encode()) for character in self.text)
        return ((byte, i) for i, byte in enumerate(itertools.accumulate(lengths), 1))


def _bits_between(tokens: Sequence[Token], cuts: Iterable[int]) -> list[float]:
    """Return the bits of the tokens up to each cut, from the one before."""
    rest = iter(tokens)
    sums = []
    for cut in cuts:
        costs = []
        for token in rest:
            costs.append(token.bits)
            if token.end == cut:
                break
        sums.append(math.fsum(costs))
    return sums
