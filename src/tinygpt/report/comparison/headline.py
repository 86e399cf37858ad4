"""The verdict of a Comparison in words: who is better by how much, or why that can't be said."""

from tinygpt.comparison.result import Comparison
from tinygpt.escape import visible
from tinygpt.report.charts.palette import Mark, marks

__all__ = ["headline"]


def headline(comparison: Comparison) -> list[str]:
    """Return a sentence per text, then one per model that could not be judged."""
    models = {mark.letter: mark for mark in marks(comparison.models)}
    names = {letter: _called(mark) for letter, mark in models.items()}
    letters = list(names)
    said = []
    for i, scored in enumerate(comparison.texts):
        known = []
        for letter, model in zip(letters, comparison.models, strict=True):
            evaluation = model.quality[i].evaluation
            if evaluation is not None:
                known.append((evaluation.bits_per_byte, letter))
        if known:
            alike = [
                {visible(difference.first), visible(difference.second)}
                for difference in scored.differences
                if not difference.detected
            ]
            standing = _standing(sorted(known), models, alike)
            said.append(f"On {visible(scored.name)}, {standing}")
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


def _standing(
    known: list[tuple[float, str]], models: dict[str, Mark], alike: list[set[str]]
) -> str:
    """Say who pays how much; known is sorted, the best first.

    Args:
        known: bits per byte and letter.
        models: by letter.
        alike: pairs of names between which no difference was detected.
    """
    (best, first), *others = known
    said = [f"{_called(models[first])} pays {best:.3f} bits per byte"]
    for value, letter in others:
        other = f"{_called(models[letter])} with {value:.3f}"
        if {models[first].name, models[letter].name} in alike:
            said.append(f"no difference detected from {other}")
        elif f"{value:.3f}" == f"{best:.3f}":
            said.append(f"as much as {other}")
        else:
            said.append(f"{value - best:.3f} ({1 - best / value:.1%}) less than {other}")
    return f"{', '.join(said)}."


def _called(mark: Mark) -> str:
    return f"{mark.letter} ({mark.name})"


def _sentence(words: str) -> str:
    """Begin with a capital what does not begin with a model's name."""
    words = visible(words)
    return f"N{words[1:]}" if words.startswith("no difference detected") else words
