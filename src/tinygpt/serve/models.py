"""The models that a server offers, each under its name and with its batcher."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tinygpt.config.engine_options import DEFAULT_OPTIONS, EngineOptions
from tinygpt.errors import ConfigError, did_you_mean
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import load_with
from tinygpt.serve.batching.batcher import Batcher
from tinygpt.serve.batching.jobs import Observer
from tinygpt.serve.config import ServeConfig
from tinygpt.serve.errors import Refusal

__all__ = ["Served", "find", "open_models", "serve_model"]


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
    options: EngineOptions = DEFAULT_OPTIONS,
    *,
    observe: Callable[[str], Observer] | None = None,
) -> list[Served]:
    """Open models and start a batcher for each.

    Args:
        names: at least one; each as `load` takes it.
        config: how many slots a model has, and how many texts may wait for them.
        options: what runs them.
        observe: makes the observer of the model of a name.

    Raises:
        ConfigError: no name, or two models of one name.
        TinyGPTError: as `load`.
    """
    if not names:
        raise ConfigError("no model is given; name at least one run, folder or hub name")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"{name} is given twice; a model is served once, for all who ask")
    lms = [load_with(name, options) for name in names]
    called = [_name(lm) for lm in lms]
    for i, name in enumerate(called):
        if name in called[:i]:
            raise ConfigError(
                f'two models are called "{name}", and a request could not tell them apart; '
                "rename one of the folders, or serve one of them"
            )
    return [
        serve_model(lm, config, observe(name) if observe else None)
        for name, lm in zip(called, lms, strict=True)
    ]


def serve_model(lm: LanguageModel, config: ServeConfig, observer: Observer | None = None) -> Served:
    """Start the batcher of a model that is open.

    Raises:
        MachineError: no memory for its slots.
    """
    batcher = Batcher(
        lm,
        n_slots=config.slots,
        max_waiting=config.max_waiting,
        max_waiting_per_client=config.max_waiting_per_client,
        observer=observer,
    )
    return Served(name=_name(lm), lm=lm, batcher=batcher)


def find(models: Mapping[str, Served], name: str | None) -> Served:
    """Return the model of a name; the only one, where a request leaves the name out.

    Raises:
        Refusal: 404, none is called so; 400, no name and several models.
    """
    if name is None and len(models) == 1:
        return next(iter(models.values()))
    if name is None:
        raise Refusal(400, f"model is missing: one of {', '.join(models)}", param="model")
    if name not in models:
        near = did_you_mean(name, models)
        raise Refusal(
            404,
            f'there is no model "{name[:200]}"{near} (served: {", ".join(models)})',
            param="model",
            code="model_not_found",
        )
    return models[name]


def _name(lm: LanguageModel) -> str:
    """Return the name of the run, the hub's, or of a folder its last part: clients see no paths."""
    return lm.name if lm.path is None or lm.commit else lm.path.resolve().name
