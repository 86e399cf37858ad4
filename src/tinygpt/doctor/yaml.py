"""A YAML config as plain values; the one owner of PyYAML, which is imported when it is needed.

The document is taken as PyYAML's tree of nodes: no tag makes an object, an alias costs what a copy
of it would, and every mistake has its line.
"""

import re
from typing import Any

from tinygpt.errors import ConfigError

__all__ = ["read_yaml"]

MAX_NODES, MAX_DEPTH = 10_000, 20
"""A document beyond either, aliases counted as copies, is refused."""

_SCALARS = ("null", "bool", "int", "float", "str")
_TAG = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def read_yaml(text: str) -> tuple[object, list[str]]:
    """Read one YAML document.

    Returns:
        Its plain values; notes, one line each.

    Raises:
        ConfigError: no YAML, more than one document, a tag that asks for an object, a key twice, or
            too much of it.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader(yaml)
        return (None if root is None else reader.value(root, 1)), reader.notes
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}{error.problem}; read as YAML") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ConfigError(f"more than {MAX_DEPTH} levels, which no config has") from None


class _Reader:
    """Makes plain values of PyYAML's nodes, and counts them."""

    def __init__(self, yaml: Any) -> None:
        self.notes: list[str] = []
        self._n_nodes = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: Any, depth: int) -> Any:
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            raise ConfigError(f"more than {MAX_NODES:,} values, aliases counted as copies")
        if depth > MAX_DEPTH:
            raise RecursionError
        if node.id == "scalar":
            return self._scalar(node)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            raise ConfigError(f"{_line(node)}: the tag {node.tag} is not read; write plain values")
        if node.id == "sequence":
            return [self.value(each, depth + 1) for each in node.value]
        return self._mapping(node, depth)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.id != "scalar":
                raise ConfigError(f"{_line(key)}: a key must be a text")
            if key.tag == f"{_TAG}merge":
                tables = value.value if value.id == "sequence" else [value]
                for table in tables:
                    below = self.value(table, depth + 1)
                    if not isinstance(below, dict):
                        raise ConfigError(f"{_line(key)}: << takes a mapping")
                    merged = below | merged
            elif key.value in own:
                raise ConfigError(f'{_line(key)}: the key "{key.value}" stands twice; keep one')
            else:
                own[key.value] = self.value(value, depth + 1)
        return merged | own

    def _scalar(self, node: Any) -> object:
        kind = node.tag.removeprefix(_TAG)
        if kind == "timestamp":
            return str(node.value)
        if kind not in _SCALARS:
            raise ConfigError(f"{_line(node)}: the tag {node.tag} is not read; write plain values")
        if kind == "str" and node.style is None and _EXPONENT.fullmatch(node.value):
            self.notes.append(
                f"{_line(node)}: PyYAML alone takes {node.value} for a text (YAML 1.1 wants a dot "
                "and a sign); it is read as a number here"
            )
            return float(node.value)
        try:
            plain: object = self._scalars.construct_object(node)
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{_line(node)}: {error}") from None
        return plain


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"
