"""The verdict of a Comparison in words: who is better by how much, or why that can't be said."""

from tinygpt.comparison import Comparison
from tinygpt.escape import visible
from tinygpt.report.palette import marks

__all__ = ["headline"]


def headline(comparison: Comparison) -> list[str]:
    """Return a sentence per text, then one per model that could not be judged."""
    names = {m.letter: f"{m.letter} ({m.name})" for m in marks(comparison.models)}
    letters = list(names)
    said = []
    for i, scored in enumerate(comparison.texts):
        known = []
        for letter, model in zip(letters, comparison.models, strict=True):
            evaluation = model.quality[i].evaluation
            if evaluation is not None:
                known.append((evaluation.bits_per_byte, letter))
        if known:
            said.append(f"On {visible(scored.name)}, {_standing(sorted(known), names)}")
        said += [f"{_sentence(str(difference))}." for difference in scored.differences]
        if len(known) > 1 and scored.no_interval:
            said.append(
                "Whether that is more than the luck of this text can't be said: "
                f"{visible(scored.no_interval)}."
            )
    missing = [
        names[letter]
        for letter, model in zip(letters, comparison.models, strict=True)
        if model.missing_weights is not None
    ]
    if missing:
        one = len(missing) == 1
        said.append(
            f"How well {' and '.join(missing)} predict{'s' if one else ''} can't be said: "
            f"{'its' if one else 'their'} weights are not at hand. Sizes, costs and tokens are "
            "true without them."
        )
    return said


def _standing(known: list[tuple[float, str]], names: dict[str, str]) -> str:
    """Say who pays how much; known is sorted, the best first."""
    (best, first), *others = known
    price = f"{names[first]} pays {best:.3f} bits per byte"
    if not others:
        return f"{price}."
    behind = ", ".join(
        f"{value - best:.3f} ({1 - best / value:.1%}) less than {names[letter]} with {value:.3f}"
        for value, letter in others
    )
    return f"{price}, {behind}."


def _sentence(words: str) -> str:
    """Begin with a capital what does not begin with a model's name."""
    words = visible(words)
    return f"N{words[1:]}" if words.startswith("no difference detected") else words
