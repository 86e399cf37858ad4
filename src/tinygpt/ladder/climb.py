"""The ladder: from TinyGPT to distilgpt2 one change at a time, each rung measured alike.

Every rung gets its sizes, its speeds and bits per byte of the same held-out bytes, trained within
the same budget as an ordinary run in the ladder's folder (train.py). What can't be trained
here keeps what can be measured. The same call again goes on where the last one ended.
"""

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinygpt.config.engine_options import DEFAULT_OPTIONS, EngineOptions
from tinygpt.config.limits import SCORED_BYTES
from tinygpt.config.model_config import ModelConfig
from tinygpt.data.corpora import Corpus
from tinygpt.errors import ConfigError, MachineError
from tinygpt.evaluation.boundary import align
from tinygpt.evaluation.eval_texts import Text, held_out_part
from tinygpt.inference.device import environment, pick_device
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import Architecture, open_model
from tinygpt.ladder.changes import Change
from tinygpt.ladder.context import LadderContext, Stopped
from tinygpt.ladder.cost import Allowance
from tinygpt.ladder.measure import measure_rung
from tinygpt.ladder.results import (
    LADDER,
    Ladder,
    RungResult,
    read_ladder,
    same_ladder,
    write_ladder,
)
from tinygpt.ladder.rung import Rung, differing, resolve
from tinygpt.model.external_config import gpt2_config
from tinygpt.runs.lock import locked
from tinygpt.version import __version__

__all__ = ["At", "climb"]

_LOCK = "run.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where the work on a ladder is."""

    rung: int
    """From 1."""
    n_rungs: int
    name: str
    doing: str
    share: float
    """Of this rung's work in hand, 0 to 1."""
    left_s: float | None
    """To the end of the ladder, estimated; None as long as nothing is known."""


def climb(
    changes: Sequence[Change],
    corpus: Corpus,
    allowance: Allowance,
    options: EngineOptions = DEFAULT_OPTIONS,
    *,
    out: Path | str,
    n_seeds: int = 1,
    n_bytes: int | None = SCORED_BYTES,
    clock: Callable[[], float] = time.monotonic,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[At], None] = lambda at: None,
) -> Iterator[Ladder]:
    """Measure one rung after the other.

    What can be refused is refused by this call; the folder appears with the first ladder.

    Args:
        changes: the rungs, such as DEFAULT_RUNGS.
        corpus: a text; its last 10% are scored, the rest is trained on.
        allowance: budget of each training run.
        options: device, dtype and threads of the training; the models that rungs begin with are
            run by torch in float32.
        out: folder of the runs and of ladder.json. A ladder that is there already is gone on with.
        n_seeds: training runs of each rung.
        n_bytes: how much of the held-out part is scored; None for all.
        clock: seconds; tests inject it.
        stop: asked often; once it says True the run in hand is saved and the ladder ends.
        progress: told where the work is.

    Yields:
        The ladder as it is found, then after each rung. If stopped, the last one is not complete.

    Raises:
        ConfigError: impossible rungs, other settings than the ladder in `out` began with, or
            something else in `out`.
        TinyGPTError: a model that a rung begins with can't be opened, a text too short.
        MachineError: the disk refused.
    """
    if n_seeds < 1:
        raise ConfigError(f"seeds={n_seeds} is not allowed: at least 1")
    picked, folder = pick_device(options.device, options.dtype, options.threads), Path(out)
    start_options = replace(options, engine="torch", dtype="auto")
    opened: dict[str, LanguageModel | Architecture] = {}

    def config_of(name: str) -> ModelConfig:
        if name not in opened:
            opened[name] = open_model(name, start_options)
        return gpt2_config(opened[name].config)

    rungs = resolve(changes, corpus, config_of)
    text, _ = align(held_out_part(corpus, n_bytes), ())
    machine = environment(picked)
    settings = {
        **asdict(allowance),
        "seeds": n_seeds,
        "scored_bytes": n_bytes,
        "corpus": corpus.title,
        "corpus_sha256": corpus.sha256,
        **{name: machine[name] for name in ("device", "dtype", "threads")},
    }
    ladder = _ladder(folder, settings, machine, text, [rung.to_dict() for rung in rungs])
    context = LadderContext(
        corpus=corpus,
        allowance=allowance,
        folder=folder,
        n_seeds=n_seeds,
        text=text,
        timed=_timed(text.text, rungs),
        device=picked,
        opened=opened,
        clock=clock,
        stop=stop,
    )
    return _climb(ladder, rungs, context, progress)


