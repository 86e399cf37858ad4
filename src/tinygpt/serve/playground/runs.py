"""The runs that the page may show: those in the runs folder, and those that are served.

They are found by listing; a name from outside is looked up among them and never becomes a path. A
link in the runs folder is not followed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.errors import TinyGPTError, did_you_mean
from tinygpt.formats.model_folder import read_config, read_training
from tinygpt.model.costs import n_params
from tinygpt.runs.lock import LOCK, holder
from tinygpt.runs.log import METRICS
from tinygpt.serve.errors import Refusal
from tinygpt.serve.playground.logs import last_event, regular
from tinygpt.serve.playground.models import ServedModels

__all__ = ["RunEntry", "Runs", "described", "state"]

MAX_RUNS = 500
"""Listed, the newest first; the answer says how many are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """A run folder, and what the page calls it."""

    name: str
    folder: Path
    served: str | None
    """The model that is served from it."""


class Runs:
    """All runs that may be shown."""

    def __init__(self, models: ServedModels, folder: Path) -> None:
        self._models, self._folder = models, folder

    def all(self) -> dict[str, RunEntry]:
        """Return the runs that there are now, by name."""
        served = {
            one.lm.path.resolve(): one.name
            for one in self._models.served
            if one.lm.path is not None and _is_run(one.lm.path)
        }
        found = {}
        for path in _folders(self._folder):
            if _is_run(path):
                name = served.pop(path.resolve(), None)
                found[path.name] = RunEntry(name=path.name, folder=path, served=name)
        for path, name in served.items():  # those that lie elsewhere
            shown, n = path.name, 1
            while shown in found:
                n += 1
                shown = f"{path.name} ({n})"
            found[shown] = RunEntry(name=shown, folder=path, served=name)
        return found

    def find(self, name: str) -> RunEntry:
        """Return the run of a name; Refusal 404 if none is called so."""
        found = self.all()
        if name not in found:
            raise Refusal(404, f'there is no run "{name[:100]}"{did_you_mean(name, found)}')
        return found[name]

    def listed(self) -> dict[str, Any]:
        """Return what the list of runs shows, the newest first."""
        newest = sorted(((_modified(run.folder), run) for run in self.all().values()), key=_order)
        rows = [{**described(run), "modified": when} for when, run in newest[:MAX_RUNS]]
        return {"runs": rows, "left_out": max(0, len(newest) - MAX_RUNS)}


def described(run: RunEntry) -> dict[str, Any]:
    """Return a run's name, state, corpus and size, as far as they can be read."""
    corpus = size = None
    with suppress(TinyGPTError):
        name = (read_training(run.folder).get("corpus") or {}).get("corpus")
        corpus = Path(name).name if isinstance(name, str) else None
    with suppress(TinyGPTError):
        size = n_params(read_config(run.folder)[0])
    return {
        "name": run.name,
        "served": run.served,
        "state": state(run.folder),
        "corpus": corpus,
        "n_params": size,
    }


def state(folder: Path) -> str:
    """Say whether a run is training, finished or stopped."""
    if regular(folder / LOCK) and holder(folder):
        return "training"
    with suppress(TinyGPTError):
        last = last_event(folder / METRICS)
        return "finished" if last and last.get("final") is True else "stopped"
    return "stopped"


def _is_run(folder: Path) -> bool:
    return regular(folder / "training.json") and regular(folder / METRICS)


def _folders(parent: Path) -> Iterator[Path]:
    """Yield the folders in a folder, but for hidden ones and links."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _modified(folder: Path) -> float:
    try:
        return (folder / METRICS).lstat().st_mtime
    except OSError:  # it is gone
        return 0.0


def _order(found: tuple[float, RunEntry]) -> tuple[float, str]:
    return -found[0], found[1].name
