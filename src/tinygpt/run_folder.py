"""The files of a run: a Hugging Face model folder from its first moment, with the run beside it.

Everything that does not change is written under a temporary name, and the folder appears in one
rename; later files are only ever replaced by rename, and metrics.jsonl grows by whole lines.
There is no torch here: weights come as arrays.
"""

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.checkpoint import Arrays, save, write_file
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.generation_config import GenerationConfig
from tinygpt.model_config import ModelConfig
from tinygpt.model_folder import read_json
from tinygpt.run_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.run_log import METRICS, SAMPLES
from tinygpt.run_names import RUNS, nearest_run
from tinygpt.settings import from_dict, to_dict
from tinygpt.tokenizer import Tokenizer
from tinygpt.weights import write_safetensors

__all__ = [
    "CHECKPOINTS",
    "Recipe",
    "create",
    "locked",
    "read_environment",
    "read_recipe",
    "refuse_existing",
    "save_run",
]

CHECKPOINTS = "checkpoints"
_LOCK = "run.lock"

_TABLES: dict[str, type] = {
    "train": TrainConfig,
    "optim": OptimConfig,
    "corpus": CorpusConfig,
    "tokenizer": TokenizerConfig,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a run is trained: `training.json`."""

    train: TrainConfig
    optim: OptimConfig
    corpus: CorpusConfig
    tokenizer: TokenizerConfig
    start: str | None
    """Model that was fine-tuned ("from"): a folder's whole path, or a hub name with its commit;
    None for one trained from scratch."""
    start_sha256: str | None = None
    """Of the weights of that model ("from_sha256")."""
    data: dict[str, int]
    """Sizes of the corpus and its parts."""
    version: str
    """Of tinygpt."""

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of training.json."""
        tables = {name: to_dict(getattr(self, name)) for name in _TABLES}
        return {
            **tables,
            "from": self.start,
            "from_sha256": self.start_sha256,
            "data": self.data,
            "tinygpt_version": self.version,
        }


def read_recipe(folder: Path) -> Recipe:
    """Read a run's training.json.

    Raises:
        CheckpointError: no such folder, no run folder, or a file that is not ours.
        ConfigError: an unknown key or an impossible value.
    """
    if not os.path.exists(folder):
        raise CheckpointError(
            f"{folder} does not exist{nearest_run(str(folder))}; give a run folder, or its name "
            f"in {RUNS}/"
        )
    path = folder / "training.json"
    if not path.exists():
        raise CheckpointError(
            f"{folder} is not a run folder: it has no training.json; a run is made by "
            "`tinygpt train`"
        )
    data = read_json(path)
    if missing := [key for key in _TABLES if not isinstance(data.get(key), dict)]:
        raise CheckpointError(f'{path}: the table "{missing[0]}" is missing')
    tables: dict[str, Any] = {
        name: from_dict(cls, data[name], f"[{name}] of {path}") for name, cls in _TABLES.items()
    }
    return Recipe(
        **tables,
        start=data.get("from"),
        start_sha256=data.get("from_sha256"),
        data=data.get("data") or {},  # a split that the doctor wrote was never trained
        version=str(data.get("tinygpt_version")),
    )


def read_environment(folder: Path) -> dict[str, Any]:
    """Read a run's environment.json; empty where there is none.

    Raises:
        CheckpointError: not readable, or threads, device or dtype of the wrong type.
    """
    path = folder / "environment.json"
    if not path.exists():
        return {}
    data = read_json(path)
    for key, kind in (("threads", int), ("device", str), ("dtype", str)):
        if key in data and type(data[key]) is not kind:
            raise CheckpointError(
                f"{path}: {key} is {data[key]!r:.40}, not {kind.__name__}; mend or delete the file"
            )
    return data


def refuse_existing(out: Path) -> None:
    """Raise ConfigError if something bears that name already."""
    if os.path.lexists(out):
        raise ConfigError(
            f"{out} exists already, and a run is never overwritten; choose another --out, or go on "
            f"with it: `tinygpt resume {out}`"
        )


def create(
    out: Path,
    *,
    config: ModelConfig,
    generation_config: GenerationConfig,
    tokenizer: Tokenizer,
    recipe: Recipe,
    environment: Mapping[str, Any],
    first_checkpoint: Callable[[Path], None],
) -> None:
    """Make a run folder that is complete when it appears.

    Args:
        first_checkpoint: called with the folder under construction; saves step 0 there, which
            shows a full disk before the training and not after it.

    Raises:
        ConfigError: `out` exists.
        MachineError: the disk refused; nothing is left behind.
    """
    refuse_existing(out)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, data in (
            ("config.json", config.to_dict()),
            ("generation_config.json", generation_config.to_dict()),
            ("training.json", recipe.to_dict()),
            ("environment.json", dict(environment)),
        ):
            write_file(temporary / name, (json.dumps(data, indent=2) + "\n").encode())
        tokenizer.save(temporary, config.n_positions)
        for name in (METRICS, SAMPLES):
            write_file(temporary / name, b"")
        first_checkpoint(temporary)
        refuse_existing(out)
        temporary.rename(out)
    except (MachineError, ConfigError, CheckpointError):
        raise
    except OSError as error:
        raise MachineError(
            f"{out} can't be made: {error.strerror or error}; choose another --out"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_run(
    folder: Path,
    step: int,
    *,
    model: Arrays,
    optimizer: Arrays,
    state: dict[str, Any],
    spare: int | None = None,
) -> None:
    """Save a checkpoint of a run, then let the model folder have the same weights.

    Args and what else is kept: `checkpoint.save`.

    Raises:
        MachineError: the disk refused; what was there before is still whole.
        CheckpointError: a weight is not finite.
    """
    save(folder / CHECKPOINTS, step, model=model, optimizer=optimizer, state=state, spare=spare)
    write_safetensors(folder / "model.safetensors", model)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run for this process alone; the lock goes with the process, however it ends.

    Raises:
        CheckpointError: another process holds it.
        MachineError: the folder can't be written.
    """
    path = folder / _LOCK
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{path} can't be written: {error.strerror or error}") from None
    with file:
        if os.name == "posix":  # elsewhere nothing is locked (docs/model-folder.md)
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise CheckpointError(
                    f"{folder} is being trained by {file.read().strip() or 'another process'}; "
                    "wait until it ends, or stop it first"
                ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield
        file.truncate(0)
