"""The JSON files of a model folder: config.json and generation_config.json, read with care.

A folder with a training.json was written by tinygpt and is read strictly; any other is a Hugging
Face folder, whose stray keys are reported and left alone. Standard library only.
"""

import json
from pathlib import Path
from typing import Any

from tinygpt.errors import CheckpointError
from tinygpt.model_config import ModelConfig, stray_keys
from tinygpt.run_config import GenerationConfig

__all__ = ["read_config", "read_generation_config", "read_json"]

MAX_CONFIG_BYTES = 1_000_000
"""A config file larger than this is refused unread."""


def read_config(folder: Path) -> tuple[ModelConfig, tuple[str, ...]]:
    """Read a folder's config.json, strictly if tinygpt wrote it, and what to warn of."""
    data = read_json(folder / "config.json")
    own = (folder / "training.json").exists()
    config = ModelConfig.from_dict(data, where=str(folder / "config.json"), strict=own)
    strays = stray_keys(data)
    notes = (
        (f"{folder / 'config.json'}: no GPT-2 code reads {', '.join(map(repr, strays))}",)
        if strays
        else ()
    )
    return config, notes


def read_generation_config(folder: Path, config: ModelConfig) -> GenerationConfig:
    """Read a folder's generation_config.json; without one, the defaults and the config's ids."""
    path = folder / "generation_config.json"
    if not path.exists():
        return GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id)
    own = (folder / "training.json").exists()
    return GenerationConfig.from_dict(read_json(path), where=str(path), strict=own)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a model folder.

    Raises:
        CheckpointError: no such file, too large, not JSON, or not an object.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_CONFIG_BYTES:,} bytes: not a config")
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: no {path.name}; a model folder holds config.json, model.safetensors "
            "and tokenizer files"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data