def _ladder(
    folder: Path,
    settings: dict[str, Any],
    machine: dict[str, Any],
    text: Text,
    plan: list[dict[str, Any]],
) -> Ladder:
    """Return the ladder that is in the folder, or a new one."""
    if (folder / LADDER).is_file():
        ladder = read_ladder(folder)
        same_ladder(folder, ladder, settings, plan)
        return ladder
    if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - {_LOCK}):
        raise ConfigError(f"{folder} exists and holds no {LADDER}; choose another --out")
    return Ladder(
        tinygpt_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=settings,
        machine=machine,
        text={
            "name": text.name,
            "source": text.described,
            "n_bytes": len(text.text.encode()),
            "sha256": hashlib.sha256(text.text.encode()).hexdigest(),
            "prefix_bytes": len(text.prefix.encode()),
        },
        plan=tuple(plan),
        rungs=(),
    )


def _timed(text: str, rungs: Sequence[Rung]) -> str:
    """Return the text that all rungs are timed on: as long as the smallest context holds."""
    n_positions = min(rung.model.n_positions for rung in rungs)
    return text[: max(n for n in (16, 32, 64, 128, 256, 512, 1024) if n <= max(16, n_positions))]


def _climb(
    ladder: Ladder, rungs: Sequence[Rung], context: LadderContext, progress: Callable[[At], None]
) -> Iterator[Ladder]:
    try:
        context.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{context.folder} can't be made: {error.strerror or error}") from None
    with locked(context.folder):
        if not (context.folder / LADDER).exists():
            write_ladder(context.folder, ladder)
        yield ladder
        for index, rung in enumerate(rungs):
            if _is_done(ladder, index, rung, context):
                continue
            tell = _Teller(rungs, index, ladder.rungs, context, context.clock(), progress)
            changed = differing(rungs[index - 1] if index else None, rung)
            first = next((r.runs[0].train_bytes for r in ladder.rungs if r.runs), None)
            try:
                result = measure_rung(rung, index + 1, changed, first, context, tell)
            except Stopped:
                return
            ladder = ladder.with_rung(index, result)
            write_ladder(context.folder, ladder)
            yield ladder


def _is_done(ladder: Ladder, index: int, rung: Rung, context: LadderContext) -> bool:
    """Say whether a rung was measured: not if weights or a vocabulary are here that were not."""
    if index >= len(ladder.rungs):
        return False
    result = ladder.rungs[index]
    if rung.start is None:
        return result.cost.bytes_per_token is not None
    return result.missing_weights is None or bool(context.opened[rung.start].missing_weights)


@dataclass(frozen=True, slots=True)
class _Teller:
    """Says where the work on one rung is."""

    rungs: Sequence[Rung]
    index: int
    done: Sequence[RungResult]
    context: LadderContext
    began_s: float
    progress: Callable[[At], None]

    def __call__(self, doing: str, share: float) -> None:
        spent_s = self.context.clock() - self.began_s
        left_s = _left_s(self.rungs[self.index :], self.done, self.context, spent_s)
        name, n_rungs = self.rungs[self.index].name, len(self.rungs)
        number = self.index + 1
        at = At(rung=number, n_rungs=n_rungs, name=name, doing=doing, share=share, left_s=left_s)
        self.progress(at)


def _left_s(
    to_come: Sequence[Rung], done: Sequence[RungResult], context: LadderContext, spent_s: float
) -> float | None:
    """Estimate the rest: a rung takes what the others took, or the minutes that it may take."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for result in done:
        took[result.cost.training_memory_bytes is not None].append(result.elapsed_s)
    minutes = context.allowance.minutes

    def expected_s(rung: Rung) -> float | None:
        known = took[rung.trained]
        if known:
            return statistics.mean(known)
        if not rung.trained:
            return 0.0
        return None if minutes is None else 60 * minutes * context.n_seeds

    expected = [expected_s(rung) for rung in to_come]
    if any(seconds is None for seconds in expected):
        return None
    first, *rest = (seconds or 0.0 for seconds in expected)
    return max(0.0, first - spent_s) + sum(rest)
