"""What all rungs of a ladder are measured with, and how a rung says where it is or stops."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinygpt.data.corpora import Corpus
from tinygpt.evaluation.eval_texts import Text
from tinygpt.inference.device import Device
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import Architecture
from tinygpt.ladder.cost import Allowance

__all__ = ["LadderContext", "Stopped"]


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Leaves a rung half way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderContext:
    """What all rungs share: the corpus, the budget, the text, the device, the clock."""

    corpus: Corpus
    allowance: Allowance
    folder: Path
    """Of the ladder."""
    n_seeds: int
    text: Text
    """What every rung scores."""
    timed: str
    """What every rung is timed on."""
    device: Device
    opened: dict[str, LanguageModel | Architecture]
    """The models that rungs begin with, by name."""
    clock: Callable[[], float]
    stop: Callable[[], bool]

    def check(self) -> None:
        """Raise Stopped once it is time to stop."""
        if self.stop():
            raise Stopped
