"""A text of a comparison: its bytes, what they cost without a network, who is better on them."""

import hashlib
from dataclasses import dataclass

from tinygpt.baselines import Yardstick
from tinygpt.quality import Scoring
from tinygpt.significance import Difference
from tinygpt.texts import Text

__all__ = ["ScoredText", "scored_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A text that every model scored."""

    name: str
    source: str
    n_bytes: int
    n_characters: int
    sha256: str
    """Of the scored bytes."""
    prefix_bytes: int
    """Unscored bytes right before them, the same for every model."""
    common_border: bool
    """False if some model has no token that begins where the scored bytes do (border.py)."""
    public: bool
    """Of a named corpus, which models trained on web text have probably seen."""
    matched_context_bytes: float | None
    """Bytes of this text that the smallest context holds on average: what `matched` was scored
    with; None where no model was scored."""
    block_bytes: int
    """Of a block of the intervals."""
    differences: tuple[Difference, ...]
    """Of every two models, each with its own full context."""
    matched_differences: tuple[Difference, ...]
    """The same with matched_context_bytes of context."""
    no_interval: str | None
    """Why there are no differences; None where there are."""
    yardsticks: tuple[Yardstick, ...]
    """What the same bytes cost without a network."""


def scored_text(
    text: Text, common_border: bool, scoring: Scoring, yardsticks: tuple[Yardstick, ...]
) -> ScoredText:
    """Put together what is known of a text."""
    return ScoredText(
        name=text.name,
        source=text.described,
        n_bytes=len(text.text.encode()),
        n_characters=len(text.text),
        sha256=hashlib.sha256(text.text.encode()).hexdigest(),
        prefix_bytes=len(text.prefix.encode()),
        common_border=common_border,
        public=text.public,
        matched_context_bytes=scoring.matched_context_bytes,
        block_bytes=scoring.block_bytes,
        differences=scoring.differences,
        matched_differences=scoring.matched_differences,
        no_interval=scoring.no_interval,
        yardsticks=yardsticks,
    )
