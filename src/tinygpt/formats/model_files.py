"""Which files make a model, told from their names: what is downloaded, what a folder lacks.

Nothing but an index of shards is opened. A pickle counts only where it is allowed.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError
from tinygpt.storage.files import read_small

__all__ = ["MAX_INDEX_BYTES", "MODEL_FOLDER", "file_names", "missing_file", "wanted_files"]

MODEL_FOLDER = "a model folder holds config.json, model.safetensors and tokenizer.json"

MAX_INDEX_BYTES = 4_000_000
"""Largest index of shards; one names the tensors that the headers name (safetensors_header.py)."""

_FILES = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|vocab)\.json|merges\.txt"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
)
_PICKLES = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json")


def wanted_files(repo: str, names: Iterable[str], allow_pickle: bool) -> set[str]:
    """Choose from a repository's file names; all are plain names, without a folder.

    Raises:
        CheckpointError: they make no model that tinygpt reads, or one whose weights are a pickle.
    """
    offered = set(names)
    wanted = {name for name in offered if _FILES.fullmatch(name)}
    pickles = {name for name in offered if _PICKLES.fullmatch(name)}
    if pickles and not any(name.endswith(".safetensors") for name in wanted):
        if not allow_pickle:
            raise CheckpointError(
                f"{repo} has its weights only as a pickle (pytorch_model.bin), which can hold "
                "code; add --allow-pickle if you trust its owner"
            )
        wanted |= pickles
    if missing := missing_file(None, wanted, allow_pickle):
        raise CheckpointError(f"{repo} has no {missing}; {MODEL_FOLDER}")
    return wanted


def missing_file(folder: Path | None, names: Collection[str], allow_pickle: bool) -> str | None:
    """Name the first file that a model with these file names lacks, shards of weights included.

    Args:
        folder: where an index of shards can be read; None takes the index for granted.
    """
    if "config.json" not in names:
        return "config.json"
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= set(names):
        return "tokenizer.json"
    for weights in ("model.safetensors", "pytorch_model.bin")[: 1 + allow_pickle]:
        if weights in names:
            return None
        if f"{weights}.index.json" in names:
            shards = _shards(folder / f"{weights}.index.json") if folder else set()
            return next(iter(sorted(shards - set(names))), None)
    return "model.safetensors"


def file_names(folder: Path) -> set[str]:
    """Return the names of the files directly in a folder."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def _shards(index: Path) -> set[str]:
    try:
        return {
            str(name)
            for name in parse_json(read_small(index, MAX_INDEX_BYTES))["weight_map"].values()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {index.name}  # an index that can't be read: whoever loads it says more
