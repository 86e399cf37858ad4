"""tinygpt: one readable Transformer at two scales, from TinyGPT to distilgpt2.

>>> import tinygpt
>>> lm = tinygpt.load("runs/demo")
>>> print(lm.generate("ROMEO:", max_new_tokens=100, seed=1))

Every public name is imported when it is first used, so that `import tinygpt` costs nothing and the
command line answers `--help` without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygpt.comparison import compare
    from tinygpt.errors import (
        CheckpointError,
        ConfigError,
        ContextError,
        DataError,
        MachineError,
        TinyGPTError,
        TokenizerError,
    )
    from tinygpt.events import Evaluated, Saved, Step
    from tinygpt.generation_config import GenerationConfig
    from tinygpt.model_config import ModelConfig
    from tinygpt.opening import load
    from tinygpt.resuming import resume
    from tinygpt.run_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
    from tinygpt.training import train

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ContextError",
    "CorpusConfig",
    "DataError",
    "Evaluated",
    "GenerationConfig",
    "MachineError",
    "ModelConfig",
    "OptimConfig",
    "Saved",
    "Step",
    "TinyGPTError",
    "TokenizerConfig",
    "TokenizerError",
    "TrainConfig",
    "compare",
    "load",
    "resume",
    "train",
]

_HOMES = {
    "comparison": ("compare",),
    "errors": (
        "CheckpointError",
        "ConfigError",
        "ContextError",
        "DataError",
        "MachineError",
        "TinyGPTError",
        "TokenizerError",
    ),
    "generation_config": ("GenerationConfig",),
    "model_config": ("ModelConfig",),
    "run_config": (
        "CorpusConfig",
        "OptimConfig",
        "TokenizerConfig",
        "TrainConfig",
    ),
    "events": ("Evaluated", "Saved", "Step"),
    "opening": ("load",),
    "resuming": ("resume",),
    "training": ("train",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"tinygpt.{module}"), name)
    raise AttributeError(f"module 'tinygpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
