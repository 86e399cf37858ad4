"""EngineOptions: which engine runs a model, how precisely, and on what; torch is not imported."""

from dataclasses import dataclass, replace

from tinygpt.config.limits import ENGINES, PRECISIONS
from tinygpt.config.schema import check_threads, check_types
from tinygpt.errors import ConfigError, did_you_mean

__all__ = ["DEFAULT_OPTIONS", "EngineOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a model is opened and run; device and dtype are checked when it is opened."""

    engine: str = "auto"
    """What computes: native (compiled, CPU), torch, or auto: native where the CPU computes in
    float32, else torch."""
    precision: str = "exact"
    """Precision of the native engine: exact, int8 (8-bit weights) or int8-dynamic (8-bit products
    too). One other than exact asks for the native engine."""
    device: str = "auto"
    """Where to compute: auto (the first of cuda, mps, cpu that is there), cpu, cuda, cuda:N or
    mps."""
    dtype: str = "auto"
    """Precision in torch: float32, bfloat16, or auto: float32 for an opened model."""
    threads: int = 0
    """Number of CPU threads, 1 to 1024; 0 leaves the choice to the engine."""
    allow_pickle: bool = False
    """Whether `pytorch_model.bin` is opened too (with weights_only=True)."""

    def __post_init__(self) -> None:
        """Refuse unknown names, and a precision that the engine does not have."""
        check_types(self)
        for what, known in (("engine", ENGINES), ("precision", PRECISIONS)):
            if (name := getattr(self, what)) not in known:
                near = did_you_mean(name, known)
                raise ConfigError(f'{what}="{name}" is not known{near} (known: {", ".join(known)})')
        if self.engine == "torch" and self.precision != "exact":
            raise ConfigError(
                f"precision={self.precision} is the native engine's; leave out --engine torch, or "
                "choose torch's precision with --dtype"
            )
        check_threads(self.threads)

    @property
    def asks_native(self) -> bool:
        """Whether the native engine is asked for, not only left free."""
        return self.engine == "native" or self.precision != "exact"

    def for_scoring(self) -> "EngineOptions":
        """Return the options for what only scores: torch, unless native is asked for."""
        return self if self.asks_native else replace(self, engine="torch")


DEFAULT_OPTIONS = EngineOptions()
"""Every choice left to tinygpt."""
