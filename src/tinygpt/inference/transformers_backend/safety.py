"""The files of another family's model, looked at before transformers sees them.

Keys by which a file could make it run code are refused by name, at any depth: whoever opens a
folder must not have to trust it.
"""

import json
from pathlib import Path
from typing import Any

from tinygpt.errors import CheckpointError
from tinygpt.formats.model_folder import read_json

__all__ = ["read_external"]

_RUNS_CODE = (
    "auto_map",
    "trust_remote_code",
    "custom_pipelines",
    "_attn_implementation_internal",
    "_experts_implementation_internal",
)
"""Keys by which a config has made transformers run code from elsewhere; refused at any depth."""

_ATTENTION = (None, "eager", "sdpa")
"""attn_implementation may name these; any other may be a repository of code."""


def read_external(folder: Path) -> dict[str, Any]:
    """Read config.json of a model that transformers is to open.

    Raises:
        CheckpointError: a file names code to run, belongs to an adapter, or is missing.
    """
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        if (folder / name).exists():
            _refuse_code(read_json(folder / name), folder / name)
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder} holds an adapter (adapter_config.json) for another model; merge the two, "
            "and save them as one"
        )
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json, the one form of another family's tokenizer that "
            "tinygpt reads; save_pretrained of AutoTokenizer writes it"
        )
    return read_json(folder / "config.json")


def _refuse_code(value: Any, path: Path) -> None:
    if isinstance(value, list):
        for item in value:
            _refuse_code(item, path)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        bad = key in _RUNS_CODE and item not in (None, False)
        if key in ("attn_implementation", "_attn_implementation"):
            bad = isinstance(item, dict) or item not in _ATTENTION
        if bad:
            raise CheckpointError(
                f"{path}: {key}={json.dumps(item)[:60]} can name code to run, which tinygpt never "
                "does; take the key out if the model works without it"
            )
        _refuse_code(item, path)
