"""What runs were trained on, read again: for yardsticks, for contamination, for copies in samples.

Of a large corpus only the end of the training part is read, and every figure says how much it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygpt.config.model_config import PRESETS
from tinygpt.data.batches import training_characters
from tinygpt.errors import TinyGPTError
from tinygpt.evaluation.baselines import Yardstick, measure_yardsticks
from tinygpt.evaluation.eval_texts import Text, run_corpus
from tinygpt.evaluation.overlap import Overlap, find_overlap
from tinygpt.formats.model_folder import read_training
from tinygpt.inference.language_model import LanguageModel

if TYPE_CHECKING:
    from tinygpt.comparison.result import Contamination

__all__ = [
    "SEARCHED_CHARACTERS",
    "TrainingText",
    "contamination",
    "copies",
    "read_training_text",
    "read_training_texts",
    "web_trained",
    "yardsticks",
]

SEARCHED_CHARACTERS = 2**21
"""At most so many characters of a training part are read, its end, as by the yardsticks."""

QUOTED_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingText:
    """The training part of a run's corpus, or its end."""

    name: str
    text: str
    n_characters: int
    """Of the whole training part."""
    n_bytes: int | None
    """Of the whole training part, where the run says so."""
    start: str | None
    """What was fine-tuned on it: a folder, or a hub name with its commit; None from scratch."""

    @property
    def described(self) -> str:
        """Say in one line what it is, without the folders of its owner."""
        start = self.start
        after = (
            f", after {Path(start).name if Path(start).is_absolute() else start}" if start else ""
        )
        return f"{self.n_characters:,} characters of {self.name}{after}"


def read_training_texts(models: Sequence[LanguageModel]) -> dict[str, TrainingText | str]:
    """Return the training text of each model by its name, or why it can't be had.

    Runs on the same corpus share one text.
    """
    by_hash: dict[str, TrainingText | str] = {}
    found: dict[str, TrainingText | str] = {}
    for lm in models:
        table = _training_json(lm.path)
        key = str((table.get("corpus") or {}).get("sha256"))
        if lm.path is None or not table:
            found[lm.name] = "what it was trained on is not known here"
            continue
        if key not in by_hash:
            by_hash[key] = _read(lm.path, table)
        text = by_hash[key]
        if isinstance(text, TrainingText):
            text = replace(text, start=table.get("from"))
        found[lm.name] = text
    return found


def web_trained(name: str, lm: LanguageModel | None) -> bool | None:
    """Say whether web text is behind a model; None where that is not known.

    It is behind published models and runs that began with one, not behind a run from scratch.

    Args:
        name: of the model.
        lm: the opened model; None where it could not be opened.
    """
    table = _training_json(lm.path) if lm else {}
    if "data" in table:  # only our runs say how much they read
        start = table.get("from")
        if start is None:
            return False
        return True if _published(start) else None
    if lm is not None and lm.commit is not None:
        return True
    is_folder = lm is not None and lm.path is not None  # it may be called like a published model
    return True if _published(name) and not is_folder else None


def yardsticks(
    text: Text, training: TrainingText | str | None, threads: int = 1
) -> tuple[Yardstick, ...]:
    """Score a text by the yardsticks, taught by a training text where there is one."""
    if not isinstance(training, TrainingText):
        return measure_yardsticks(text.text, prefix=text.prefix)
    return measure_yardsticks(
        text.text,
        training.text,
        prefix=text.prefix,
        n_train_bytes=training.n_bytes,
        threads=threads,
    )


def contamination(text: Text, training: TrainingText) -> "Contamination":
    """Search a scored text in a training text."""
    from tinygpt.comparison.result import Contamination  # a server's start does not wait for it

    found = _overlap(text.text, training.text)
    return Contamination(
        n_training_characters=training.n_characters,
        n_searched_characters=len(training.text),
        span=found.span,
        n_grams=found.n_grams,
        n_shared_grams=found.n_shared_grams,
        longest_characters=len(found.longest),
        longest=found.longest[:QUOTED_CHARACTERS],
    )


@lru_cache(maxsize=8)  # runs on the same corpus ask the same of the same texts
def _overlap(text: str, train: str) -> Overlap:
    return find_overlap(text, train)


def copies(sample: str | None, training: TrainingText | None) -> Overlap | None:
    """Search a sample in a training text; None where one of them is missing."""
    if not sample or training is None:
        return None
    return find_overlap(sample, training.text)


def read_training_text(run: Path) -> TrainingText | str:
    """Return the training text of a run folder, or why it can't be had.

    Raises:
        CheckpointError: its training.json is damaged.
    """
    return _read(run, _training_json(run))


def _published(name: str) -> bool:
    """Say whether it is a hub name with its commit, or a preset of one."""
    return not Path(name).is_absolute() and ("@" in name or (name in PRESETS and name != "tinygpt"))


def _training_json(folder: Path | None) -> dict[str, Any]:
    return {} if folder is None else read_training(folder)


def _read(run: Path, table: dict[str, Any]) -> TrainingText | str:
    try:
        corpus = run_corpus(run)
        n = training_characters(len(corpus.text))
        text = corpus.part(max(0, n - SEARCHED_CHARACTERS), n)
    except TinyGPTError as error:
        return f"its training text can't be had: {error}"
    sizes = table.get("data") or {}
    return TrainingText(
        name=corpus.title,
        text=text,
        n_characters=n,
        n_bytes=sizes.get("n_train_bytes"),
        start=None,
    )
