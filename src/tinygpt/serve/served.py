"""The models that a server offers, each under its name and with its batcher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygpt.errors import ConfigError
from tinygpt.language_model import LanguageModel
from tinygpt.opening import load
from tinygpt.serve.batching import Batcher
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.jobs import Observer

__all__ = ["Served", "open_models", "serve_model"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """A model that is served."""

    name: str
    """What requests call it."""
    lm: LanguageModel
    batcher: Batcher


def open_models(
    names: Sequence[str],
    config: ServeConfig,
    *,
    engine: str = "auto",
    precision: str = "exact",
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    allow_pickle: bool = False,
    observe: Callable[[str], Observer] | None = None,
) -> list[Served]:
    """Open models and start a batcher for each.

    Args:
        names: at least one; each as `load` takes it.
        config: how many slots a model has, and how many texts may wait for them.
        engine, precision, device, dtype, threads, allow_pickle: as `load`.
        observe: makes the observer of the model of a name.

    Raises:
        ConfigError: no name, or two models of one name.
        TinyGPTError: as `load`.
    """
    if not names:
        raise ConfigError("no model is given; name at least one run, folder or hub name")
    lms = [
        load(
            name,
            engine=engine,
            precision=precision,
            device=device,
            dtype=dtype,
            threads=threads,
            allow_pickle=allow_pickle,
        )
        for name in names
    ]
    for i, lm in enumerate(lms):
        if lm.name in {other.name for other in lms[:i]}:
            raise ConfigError(
                f'two models are called "{lm.name}", and a request could not tell them apart; '
                "rename one of the folders, or serve one of them"
            )
    return [serve_model(lm, config, observe(lm.name) if observe else None) for lm in lms]


def serve_model(lm: LanguageModel, config: ServeConfig, observer: Observer | None = None) -> Served:
    """Start the batcher of a model that is open."""
    batcher = Batcher(
        lm,
        n_slots=config.slots,
        max_waiting=config.max_waiting,
        max_waiting_per_client=config.max_waiting_per_client,
        observer=observer,
    )
    return Served(name=lm.name, lm=lm, batcher=batcher)
