"""Where models are surprised: the bits of every token of a text, aligned on the text's bytes.

A token's bits belong to all the bytes that it spans. Where a figure per character is wanted they
are spread evenly over those bytes, and two models are subtracted over the shortest stretches at
whose ends a token of each ends: so every sum is exact, and the totals are those of `evaluate`.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.comparison.compare import default_texts
from tinygpt.comparison.surprisal import Token, View, view
from tinygpt.config.limits import LENS_BYTES
from tinygpt.errors import ConfigError, MachineError
from tinygpt.evaluation.boundary import align
from tinygpt.evaluation.eval_texts import Text, own_text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import load
from tinygpt.progress import Progress, Tell
from tinygpt.storage.files import write_file
from tinygpt.tokenizers.char_byte import refuse_surrogates
from tinygpt.version import __version__

__all__ = ["Lens", "Stretch", "look"]

SCHEMA_VERSION = 1
"""Of the JSON document: fields are added under it, never renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Whole characters at whose ends a token of every model ends; no shorter piece has that."""

    begin: int
    """Its first byte in the scored text."""
    end: int
    """The byte after its last one."""
    text: str
    bits: tuple[float, ...]
    """What it cost each model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A text under one or two models; `to_json` is the document of `tinygpt lens --json`."""

    schema_version: int = SCHEMA_VERSION
    tinygpt_version: str
    name: str
    """Of the text."""
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
        """Write the page, one self-contained HTML file; MachineError if the disk refuses."""
        from tinygpt.report import lens_page  # a floor up: only for who wants it

        write_file(Path(path), lens_page(self).encode())

    def __repr__(self) -> str:
        """Name the models, with their figures, and the text."""
        views = ", ".join(f"{v.name} {v.evaluation.bits_per_byte:.4f}" for v in self.views)
        return f"<Lens on {self.name}, {len(self.text.encode()):,} bytes; bits per byte: {views}>"

    def _repr_html_(self) -> str:
        """Return the coloured text for a notebook."""
        from tinygpt.report import lens_fragment  # a floor up: only for who looks at it

        return lens_fragment(self)

    def _character_ends(self) -> Iterator[tuple[int, int]]:
        """Yield the byte and the character after each character."""
        lengths = (len(character.encode()) for character in self.text)
        return ((byte, i) for i, byte in enumerate(itertools.accumulate(lengths), 1))


def look(
    models: Sequence[LanguageModel | str | Path],
    text: Text | str | None = None,
    *,
    n_bytes: int | None = LENS_BYTES,
    context: int | None = None,
    stride: int | None = None,
    escape_unknown: bool | None = None,
    progress: Tell | None = None,
) -> Lens:
    """Score a text token by token under one or two models.

    With two, the border between prefix and text moves on as in a comparison (boundary.py).

    Args:
        models: opened ones, or anything that `load` opens.
        text: what to score; None takes the held-out part of the first run's corpus, or else
            python-docs. A str is a text of one's own, whose first line is the unscored prefix.
        n_bytes: how much of it; a Text is taken as it is.
        context, stride: as `evaluate`, for each model.
        escape_unknown: pay for characters outside a character model's vocabulary by the escape
            code; False refuses them. None pays with two models, as a comparison does, and refuses
            with one, as `evaluate` does.
        progress: told how far the work is.

    Raises:
        ConfigError: no model or more than two.
        MachineError: a model whose weights are random because the real ones are missing.
        TinyGPTError: a model that can't be opened or a text that can't be scored.
    """
    if not 1 <= len(models) <= 2:
        raise ConfigError(f"the lens takes one or two models, not {len(models)}")
    opened = [m if isinstance(m, LanguageModel) else load(m, engine="torch") for m in models]
    for lm in opened:
        if lm.missing_weights is not None:
            raise MachineError(f"{lm.name} has random weights: {lm.missing_weights}")
    if isinstance(text, str):
        refuse_surrogates(text)
        text = own_text(text, n_bytes)
    chosen = default_texts(opened, n_bytes)[0] if text is None else text
    common_border = True
    if len(opened) > 1:
        chosen, common_border = align(chosen, [lm.tokenizer for lm in opened])
    pays = len(opened) > 1 if escape_unknown is None else escape_unknown
    say = Progress(progress)
    views = []
    for i, lm in enumerate(opened):
        what = f"{lm.name} on {chosen.name}"
        say(what, i / len(opened))
        share = say.part(i / len(opened), 1 / len(opened)).named(what)
        views.append(view(lm, chosen, context, stride, pays, share))
    return Lens(
        tinygpt_version=__version__,
        name=chosen.name,
        source=chosen.described,
        text=chosen.text,
        prefix_bytes=len(chosen.prefix.encode()),
        common_border=common_border,
        views=tuple(views),
    )


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
