"""Is this loss good? A model's figures beside its yardsticks, said in a few plain sentences.

Every sentence says which figures it rests on; the thresholds and their reasons stand below.
"""

from collections.abc import Sequence

from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.overlap import Overlap

__all__ = ["LEVEL", "OVERFIT", "RECITES", "rank", "verdict"]

LEVEL = 0.02
"""Figures closer than this share are called level. On 32 KiB, the length that is usually scored,
the interval of a paired difference reaches up to 1% to either side between n-grams (measured,
docs/measuring.md), and further between methods that have less in common."""

OVERFIT = 0.10
"""A held-out loss that is this share above the training loss is called overfitting. Up to about a
twentieth the two differ only because the end of a text is not like its beginning, or because the
last training steps are noisy; twice that is more than either explains."""

RECITES = 0.5
"""A sample of which more than this share is copied is more recited than written."""

_SHOWN = 60
"""Characters of a copied run that are quoted."""


def verdict(
    bits_per_byte: float,
    yardsticks: Sequence[Yardstick],
    *,
    train_loss: float | None = None,
    val_loss: float | None = None,
    sample: Overlap | None = None,
) -> tuple[str, ...]:
    """Say where a model stands, one sentence or two for each thing that is known.

    Args:
        bits_per_byte: of the model, on the text that the yardsticks scored.
        yardsticks: as `measure_yardsticks` returns them.
        train_loss, val_loss: nats per token at the end of training, of this model's tokenizer;
            nothing is said of the fit unless both are known.
        sample: what the model wrote, searched for in its training text.
    """
    said = []
    if yardsticks:
        said += [_standing(bits_per_byte, yardsticks), *_counting(bits_per_byte, yardsticks)]
    if train_loss is not None and val_loss is not None:
        behind = any(y.order and rank(bits_per_byte, y) >= 0 for y in yardsticks)
        said.append(_fit(train_loss, val_loss, behind))
    if sample is not None:
        said.append(_copied(sample))
    return tuple(said)


def rank(bits_per_byte: float, yardstick: Yardstick) -> int:
    """Return -1 if a model's figure is better than a yardstick, 0 if level, 1 if worse."""
    off = bits_per_byte - yardstick.bits_per_byte
    level = LEVEL * yardstick.bits_per_byte  # of a few bytes a compressor may make nothing at all
    return 0 if abs(off) <= level else 1 if off > 0 else -1


def _standing(bits_per_byte: float, yardsticks: Sequence[Yardstick]) -> str:
    parts = []
    for place, word in ((-1, "better than"), (0, "level with"), (1, "worse than")):
        names = [
            f"{y.name} ({y.bits_per_byte:.3f})"
            for y in sorted(yardsticks, key=lambda y: -y.bits_per_byte)
            if rank(bits_per_byte, y) == place
        ]
        if names:
            parts.append(f"{word} {_listed(names)}")
    return f"{bits_per_byte:.3f} bits per byte: {'; '.join(parts)}."


def _counting(bits_per_byte: float, yardsticks: Sequence[Yardstick]) -> list[str]:
    """Say what the standing among the n-grams means."""
    orders = [y for y in yardsticks if y.order is not None]
    if not orders:
        return []
    unbeaten = [y.order or 0 for y in orders if rank(bits_per_byte, y) >= 0]
    if 1 in unbeaten:
        return ["It has learned no more of this text than how frequent each byte is."]
    longest = max(y.order or 0 for y in orders)
    if unbeaten:
        return [
            f"Counting what follows the last {longest - 1} byte(s) in the training text predicts "
            "this text as well or better."
        ]
    return [f"It knows more than counting what follows the last {longest - 1} byte(s) can tell."]


def _fit(train_loss: float, val_loss: float, behind_counting: bool) -> str:
    figures = f"{train_loss:.3f} nats per token on training text, {val_loss:.3f} on held-out text"
    if val_loss > (1 + OVERFIT) * train_loss:
        return f"Overfitting: {figures}; more text, dropout or fewer steps would help."
    if behind_counting:
        return f"Underfitting: {figures}, and counting does as well; more steps would help."
    return f"No overfitting to be seen: {figures}."


def _copied(sample: Overlap) -> str:
    run = sample.longest[:_SHOWN] + ("..." if len(sample.longest) > _SHOWN else "")
    longest = f"the longest run has {len(sample.longest):,} characters ({run!r})"
    if not sample.n_copied:
        return (
            f"Nothing of {sample.span} or more characters in its sample stands in the training "
            f"text; {longest}."
        )
    recites = "It recites: " if sample.copied_share > RECITES else ""
    return (
        f"{recites}{sample.copied_share:.0%} of its sample stands word for word in the training "
        f"text, in runs of {sample.span} or more characters; {longest}."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
