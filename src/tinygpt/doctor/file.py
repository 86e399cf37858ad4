"""A config read from a file or stdin, whatever it is written in: JSON, Python, TOML or YAML.

Nothing is run and nothing is repaired; what was passed over is said. Which language it is follows
from the file's ending, else from what it can be read as. A fenced block in a text is taken out.
"""

import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tinygpt.doctor.fields import Computed
from tinygpt.doctor.python import read_python
from tinygpt.doctor.yaml import read_yaml
from tinygpt.errors import ConfigError, MachineError

__all__ = ["ConfigFile", "n_ids_beside", "parse_config", "read_config_file"]

MAX_BYTES, MAX_DEPTH, MAX_KEYS = 1_000_000, 20, 500
"""A config beyond any of these is refused."""

MAX_CHARACTERS = 100_000
"""And so is a longer one that is not JSON: the readers are slow on long nonsense."""

MAX_DOTS = 200
"""A TOML key of more parts is refused: tomllib's time grows with their square and worse."""

MAX_TOKENIZER_BYTES = 32_000_000
"""A tokenizer file beyond that is not counted."""

_FENCE = re.compile(r"^ {0,3}```[ \t]*([\w.+-]*)[^\n]*\n(.*?)^ {0,3}```", re.M | re.S)
_LANGUAGES = {
    "json": "JSON",
    "py": "Python",
    "python": "Python",
    "toml": "TOML",
    "yaml": "YAML",
    "yml": "YAML",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """What a config says, and how it was read."""

    name: str
    """The file's path, or "stdin"."""
    language: str
    """JSON, Python, TOML or YAML."""
    data: dict[str, Any]
    """Plain values, tables in tables; Computed for what only running would tell."""
    notes: tuple[str, ...]
    """What was passed over or read in a way that others don't, one line each."""
    n_token_ids: int | None = None
    """Ids of the tokenizer.json or vocab.json that lies beside the file."""


def read_config_file(path: Path) -> ConfigFile:
    """Read a config of at most 1 MB, 20 levels and 500 keys.

    Raises:
        ConfigError: it is no such file; the message names the line where there is one.
        MachineError: the disk failed.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"{path}: {error.strerror}; give a JSON, Python, TOML or YAML file"
        ) from None
    except (OSError, ValueError) as error:
        raise MachineError(f"{path}: can't be read: {error}") from None
    return parse_config(
        raw,
        str(path),
        language=_LANGUAGES.get(path.suffix[1:].lower()),
        n_token_ids=n_ids_beside(path.parent),
    )


def parse_config(
    raw: bytes, name: str, *, language: str | None = None, n_token_ids: int | None = None
) -> ConfigFile:
    """Read a config from its bytes; without a language it is found out.

    Raises:
        ConfigError: as read_config_file.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_BYTES:,} bytes, which no config is")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 text ({error}); save it as UTF-8") from None
    if not text.strip():
        raise ConfigError(f"{name} is empty; give a file with settings in it")
    notes: list[str] = []
    if language is None and (blocks := _FENCE.findall(text)):
        tag, text = blocks[0]
        language = _LANGUAGES.get(tag.lower())
        if len(blocks) > 1:
            notes.append(f"the first of {len(blocks)} fenced blocks is read")
    try:
        if language is None:
            language = _recognised(text)
        if language != "JSON" and len(text) > MAX_CHARACTERS:
            raise ConfigError(f"larger than {MAX_CHARACTERS:,} characters, which no config is")
        data, more = _READERS[language](text)
        _check(data)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return ConfigFile(
        name=name,
        language=language,
        data=data,
        notes=(*notes, *more),
        n_token_ids=n_token_ids,
    )


