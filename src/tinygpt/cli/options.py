"""Click options from the config dataclasses: type, default and help of a field are its option's.

A verb gets `flags`, a dict from each class to the fields that were given on the command line, and
lays them over what a file or a model folder says. No setting is described a second time.
"""

import functools
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import click
from click.shell_completion import CompletionItem

from tinygpt.config.model_config import ACTIVATIONS, PRESETS
from tinygpt.config.schema import field_docs
from tinygpt.config.train_config import TOKENIZERS

__all__ = ["MODEL", "PLACE", "TEXTS", "Flags", "Place", "Verb", "add", "flag_name"]


class Place(click.ParamType[str]):
    """A text that a shell completes as a path, or to one of some names."""

    name = "text"

    def __init__(self, *names: str, path: bool = True) -> None:
        self.names, self.path = names, path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take it as it is: what it stands for is found out later."""
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the names that fit; the shell adds files and folders where paths are meant."""
        found = [CompletionItem(name) for name in self.names if name.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")] if self.path else found


MODEL = Place(*(name for name in PRESETS if name != "tinygpt"))
"""The argument of most verbs: a run folder, a model folder or a hub name."""

PLACE = Place()
"""A run folder or a file."""

TEXTS = Place("tinyshakespeare", "shakespeare", "python-docs")
"""A named corpus, a file or a folder."""

Flags = dict[type, dict[str, Any]]
"""Per config class: the fields given on the command line."""

F = typing.TypeVar("F", bound=Callable[..., Any])

_NAMES = {"stop_strings": "stop", "sample_prompts": "sample_prompt"}
"""Fields whose option has a shorter name."""

_FIELD_TYPES = {
    "corpus": TEXTS,
    "tokenizer": Place(*TOKENIZERS, path=False),
    "activation_function": Place(*ACTIVATIONS, path=False),
}
"""Fields whose values a shell can complete."""

_TYPES = {int: click.INT, float: click.FLOAT, str: click.STRING}
_METAVARS = {int: "INT", float: "FLOAT", str: "TEXT"}

_NULLS = ("null", "none")


class Verb(click.Command):
    """A command whose `--help` groups the options by the config that they belong to."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and let every usage error know its verb: click's parser forgets it in some."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as problem:
            problem.ctx = problem.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each config class, the verb's own options first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                title = param.section if isinstance(param, _ConfigOption) else "Options"
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class _ConfigOption(click.Option):
    """An option that stands for a field of a config class."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


def add(
    *classes: type,
    only: Iterable[str] | None = None,
    without: Iterable[str] = (),
    defaults: Iterable[Any] = (),
    show_defaults: bool = True,
) -> Callable[[F], F]:
    """Give a verb an option for each field of some config classes, and the argument `flags`.

    Args:
        classes: frozen dataclasses with a docstring under each field.
        only: fields that get an option; None for all.
        without: fields that get none.
        defaults: an instance of a class, whose values `--help` shows instead of the class's own.
        show_defaults: False where something else than the class decides.
    """
    skipped = set(without)
    wanted = None if only is None else set(only)
    shown = {type(config): config for config in defaults}
    if show_defaults:
        shown |= {cls: cls() for cls in classes if cls not in shown}
    owners = {
        f.name: cls
        for cls in classes
        for f in fields(cls)
        if f.name not in skipped and (wanted is None or f.name in wanted)
    }

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def verb(*args: Any, **kwargs: Any) -> Any:
            ctx = click.get_current_context()
            flags: Flags = {cls: {} for cls in classes}
            for name, cls in owners.items():
                value = kwargs.pop(name)
                if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                    flags[cls][name] = value
            return function(*args, flags=flags, **kwargs)

        decorated: Any = verb
        for name, cls in reversed(owners.items()):
            default = getattr(shown[cls], name) if show_defaults else None
            decorated = _option(cls, name, default)(decorated)
        return typing.cast("F", decorated)

    return decorate


def flag_name(field: str) -> str:
    """Return the option of a field: --top-k for top_k."""
    return f"--{_NAMES.get(field, field).replace('_', '-')}"


def _option(cls: type, name: str, default: Any) -> Callable[[Any], Any]:
    allowed = typing.get_type_hints(cls)[name]
    flag = flag_name(name)
    kwargs: dict[str, Any] = {
        "cls": _ConfigOption,
        "section": f"{cls.__name__.removesuffix('Config')} settings",
        "help": field_docs(cls)[name],
        "default": None,
    }
    if default is not None and default != ():
        kwargs["help"] += f"  [default: {_written(default)}]"
    if allowed is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, **kwargs)
    if typing.get_origin(allowed) is tuple:
        kwargs["help"] += " May be repeated."
        return click.option(flag, name, multiple=True, metavar="TEXT", **kwargs)
    if isinstance(allowed, types.UnionType):
        inner = next(option for option in typing.get_args(allowed) if option in _TYPES)
        kwargs |= {"metavar": f"{_METAVARS[inner]}|null", "callback": _or_null(_TYPES[inner])}
        return click.option(flag, name, **kwargs)
    kind = _FIELD_TYPES.get(name, _TYPES[allowed])
    return click.option(flag, name, type=kind, metavar=_METAVARS[allowed], **kwargs)


def _or_null(inner: Any) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return what reads a value of another type, or `null` as None."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None or value.lower() in _NULLS:
            return None
        return inner.convert(value, param, ctx)

    return read


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else f"{value}"
