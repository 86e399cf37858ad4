"""tinygpt: one readable Transformer at two scales, from TinyGPT to distilgpt2.

>>> import tinygpt
>>> lm = tinygpt.load("runs/demo")
>>> print(lm.generate("ROMEO:", max_new_tokens=100, seed=1))

Every public name is imported when it is first used, so that `import tinygpt` costs nothing and the
command line answers `--help` without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tinygpt.version import __version__ as __version__

if TYPE_CHECKING:
    from tinygpt.comparison.compare import compare
    from tinygpt.config.generation_config import GenerationConfig
    from tinygpt.config.model_config import ModelConfig
    from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
    from tinygpt.errors import (
        CheckpointError,
        ConfigError,
        ContextError,
        DataError,
        MachineError,
        TinyGPTError,
        TokenizerError,
    )
    from tinygpt.inference.load import load
    from tinygpt.report.write import write_html
    from tinygpt.runs.events import Evaluated, Saved, Step
    from tinygpt.training.resume import resume
    from tinygpt.training.train import train

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
    "write_html",
]

_HOMES = {
    "comparison.compare": ("compare",),
    "errors": (
        "CheckpointError",
        "ConfigError",
        "ContextError",
        "DataError",
        "MachineError",
        "TinyGPTError",
        "TokenizerError",
    ),
    "config.generation_config": ("GenerationConfig",),
    "config.model_config": ("ModelConfig",),
    "config.train_config": (
        "CorpusConfig",
        "OptimConfig",
        "TokenizerConfig",
        "TrainConfig",
    ),
    "report.write": ("write_html",),
    "runs.events": ("Evaluated", "Saved", "Step"),
    "inference.load": ("load",),
    "training.resume": ("resume",),
    "training.train": ("train",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"tinygpt.{module}"), name)
    raise AttributeError(f"module 'tinygpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
