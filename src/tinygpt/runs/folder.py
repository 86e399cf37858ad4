"""The files of a run: a Hugging Face model folder from its first moment, with the run beside it.

Everything that does not change is written under a temporary name, and the folder appears in one
rename; later files are only ever replaced by rename, and metrics.jsonl grows by whole lines.
There is no torch here: weights come as arrays.
"""

import errno
import glob
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.schema import from_dict, to_dict
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.errors import CheckpointError, ConfigError, MachineError
from tinygpt.formats.model_folder import read_json
from tinygpt.runs.checkpoint import KEEP, Arrays, prune, save
from tinygpt.runs.lock import holder, is_alive, locked
from tinygpt.runs.log import METRICS, SAMPLES
from tinygpt.runs.names import RUNS, nearest_run
from tinygpt.storage.files import crash_point, free_bytes, sync_folder, temporary_name, write_file
from tinygpt.tokenizers.char_byte import Tokenizer

__all__ = [
    "CHECKPOINTS",
    "Recipe",
    "create",
    "read_environment",
    "read_recipe",
    "refuse_existing",
    "save_run",
]

CHECKPOINTS = "checkpoints"

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""All else that hinders a new folder is mended by another --out."""

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
    if "optimizer" not in data["optim"]:  # written before there was a choice
        data["optim"]["optimizer"], data["train"]["zero_init"] = "adamw", False
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
    if owner := holder(out):
        raise ConfigError(f"{out} is being trained by {owner}; choose another --out")
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
    first_checkpoint: Callable[[Path], object],
    held: ExitStack,
) -> None:
    """Make a run folder that is complete and held by this process when it appears.

    Args:
        first_checkpoint: called with the folder under construction; saves step 0 there, which
            shows a full disk before the training and not after it.
        held: gets the run's lock.

    Raises:
        ConfigError: `out` exists, or nothing can be made there.
        MachineError: the disk refused, or has no room for the checkpoints to come; nothing is left
            behind.
    """
    refuse_existing(out)
    temporary = temporary_name(out)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        kind = MachineError if error.errno in _DISK_ERRORS else ConfigError
        raise kind(f"{out} can't be made: {error.strerror}; choose another --out") from None
    try:
        _clear_earlier(out)
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
        _refuse_crowded(temporary, out)
        refuse_existing(out)
        crash_point("run: made")
        if os.name == "posix":  # elsewhere a folder with an open file can't be renamed
            held.enter_context(locked(temporary))
        temporary.rename(out)
        if os.name != "posix":
            held.enter_context(locked(out))
        crash_point("run: renamed")
        sync_folder(out.parent)
    except (MachineError, ConfigError, CheckpointError):
        raise
    except OSError as error:
        refuse_existing(out)  # made by somebody else meanwhile
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
) -> tuple[str, ...]:
    """Save a checkpoint of a run and let the model folder have the same weights; remove old ones.

    Args and what else is kept: `checkpoint.save` and `checkpoint.prune`.

    Returns:
        A line for each older checkpoint that turned out to be damaged.

    Raises:
        MachineError: the disk refused; what was there before is still whole.
        CheckpointError: a weight is not finite.
    """
    checkpoints = folder / CHECKPOINTS
    weights = folder / "model.safetensors"
    save(checkpoints, step, model=model, optimizer=optimizer, state=state, publish=weights)
    return prune(checkpoints, spare=spare)


def _clear_earlier(out: Path) -> None:
    """Delete what killed processes left of a run of that name."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _refuse_crowded(folder: Path, out: Path) -> None:
    """Raise MachineError if the disk can't hold the checkpoints that the run will have."""
    size = sum(path.stat().st_size for path in (folder / CHECKPOINTS).rglob("*") if path.is_file())
    needed, free = (KEEP + 1) * size, free_bytes(folder)
    if free < needed:
        raise MachineError(
            f"{out}: its checkpoints need {needed:,} bytes, {free:,} are free there; free space or "
            "choose another --out"
        )
