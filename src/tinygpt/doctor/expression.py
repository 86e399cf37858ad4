"""What an expression of a Python config is worth, without running it.

Known are plain values, lists and dicts of them, arithmetic on numbers of bounded size, names set
above, and the named arguments of config classes; everything else is `Computed`.
"""

import ast
import math
import operator
from collections.abc import Callable

from tinygpt.doctor.fields import Computed

__all__ = ["ENDINGS", "MAKERS", "Values", "called", "short"]

_ARITHMETIC: dict[type, Callable[..., object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_MAX_BITS, _MAX_EXPONENT = 256, 256
MAKERS = ("dict", "CN", "CfgNode", "ConfigDict", "EasyDict", "Namespace", "SimpleNamespace")
"""Calls that make a table of their named arguments."""

ENDINGS = ("config", "args", "arguments", "settings", "hparams", "params")
"""Ends of the names of classes that do the same, in lower case."""


class Values:
    """Reads expressions by the settings and config classes that stand above them."""

    def __init__(self, settings: dict[str, object], classes: dict[str, dict[str, object]]) -> None:
        self._settings = settings
        self._classes = classes

    def read(self, node: ast.expr) -> object:
        """Return a plain value, a table of values, or Computed."""
        try:
            return self._known(node)
        except (ValueError, KeyError, TypeError, ArithmeticError):
            return Computed(short(ast.unparse(node)))

    def _known(self, node: ast.expr) -> object:
        """Return a value; ValueError, KeyError or ArithmeticError if it can't be known."""
        if isinstance(node, ast.Constant):
            return _plain(node.value)
        if isinstance(node, ast.Name):
            value = self._settings[node.id]
            if isinstance(value, Computed | dict | list):  # of tables in themselves there is no end
                raise ValueError(node.id)
            return value
        if isinstance(node, ast.List | ast.Tuple):
            values = [self._known(each) for each in node.elts]
            if any(isinstance(value, dict) for value in values):
                raise ValueError("tables in a list")
            return values
        if isinstance(node, ast.Dict):
            return self.table(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.UnaryOp):
            return _arithmetic(node.op, [self._known(node.operand)])
        if isinstance(node, ast.BinOp):
            return _arithmetic(node.op, [self._known(node.left), self._known(node.right)])
        raise ValueError(type(node).__name__)

    def table(self, node: ast.Dict) -> dict[str, object]:
        """Return a dict whose keys are texts; ValueError for any other."""
        out: dict[str, object] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            name = None if key is None else self._known(key)
            if not isinstance(name, str) or name in out:
                raise ValueError("a key that is no text")
            out[name] = self.read(value)
        return out

    def _call(self, node: ast.Call) -> dict[str, object]:
        name = called(node.func)
        if name not in MAKERS and not (name[:1].isupper() and name.lower().endswith(ENDINGS)):
            raise ValueError(name)
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("arguments without a name")
        given = {str(keyword.arg): self.read(keyword.value) for keyword in node.keywords}
        return self._classes.pop(name, {}) | given


def called(node: ast.expr) -> str:
    """Return the last name of what is called: field of dataclasses.field(...)."""
    if isinstance(node, ast.Call):
        return called(node.func)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def short(text: str) -> str:
    """Return an expression on one line of at most 80 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and value.bit_length() <= _MAX_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(type(value).__name__)


def _arithmetic(op: ast.operator | ast.unaryop, numbers: list[object]) -> object:
    """Compute on plain numbers of bounded size; ValueError for anything else."""
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise ValueError("not numbers")
    if isinstance(op, ast.Pow) and abs(numbers[1]) > _MAX_EXPONENT:  # type: ignore[arg-type]
        raise ValueError("too large")
    return _plain(_ARITHMETIC[type(op)](*numbers))
