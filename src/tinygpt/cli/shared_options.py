"""The options that many verbs share, each written once: what computes, on what, how it is told."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from tinygpt.cli import console
from tinygpt.cli.options import Place
from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.limits import ENGINES, PRECISIONS, SCORED_BYTES
from tinygpt.errors import ConfigError

__all__ = ["byte_count", "engine", "options"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_DIGITS = 18
"""Of the value of `--bytes`: more bytes no disk holds."""


def options(*names: str) -> Callable[[F], F]:
    """Give a verb some of the options that many verbs share.

    Names and arguments: quiet, context, stride, allow_pickle; json (`as_json`), and bytes
    (`n_bytes`, None for all).
    """

    def decorate(function: F) -> F:
        for name in reversed(names):
            function = _SHARED[name](function)
        return function

    return decorate


def engine(*names: str) -> Callable[[F], F]:
    """Give a verb an option for some fields of EngineOptions, and the argument `engine_options`.

    A field that is not named keeps its default.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def verb(*args: Any, **kwargs: Any) -> Any:
            chosen = EngineOptions(**{name: kwargs.pop(name) for name in names})
            return function(*args, engine_options=chosen, **kwargs)

        return cast("F", options(*names)(verb))

    return decorate


def byte_count(text: str) -> int | None:
    """Read the value of `--bytes`: a number of 1 or more, or `all` as None.

    Raises:
        ConfigError: anything else.
    """
    if text == "all":
        return None
    if not text.isdecimal() or len(text) > MAX_DIGITS or not int(text):
        raise ConfigError(
            f'bytes="{text[:MAX_DIGITS]}" is not allowed: a number of 1 or more, or all'
        )
    return int(text)


_SHARED: dict[str, Callable[[Any], Any]] = {
    "engine": click.option(
        "--engine",
        type=Place(*ENGINES, path=False),
        metavar="TEXT",
        default="auto",
        show_default=True,
        help="What computes: native (compiled, CPU), torch, or auto, which takes native where it "
        "can and is faster.",
    ),
    "precision": click.option(
        "--precision",
        type=Place(*PRECISIONS, path=False),
        metavar="TEXT",
        default="exact",
        show_default=True,
        help="Of the native engine: exact, int8 (8-bit weights) or int8-dynamic (8-bit products).",
    ),
    "device": click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Where to compute: auto, cpu, cuda, cuda:N or mps.",
    ),
    "dtype": click.option(
        "--dtype",
        default="auto",
        show_default=True,
        help="Precision in torch: auto, float32 or bfloat16.",
    ),
    "threads": click.option(
        "--threads",
        type=click.INT,
        metavar="INT",
        default=0,
        help="CPU threads; 0 leaves the choice to the engine.  [default: 0]",
    ),
    "bytes": click.option(
        "--bytes",
        "n_bytes",
        default=str(SCORED_BYTES),
        show_default=True,
        metavar="N|all",
        callback=lambda ctx, param, value: byte_count(value),
        help="How much of each text is scored.",
    ),
    "context": click.option(
        "--context",
        type=click.INT,
        metavar="INT",
        help="Longest context in tokens, the scored token included.  [default: the model's]",
    ),
    "stride": click.option(
        "--stride",
        type=click.INT,
        metavar="INT",
        help="Tokens by which the window moves on.  [default: half the context]",
    ),
    "allow_pickle": click.option(
        "--allow-pickle",
        is_flag=True,
        help="Also open a pickle (pytorch_model.bin, ckpt.pt); only if you trust where it is from.",
    ),
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Write one JSON document to stdout."
    ),
    "quiet": click.option(
        "--quiet",
        "-q",
        is_flag=True,
        callback=lambda ctx, param, value: _hush(ctx, value),
        help="Write nothing but errors to stderr.",
    ),
}


def _hush(ctx: click.Context, quiet: bool) -> bool:
    ctx.with_resource(console.following_log(quiet))
    return quiet