def _recognised(text: str) -> str:
    """Return the first language in which a text is a table with something in it."""
    first = text.lstrip()[:1]
    order = ["JSON", "Python", "YAML"] if first == "{" else ["TOML", "Python", "YAML"]
    for language in order if len(text) <= MAX_CHARACTERS else ["JSON"]:
        try:
            data, _ = _READERS[language](text)
        except ConfigError:
            continue
        if isinstance(data, dict) and data:
            return language
    if first in ("{", "["):
        return "JSON"  # whose message then says what is wrong
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"larger than {MAX_CHARACTERS:,} characters, which no config is")
    raise ConfigError("neither JSON nor Python, TOML or YAML with settings in it; see --help")


def _json(text: str) -> tuple[Any, list[str]]:
    notes = []
    try:
        data = _loads(text)
        if isinstance(data, str) and data.lstrip().startswith("{"):
            data = _loads(data)
            notes.append("the file is a text that holds JSON: it was written twice over")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: {error.msg}; read as JSON") from None
    except RecursionError:
        raise ConfigError(f"more than {MAX_DEPTH} levels, which no config has") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return data, notes


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, text))


def _toml(text: str) -> tuple[Any, list[str]]:
    if any(word.count(".") > MAX_DOTS for word in text.split()):
        raise ConfigError(f"a key of more than {MAX_DOTS} parts, which no config has")
    try:
        return tomllib.loads(text), []
    except RecursionError:
        raise ConfigError(f"more than {MAX_DEPTH} levels, which no config has") from None
    except ValueError as error:
        raise ConfigError(f"{error}; read as TOML") from None


_READERS: dict[str, Callable[[str], tuple[Any, list[str]]]] = {
    "JSON": _json,
    "Python": read_python,
    "TOML": _toml,
    "YAML": read_yaml,
}


def _check(data: object) -> None:
    """Refuse what is no table, is too much, or JSON can't hold."""
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise ConfigError(f"expected an object with keys, got {kind}")
    if not data:
        raise ConfigError("no settings in it that can be read without running it")
    n_keys, depth, level = 0, 0, [data]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"more than {MAX_DEPTH} levels, which no config has")
        below: list[Any] = []
        for each in level:
            n_keys += len(each) if isinstance(each, dict) else 0
            for value in each.values() if isinstance(each, dict) else each:
                _check_value(value)
                if isinstance(value, dict | list):
                    below.append(value)
        level = below
    if n_keys > MAX_KEYS:
        raise ConfigError(f"more than {MAX_KEYS:,} keys, which no config has")
    try:
        json.dumps(data, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise ConfigError(f"not UTF-8 text ({error}); save it as UTF-8") from None


def _check_value(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        said = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        raise ConfigError(f"{said} is not a number that JSON can hold; write another, or null")
    if value is not None and not isinstance(
        value, bool | int | float | str | list | dict | Computed
    ):
        raise ConfigError(f"{value} is no number, text or truth value; write it as a text")


def _unique(pairs: list[tuple[str, Any]], text: str) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    (key, _), *_ = Counter(name for name, _ in pairs).most_common(1)
    found = re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    lines = [str(text.count("\n", 0, match.start()) + 1) for match in islice(found, 3)]
    raise ValueError(f'the key "{key}" stands twice (lines {", ".join(lines)}); keep one')


def n_ids_beside(folder: Path) -> int | None:
    """Count the ids of a folder's tokenizer, 0 to the highest; None if there is none to count.

    A tokenizer.json goes before a vocab.json; one that can't be counted is passed over.
    """
    for name in ("tokenizer.json", "vocab.json"):
        path = folder / name
        try:
            if path.stat().st_size <= MAX_TOKENIZER_BYTES:
                data = json.loads(path.read_bytes())
                return 1 + max(_ids(data if name == "vocab.json" else data["model"]["vocab"], data))
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            ArithmeticError,
            AttributeError,
            RecursionError,
        ):
            continue
    return None


def _ids(vocab: Any, data: Any) -> list[int]:
    added = [int(token["id"]) for token in data.get("added_tokens", ())]
    own = range(len(vocab)) if isinstance(vocab, list) else map(int, vocab.values())
    return [*own, *added]
