"""The JSON files of a model folder: config.json and generation_config.json, read with care.

A folder with a training.json was written by tinygpt and is read strictly; any other is a Hugging
Face folder, whose stray keys are reported and left alone. Standard library only.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import GPT2_EOT_ID, ModelConfig, stray_keys
from tinygpt.config.schema import parse_json
from tinygpt.errors import CheckpointError
from tinygpt.model.external_config import AnyConfig
from tinygpt.storage.files import read_small

__all__ = ["read_config", "read_generation_config", "read_json", "read_training"]

MAX_CONFIG_BYTES = 1_000_000
"""A config file larger than this is refused unread."""

MAX_KEYS = 500
"""And one with more keys at its top: GPT-2's has about 40."""


def read_config(folder: Path) -> tuple[ModelConfig, tuple[str, ...]]:
    """Read a folder's config.json, strictly if tinygpt wrote it, and what to warn of."""
    data = read_json(folder / "config.json")
    own = (folder / "training.json").exists()
    config = ModelConfig.from_dict(data, where=str(folder / "config.json"), strict=own)
    return config, tuple(f"{folder / 'config.json'}: {note}" for note in _notes(data, config))


def read_generation_config(folder: Path, config: AnyConfig) -> GenerationConfig:
    """Read a folder's generation_config.json; without one, the defaults and the config's ids."""
    path = folder / "generation_config.json"
    if not path.exists():
        return GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id)
    own = (folder / "training.json").exists()
    return GenerationConfig.from_dict(read_json(path), where=str(path), strict=own)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a model folder; also one that a JSON text holds.

    Raises:
        CheckpointError: no such file, too large, not JSON, or not an object.
    """
    try:
        try:
            raw = read_small(path, MAX_CONFIG_BYTES)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}: not a config") from None
        data = parse_json(raw.decode())
        if isinstance(data, str):  # published so: dumped twice
            data = parse_json(data)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: no {path.name}; a model folder holds config.json, model.safetensors "
            "and tokenizer files"
        ) from None
    except (ValueError, RecursionError) as error:
        why = str(error).partition("; use sys")[0]  # Python's advice to programmers
        if isinstance(error, RecursionError):
            why = "nested too deeply"
        raise CheckpointError(
            f"{path}: not readable as JSON: {why}; mend it, or copy it again"
        ) from None
    except CheckpointError:
        raise
    except OSError as error:
        mend = "; chmod it" if isinstance(error, PermissionError) else ""
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}{mend}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(data).__name__}")
    if len(data) > MAX_KEYS:
        raise CheckpointError(f"{path}: {len(data):,} keys, more than the {MAX_KEYS} of any config")
    return data


def read_training(folder: Path) -> dict[str, Any]:
    """Read what a folder's training.json says of its corpus and data; {} without one.

    Raises:
        CheckpointError: as `read_json`, or one of the two is no object.
    """
    path = folder / "training.json"
    if not path.is_file():
        return {}
    data = read_json(path)
    for key in ("data", "corpus"):
        if not isinstance(data.get(key) or {}, dict):
            raise CheckpointError(f"{path}: {key} is {data[key]!r:.60}, not an object with keys")
    return data


def _notes(data: dict[str, Any], config: ModelConfig) -> Iterator[str]:
    """Yield what a reader of this config.json may not expect."""
    if strays := stray_keys(data):
        yield f"no GPT-2 code reads {', '.join(f'{key!r:.60}' for key in strays)}"
    if data.get("n_ctx", config.n_positions) != config.n_positions:
        yield f"n_ctx={data['n_ctx']!r:.60} is vestigial; n_positions={config.n_positions} counts"
    if config.vocab_size <= GPT2_EOT_ID and GPT2_EOT_ID in (
        data.get("bos_token_id"),
        data.get("eos_token_id"),
    ):
        yield (
            f"bos/eos {GPT2_EOT_ID} is GPT2Config's default and no id of this vocabulary of "
            f"{config.vocab_size:,}; taken as none"
        )
