"""The files of a split config, written into a new folder: all of them or none."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygpt.doctor.fields import plain
from tinygpt.doctor.split import RUN_FILE, Split
from tinygpt.errors import ConfigError, MachineError

__all__ = ["toml_text", "write_split"]


def write_split(split: Split, folder: Path) -> list[Path]:
    """Write the files that could be made, and leftover.json if a key went nowhere.

    Returns:
        The files written.

    Raises:
        ConfigError: the folder is there already, or a value is not JSON; nothing is written then.
        MachineError: the disk failed.
    """
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists already; give a new folder, which is made")
    contents: dict[str, Any] = split.files()
    if split.left_over:
        contents["leftover.json"] = {key: plain(value) for key, value in split.left_over.items()}
    try:
        texts = {
            name: (toml_text(content) if name == RUN_FILE else _json(content)).encode()
            for name, content in contents.items()
        }
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a value can't be written: {error}") from None
    try:
        folder.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; give a new folder") from None
    except OSError as error:
        raise MachineError(f"{folder}: can't be made: {error.strerror}") from None
    try:
        for name, text in texts.items():
            (folder / name).write_bytes(text)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise MachineError(f"{folder}: can't be written: {error.strerror}") from None
    return [folder / name for name in texts]


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def toml_text(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a run file: tables of plain values; TOML has no null, so what is null is left out.

    Numbers, booleans, texts and lists of them look in TOML as in JSON, but for half-characters.
    """
    parts = []
    for name, table in tables.items():
        lines = [
            f"{key} = {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
            for key, value in table.items()
            if value is not None
        ]
        parts.append("\n".join([f"[{name}]", *lines]) + "\n")
    return "\n".join(parts).replace("\x7f", "\\u007f")
