"""What the page's head says of each model that is served: sizes, tokenizer, engine, memory."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tinygpt.comparison.config_diff import config_files
from tinygpt.config.limits import SCORED_BYTES
from tinygpt.config.schema import to_dict
from tinygpt.errors import TinyGPTError
from tinygpt.evaluation.eval_texts import known_to_all, python_docs
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.external_config import account_of
from tinygpt.serve.models import Served, find
from tinygpt.tokenizers.describe import tokenization

__all__ = ["ServedModels", "about", "without_folders"]

MEASURED_ON = "python-docs"
"""The text of `bytes_per_token`: it is on every machine, and the same for all models."""

_FOLDERS = re.compile(r"(?<![\w.])/(?:[^/:;,\"'\n]+/)+")


class ServedModels:
    """The served models by the names that clients know, with what is worked out once."""

    def __init__(self, served: Sequence[Served]) -> None:
        self.served = tuple(replace(s, lm=replace(s.lm, name=s.name)) for s in served)
        self._by_name = {one.name: one for one in self.served}
        self._bytes_per_token: dict[str, float | None] = {}

    def find(self, name: str) -> Served:
        """Return the model of a name; Refusal 404 if none is called so."""
        return find(self._by_name, name)

    def bytes_per_token(self, served: Served) -> float | None:
        """Return the mean over MEASURED_ON; None where the tokenizer can't spell that text."""
        if served.name not in self._bytes_per_token:
            self._bytes_per_token[served.name] = _bytes_per_token(served.lm)
        return self._bytes_per_token[served.name]


def about(models: ServedModels, served: Served, run: str | None) -> dict[str, Any]:
    """Describe a model.

    Args:
        run: what its run is called on the page; None where it is no run.
    """
    lm, config = served.lm, served.lm.config
    costs, per_token = account_of(config), models.bytes_per_token(served)
    cache_bytes = costs.kv_cache_bytes
    native = lm.engine.name == "native"
    settings = to_dict(lm.generation_config)
    return {
        "name": served.name,
        "kind": "run" if run else "folder" if lm.commit is None else "hub",
        "model_type": config.model_type,
        "n_params": costs.n_params,
        **{key: getattr(config, key) for key in ("vocab_size", "n_positions", "n_layer")},
        **{key: getattr(config, key) for key in ("n_head", "n_embd")},
        "tokenizer": {
            "kind": lm.tokenizer.kind,
            "description": f"{tokenization(lm.tokenizer)}, {lm.tokenizer.vocab_size:,} tokens",
        },
        "bytes_per_token": per_token,
        "bytes_per_token_on": MEASURED_ON,
        "context_bytes": None if per_token is None else config.n_positions * per_token,
        "device": lm.engine.device,
        "dtype": "float32" if native else lm.engine.precision,
        "engine": lm.engine.name,
        "precision": lm.engine.precision,
        "threads": lm.engine.threads,
        "why_engine": lm.engine.why,
        "weights_bytes": costs.weights_bytes,
        "kv_cache_bytes": cache_bytes,
        "memory_bytes": costs.weights_bytes + (cache_bytes or 0) * served.batcher.n_slots,
        "trained_on": _trained_on(lm),
        "run": run,
        "notes": [without_folders(note, *_folder(lm)) for note in lm.notes],
        "generation": {key: settings[key] for key in settings if not key.endswith("_id")},
    }


def without_folders(message: str, *folders: Path) -> str:
    """Return a message with the names of files and folders, but not where they are.

    Args:
        folders: those that it may name by a path that is not absolute.

    Example:
        >>> without_folders("/home/me/run/config.json: not JSON")
        'config.json: not JSON'
    """
    for folder in filter(lambda folder: folder.name, folders):  # "." has none
        message = message.replace(str(folder), folder.name)
    return _FOLDERS.sub("", message)


def _folder(lm: LanguageModel) -> tuple[Path, ...]:
    return () if lm.path is None else (lm.path,)


def _trained_on(lm: LanguageModel) -> str | None:
    """Return the name of a run's corpus, without its folder; None where it is not known."""
    with suppress(TinyGPTError):
        files = config_files(lm.path, lm.config)
        name = files.get("training.json", {}).get("corpus", {}).get("corpus")
        return name if isinstance(name, str) else None
    return None


def _bytes_per_token(lm: LanguageModel) -> float | None:
    with suppress(TinyGPTError):
        known = known_to_all(_measured_text(), [lm.tokenizer])
        n_tokens = len(lm.tokenizer.encode(known))
        return len(known.encode()) / n_tokens if n_tokens else None
    return None


@cache
def _measured_text() -> str:
    return python_docs(SCORED_BYTES).text
