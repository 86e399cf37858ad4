"""A model of the hub as a folder on this machine: looked up in the hub's cache, or downloaded.

The only module that knows huggingface_hub, whose cache, tokens and environment variables (HF_HOME,
HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE) are used as they are. The hub is asked once whether it has
the model; if it does not answer, what the cache holds is used. Only files that tinygpt reads are
downloaded, and each is checked against the hash that the hub's list of files gives.
"""

import errno
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

from tinygpt.errors import CheckpointError, MachineError, TinyGPTError
from tinygpt.formats.model_files import file_names, missing_file, wanted_files
from tinygpt.storage.network import NETWORK_BUDGET_S, ask_network

__all__ = ["cached_file", "is_blob", "snapshot"]

_COMMIT = re.compile(r"[0-9a-f]{40}")

_log = logging.getLogger(__name__)


def snapshot(
    repo: str,
    *,
    name: str,
    revision: str | None = None,
    allow_pickle: bool = False,
    suggestion: str = "",
) -> Path:
    """Return the folder of a model's files, named after their commit.

    Args:
        repo: "owner/name" on the hub.
        name: what the user called it; it may lie in the cache under that name too.
        revision: branch, tag or commit; None is the default branch.
        allow_pickle: take pytorch_model.bin where there are no safetensors.
        suggestion: what to add where the hub has no such model.

    Raises:
        CheckpointError: no such model or revision, a closed repository, one without a model.
        MachineError: neither the hub nor its cache on this machine gives the model now.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    cached, lacking = _look_in_cache((repo, name), revision, allow_pickle)
    if cached is not None and revision is not None and _COMMIT.fullmatch(revision):
        return cached  # a commit never changes
    if constants.HF_HUB_OFFLINE:
        trouble: TinyGPTError = MachineError("HF_HUB_OFFLINE is set")
    else:
        ask = HfApi().model_info
        try:
            info = ask_network(
                lambda: ask(repo, revision=revision, timeout=NETWORK_BUDGET_S, files_metadata=True),
                replies=(HfHubHTTPError,),
            )
        except HfHubHTTPError as error:
            trouble = _refusal(error, repo, revision, suggestion)
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


def cached_file(repo: str, name: str) -> Path | None:
    """Return a file of a model from the hub's cache, if it is there; nothing is asked."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name)
    return Path(found) if isinstance(found, str) else None


def is_blob(path: Path) -> bool:
    """Tell whether a path, without links in it, is a file of the hub's cache."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE).resolve()
    return path.is_relative_to(cache) and "blobs" in path.relative_to(cache).parts[:2]


# --- the cache


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
            missing = missing_file(folder, file_names(folder), allow_pickle)
            if missing is None:
                return folder, ""
            lacking = f"holds it without {missing}"
    return None, lacking


def _shown(folder: str) -> str:
    """Shorten a path below the user's home, so that reports can be passed on."""
    home = str(Path.home())
    return f"~{folder.removeprefix(home)}" if folder.startswith(home + os.sep) else folder


# --- the hub


def _download(
    repo: str, revision: str | None, info: Any, cached: Path | None, allow_pickle: bool
) -> Path:
    """Fetch what is missing of the files that the hub lists, the weights last."""
    from huggingface_hub import hf_hub_download

    listed = {file.rfilename: file for file in info.siblings or ()}
    wanted = wanted_files(repo, listed, allow_pickle)
    if cached is not None and cached.name == info.sha and wanted <= file_names(cached):
        return cached
    folders = set()
    _announce(repo, sum(listed[name].size or 0 for name in wanted))
    try:
        _probe(repo, info.sha)
        for name in sorted(wanted, key=lambda name: listed[name].size or 0):
            path = Path(hf_hub_download(repo, name, revision=revision))
            _check(path, listed[name])
            folders.add(path.parent)
    except Exception as error:  # of the hub, of the HTTP library, of the disk ...
        raise _interruption(error, repo, revision) from error
    folder = folders.pop()
    if folders or folder.name != info.sha:
        raise MachineError(f"{repo} changed on the hub while it was read; repeat the command")
    if missing := missing_file(folder, file_names(folder), allow_pickle):
        raise CheckpointError(f"{repo} has no {missing}, which its index of weights names")
    return folder


def _announce(repo: str, n_bytes: int) -> None:
    """Say that a download begins; whoever silences our log gets none of the library's either."""
    from huggingface_hub import constants, utils
    from huggingface_hub import logging as hub_logging

    _log.warning(
        "downloading %s (%.1f MB) into %s", repo, n_bytes / 1e6, _shown(constants.HF_HUB_CACHE)
    )
    if not _log.isEnabledFor(logging.WARNING):
        utils.disable_progress_bars()
        hub_logging.set_verbosity_error()


def _probe(repo: str, commit: str) -> None:
    """Find out soon whether the hub gives what it lists: the library would wait for minutes."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    url = hf_hub_url(repo, "config.json", revision=commit)
    ask_network(
        lambda: get_hf_file_metadata(url, timeout=NETWORK_BUDGET_S), replies=(HfHubHTTPError,)
    )


def _check(path: Path, announced: Any) -> None:
    """Compare a downloaded file with the hash in the hub's list; the library compares sizes."""
    size = path.stat().st_size
    expected, digest = announced.blob_id, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if announced.lfs is not None:
        expected, digest = announced.lfs.sha256, hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    if expected is None or digest.hexdigest() == expected:
        return
    for damaged in (path.resolve(), path):  # else the next command would take them for good
        damaged.unlink(missing_ok=True)
    raise MachineError(
        f"{path.name} arrived damaged ({size:,} bytes with hash {digest.hexdigest()}, the hub "
        f"lists {expected}) and was removed"
    )


def _interruption(error: Exception, repo: str, revision: str | None) -> TinyGPTError:
    """Say why a download broke off and what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
    if isinstance(cause, HfHubHTTPError):
        refusal = _refusal(cause, repo, revision)
        if isinstance(refusal, CheckpointError):
            return refusal
        reason = str(refusal)
    elif isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
        return MachineError(
            f"{repo}: the cache {_shown(constants.HF_HUB_CACHE)} can't be written: "
            f"{error.strerror}; make room there, or set HF_HOME to a folder of your own"
        )
    else:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
    return MachineError(
        f"{repo}: the download broke off ({reason}); repeat the command, whole files that have "
        "arrived are kept"
    )


def _refusal(error: Any, repo: str, revision: str | None, suggestion: str = "") -> TinyGPTError:
    """Say in one line what the hub's answer means, and whose turn it is."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(
            f'{repo} has no revision "{revision}" on the hub; its branches and tags are listed at '
            f"{constants.ENDPOINT}/{repo}"
        )
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(
            f"{repo} is gated: accept its terms at {constants.ENDPOINT}/{repo}, then run "
            "`hf auth login` (or set HF_TOKEN)"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"there is no folder {repo} here and no such model on the hub{suggestion} (if it is "
            "private: `hf auth login`)"
        )
    status = error.response.status_code
    if status in (401, 403):
        return CheckpointError(
            f"the hub refused {repo} ({status}); check HF_TOKEN: `hf auth whoami`"
        )
    return MachineError(f"the hub answered {status}")
