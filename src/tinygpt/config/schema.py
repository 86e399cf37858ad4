"""What every config class of tinygpt has in common: strict reading, type checks, field docs.

The config classes themselves are plain frozen dataclasses (model_config.py, train_config.py); these
few functions read them from a JSON or TOML mapping, write them back, and hand the docstring under
each field to `--help`, so that no setting is described twice. Standard library only.
"""

import ast
import functools
import inspect
import json
import math
import sys
import types
import typing
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from tinygpt.errors import ConfigError, did_you_mean

__all__ = ["check_threads", "check_types", "field_docs", "from_dict", "parse_json", "to_dict"]

_MOST_THREADS = 1024  # far more, and starting them ends the process

T = TypeVar("T")


def from_dict(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build a config from a mapping, refusing every key that the class does not have.

    Args:
        where: what the user calls the mapping ("config.json", "[train] of my.toml"); it leads
            every message.

    Raises:
        ConfigError: an unknown key (with the nearest name), a missing one, or a wrong value.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected an object with keys, got {_shown(data)}")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ConfigError(
                f'{where}: unknown key "{key!s:.60}"{did_you_mean(key, known)} '
                f"(known keys: {', '.join(sorted(known))})"
            )
    for name, field in known.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if required and name not in data:
            raise ConfigError(f'{where}: the key "{name}" is missing; add it')
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """Return the fields as a JSON-ready dict (tuples become lists), in declaration order."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def check_types(config: Any) -> None:
    """Refuse a field whose value does not have the annotated type.

    An int is fine where a float is annotated; a bool is never a number; NaN and infinity are
    never a setting.

    Raises:
        ConfigError: naming the field, the value and what is allowed.
    """
    cls: type = type(config)
    hints = _hints(cls)
    for field in fields(config):
        value = getattr(config, field.name)
        allowed = hints[field.name]
        options = typing.get_args(allowed) if isinstance(allowed, types.UnionType) else (allowed,)
        if not any(_fits(value, option) for option in options):
            names = " or ".join(_type_name(option) for option in options)
            raise ConfigError(f"{field.name}={_shown(value)} is not allowed: expected {names}")


def check_threads(threads: int) -> None:
    """Refuse a number of CPU threads that no engine starts.

    Raises:
        ConfigError: not 0 to 1024.
    """
    if not 0 <= threads <= _MOST_THREADS:
        raise ConfigError(
            f"threads={threads} is not allowed: 1 to {_MOST_THREADS}, or 0 for the engine's choice"
        )


def parse_json(text: str | bytes) -> Any:
    """Read a JSON text in which no object has a key twice.

    Raises:
        ValueError: no JSON, or a key that is there twice.
        RecursionError: nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_no_duplicates)


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """Return the docstring under each field, on one line each: what `--help` shows."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs: dict[str, str] = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[node.target.id] = " ".join(str(after.value.value).split())
    return docs


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, n in counts.items() if n > 1)
        raise ValueError(f'the key "{twice:.60}" is there twice')
    return data


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _fits(value: Any, allowed: Any) -> bool:
    if allowed is type(None):
        return value is None
    if typing.get_origin(allowed) is tuple:
        item = typing.get_args(allowed)[0]
        return isinstance(value, tuple) and all(_fits(v, item) for v in value)
    if isinstance(value, bool):
        return allowed is bool
    if allowed is float:
        if isinstance(value, int):  # a float too, unless it has more than about 308 digits
            return abs(value) <= sys.float_info.max
        return isinstance(value, float) and math.isfinite(value)
    return isinstance(value, allowed)


def _type_name(allowed: Any) -> str:
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    if allowed is type(None):
        return "null"
    if typing.get_origin(allowed) is tuple:
        return "a list"
    return names.get(allowed, str(allowed))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
