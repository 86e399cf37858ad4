"""`tinygpt serve MODEL...`: models in a browser, and behind OpenAI's protocol.

The first Ctrl-C or SIGTERM lets the texts end that are being written, the second ends at once.
"""

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.cli.signals import stoppable
from tinygpt.config.engine_options import EngineOptions
from tinygpt.errors import ConfigError
from tinygpt.serve import ServeConfig, require_extra

if TYPE_CHECKING:
    from tinygpt.serve.models import Served

__all__ = ["KEY_VARIABLE", "command"]

KEY_VARIABLE = "TINYGPT_API_KEY"
"""Where the key may stand; never on the command line, which everyone on the machine can read."""

MAX_KEY_BYTES = 10_000

_WORDS = "ending when the texts that are being written have ended; once more ends at once"


@click.command(cls=options.Verb)
@click.argument("models", nargs=-1, required=True, type=options.MODEL)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"A file with the key that requests must carry; else {KEY_VARIABLE}, else no key.",
)
@options.add(ServeConfig, without=("key",))
@shared_options.engine("engine", "precision", "device", "dtype", "threads", "allow_pickle")
@shared_options.options("quiet")
def command(
    models: tuple[str, ...],
    key_file: Path | None,
    flags: options.Flags,
    engine_options: EngineOptions,
    quiet: bool,
) -> int:
    """Serve each MODEL: a page for the browser, and OpenAI's completions under /v1.

    Only this machine is served unless --host says otherwise, which needs a key.
    """
    config = ServeConfig(key=_key(key_file), **flags[ServeConfig])
    require_extra()
    from tinygpt.serve.app import create_app
    from tinygpt.serve.metrics import Metrics
    from tinygpt.serve.models import open_models
    from tinygpt.serve.playground.workers import is_working
    from tinygpt.serve.server import address, listen, serve

    metrics = Metrics()
    with listen(config) as sock:
        served = open_models(models, config, engine_options, observe=metrics.observer)
        for one in served:
            for note in one.lm.notes:
                console.say(note, quiet=quiet)
            console.say(_about(one), quiet=quiet)
        app = create_app(served, config, metrics)
        said = _where(address(sock), config)
        try:
            with stoppable(_WORDS) as stop:
                ready = functools.partial(console.say, said, quiet=quiet)
                serve(app, served, config, sock, stop=stop, ready=ready)
        except SystemExit as ending:  # the second signal: no thread that computes is waited for
            sys.stderr.flush()
            os._exit(ending.code if isinstance(ending.code, int) else 1)
    if is_working():  # for the page, whose reader has gone
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _key(file: Path | None) -> str | None:
    """Return the key of the file, else of the environment; None where there is none."""
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    from tinygpt.storage.files import read_small

    try:
        return read_small(file, MAX_KEY_BYTES).decode("ascii").strip()
    except UnicodeError:  # whose words would show a part of the key
        raise ConfigError(f"the key in {file} can't be read: it is no ASCII text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"the key in {file} can't be read: {reason}") from None


def _about(one: "Served") -> str:
    """Say what is served: its size, what computes it, and the memory that its slots take."""
    from tinygpt.model.external_config import account_of

    engine, costs = one.lm.engine, account_of(one.lm.config)
    dtype = "float32" if engine.name == "native" else engine.precision
    held = console.size(costs.weights_bytes)
    slots = f"{one.batcher.n_slots} slots"
    if costs.kv_cache_bytes is not None:
        slots += f" of {console.size(costs.kv_cache_bytes)}"
    return (
        f"serving {one.name}: {costs.n_params:,} parameters ({held} in float32), {slots}; "
        f"engine {engine}, device {engine.device}, dtype {dtype}"
    )


def _where(url: str, config: ServeConfig) -> str:
    """Say where it is served, and what the process holds by now."""
    from tinygpt.profiling.memory_bandwidth import peak_memory_bytes

    held = peak_memory_bytes()
    memory = f", {console.size(held)} of memory" if held is not None else ""
    key = "with the key" if config.key is not None else "without a key"
    return f"listening on {url}/ (the page) and {url}/v1 (the API), {key}{memory}; Ctrl-C ends it"
