"""The settings of a Python file, read from its syntax tree: nothing of it is ever run.

Known are plain values, arithmetic on numbers and names set above; everything else is `Computed`.
Read are assignments (`n_layer = 6`, `C.model.n_layer = 6`, `config["n_layer"] = 6`), dicts, calls
of config classes, dataclasses with defaults, and functions that fill a CfgNode as minGPT's do.
"""

import ast
import warnings

from tinygpt.doctor.expression import ENDINGS, MAKERS, Values, called, short
from tinygpt.doctor.fields import Computed
from tinygpt.doctor.keys import known_name
from tinygpt.errors import ConfigError

__all__ = ["read_python"]


def read_python(text: str) -> tuple[dict[str, object], list[str]]:
    """Read the settings of a program.

    Returns:
        The settings, tables in tables; what was passed over, one line each.

    Raises:
        ConfigError: not Python (the message names the line), or nested too deep.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in a text that is not ours
            tree = ast.parse(text)
        reader = _Reader()
        reader.block(tree.body)
        reader.classes_without_a_call()
        return reader.settings, reader.notes()
    except SyntaxError as error:
        raise ConfigError(f"line {error.lineno}: {error.msg}; read as Python") from None
    except (RecursionError, MemoryError):
        raise ConfigError("an expression is nested too deep for a config") from None
    except ValueError as error:
        raise ConfigError(f"not Python: {error}") from None


class _Reader:
    """Walks statements in order and keeps what they set."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self._classes: dict[str, dict[str, object]] = {}
        self._values = Values(self.settings, self._classes)
        self._lines: dict[str, list[int]] = {}
        self._passed: dict[str, int] = {}
        self._end = ""

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if _calls(statement, "exec"):
                self._end = (
                    f"line {statement.lineno}: exec runs other code, which is not read, nor "
                    "what stands below it"
                )
            if self._end:
                return
            self._statement(statement)

    def notes(self) -> list[str]:
        """Return what was passed over, and what was set twice."""
        again = [
            f"{path} is set on lines {', '.join(map(str, lines[:8]))}; the last counts"
            for path, lines in self._lines.items()
            if len(lines) > 1
        ]
        passed = [f"{path} (line {line})" for path, line in list(self._passed.items())[:8]]
        more = f" and {len(self._passed) - 8} more" if len(self._passed) > 8 else ""
        left = [f"only running it would tell: {', '.join(passed)}{more}"] if passed else []
        return [*again, *left, *([self._end] if self._end else [])]

    def classes_without_a_call(self) -> None:
        """Let the defaults of a config class stand for themselves where nothing makes one."""
        for name, defaults in self._classes.items():
            for field, value in defaults.items():
                self._set((name, field), value, 0)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._assign(node.target, node.value)
        elif isinstance(node, ast.AugAssign):
            self._assign(node.target, ast.BinOp(_loaded(node.target), node.op, node.value))
        elif isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Dict):
                for key, value in self._values.table(node.value).items():
                    self._set((key,), value, node.lineno)
            self._calls_within(node.value)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, ast.FunctionDef):
            self._function(node)
        elif isinstance(node, ast.If) and _is_main_guard(node.test):
            self.block(node.body)
        elif isinstance(node, ast.If | ast.Try):
            self._conditional(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            if len(values) == len(target.elts):
                for each, part in zip(target.elts, values, strict=True):
                    self._assign(each, part)
                return
            for each in target.elts:
                self._assign(each, value)
            return
        path = _path(target)
        if path is None:
            return
        found = self._values.read(value)
        if not isinstance(found, Computed) or known_name(".".join(path)):
            self._set(path, found, target.lineno)
        else:
            self._passed.setdefault(".".join(path), target.lineno)
            self._calls_within(value)

    def _set(self, path: tuple[str, ...], value: object, line: int) -> None:
        table = self.settings
        for part in path[:-1]:
            below = table.get(part)
            if not isinstance(below, dict):
                below = table[part] = {}
            table = below
        if line and path[-1] in table and table[path[-1]] != value:
            self._lines.setdefault(".".join(path), []).append(line)
        elif line:
            self._lines[".".join(path)] = [line]
        for part in value if line and isinstance(value, dict) else ():
            self._lines[".".join((*path, part))] = [line]
        table[path[-1]] = value

    def _class(self, node: ast.ClassDef) -> None:
        """Read the defaults of a config class, and the methods that fill a CfgNode."""
        decorators = {called(each) for each in node.decorator_list}
        if "dataclass" in decorators or node.name.lower().endswith(ENDINGS):
            fields: dict[str, object] = {}
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and each.value is not None:
                    targets: list[ast.expr] = [each.target]
                    value = each.value
                elif isinstance(each, ast.Assign):
                    targets, value = each.targets, each.value
                else:
                    continue
                for target in targets:
                    if isinstance(target, ast.Name):
                        fields[target.id] = self._default(value)
            self._classes[node.name] = fields
        for each in node.body:
            if isinstance(each, ast.FunctionDef):
                self._function(each)

    def _default(self, value: ast.expr) -> object:
        """Return a field's default, also where it stands in `field(default=...)`."""
        if isinstance(value, ast.Call) and called(value.func) == "field":
            for keyword in value.keywords:
                if keyword.arg == "default":
                    return self._values.read(keyword.value)
        return self._values.read(value)

    def _function(self, node: ast.FunctionDef) -> None:
        """Read the assignments to the parts of a CfgNode that a function makes."""
        nodes: set[str] = set()
        for each in node.body:
            if not isinstance(each, ast.Assign):
                continue
            for target in each.targets:
                path = _path(target)
                made = isinstance(each.value, ast.Call) and called(each.value.func) in MAKERS[1:]
                if path is None:
                    continue
                if made and len(path) == 1:
                    nodes.add(path[0])
                elif len(path) > 1 and path[0] in nodes:
                    self._assign(target, each.value)

    def _conditional(self, node: ast.If | ast.Try) -> None:
        """Let the settings that a branch may change be unknown."""
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                if known_name(each.id):
                    why = f"if {ast.unparse(node.test)}" if isinstance(node, ast.If) else "try"
                    self._set((each.id,), Computed(f"inside `{short(why)}`"), each.lineno)
                else:
                    self._passed.setdefault(each.id, each.lineno)

    def _calls_within(self, node: ast.expr) -> None:
        """Read the config classes called inside an expression, as in GPT(GPTConfig(n_layer=4))."""
        for each in ast.walk(node):
            if isinstance(each, ast.Call) and (name := called(each.func)):
                found = self._values.read(each)
                if isinstance(found, dict):
                    for key, value in found.items():
                        self._set((name, key), value, each.lineno)


def _path(target: ast.expr) -> tuple[str, ...] | None:
    """Return the names of a.b["c"], or None for another target."""
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Attribute):
        before = _path(target.value)
        return None if before is None else (*before, target.attr)
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        before, key = _path(target.value), target.slice.value
        return (*before, key) if before is not None and isinstance(key, str) else None
    return None


def _loaded(target: ast.expr) -> ast.expr:
    return ast.Name(target.id, ast.Load()) if isinstance(target, ast.Name) else target


def _calls(statement: ast.stmt, name: str) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and called(statement.value.func) == name
    )


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and getattr(test.left, "id", "") == "__name__"
