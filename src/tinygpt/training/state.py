"""What a training run holds while it goes: its parts, where it stands, what it has found so far."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinygpt.config.model_config import ModelConfig
from tinygpt.config.schema import check_types, from_dict
from tinygpt.data.batches import Data
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.model.gpt import GPT
from tinygpt.runs.folder import Recipe
from tinygpt.tokenizers.char_byte import Tokenizer
from tinygpt.training.budget import Budget
from tinygpt.training.learner import Learner
from tinygpt.training.val_loss import n_windows

__all__ = ["Position", "Run", "check_settings", "read_position", "settings_of"]


@dataclass(slots=True, kw_only=True)
class Position:
    """Where a run stands: what a checkpoint keeps beside weights, optimizer and step."""

    n_evals_done: int = 0
    """Evaluations on the way that are done."""
    n_eval_windows: int = 0
    """Windows in each of their samples; 0 until it is chosen."""
    best_step: int | None = None
    """Step of the lowest monitor_loss so far; None where nothing was monitored yet."""
    best_loss: float | None = None
    """That loss, nats per token."""
    n_without_better: int = 0
    """Evaluations since then."""
    n_metrics_lines: int = 0
    """Lines of metrics.jsonl that hold; later ones are written again."""
    n_samples_lines: int = 0
    """The same of samples.jsonl."""

    def note(self, step: int, monitor_loss: float) -> bool:
        """Take in a monitor_loss, nats per token; return whether it is the lowest so far."""
        if self.best_loss is not None and monitor_loss >= self.best_loss:
            self.n_without_better += 1
            return False
        self.best_step, self.best_loss, self.n_without_better = step, monitor_loss, 0
        return True


def read_position(state: Mapping[str, Any], where: str) -> Position:
    """Return the position that a checkpoint's state holds.

    Raises:
        CheckpointError: another version's, or damaged.
    """
    try:
        position = from_dict(Position, state["position"], "position")
        check_types(position)
    except (ConfigError, KeyError) as error:
        raise CheckpointError(
            f"{where}: state.json is not of this tinygpt ({error}); resume with the version that "
            "made it (environment.json)"
        ) from None
    return position


@dataclass(slots=True, kw_only=True)
class Run:
    """A run that goes on."""

    folder: Path
    recipe: Recipe
    data: Data
    tokenizer: Tokenizer
    learner: Learner
    budget: Budget
    stop: Callable[[], bool]
    position: Position = field(default_factory=Position)
    step: int = 0
    saved_step: int = 0
    """Step of the last checkpoint."""
    saved_s: float = 0.0
    """Its time."""
    was_stopped: bool = False
    kept: GPT | None = None
    """At the end: the weights of an earlier step that the run keeps; None keeps the last ones."""
    settings: dict[str, dict[str, Any]] = field(init=False)
    """What its checkpoints belong to, by file and key."""

    def __post_init__(self) -> None:
        self.settings = settings_of(self.learner.model.config, self.recipe, self.tokenizer)

    def stopped(self) -> bool:
        """Ask whether to stop; once yes, always yes."""
        self.was_stopped = self.was_stopped or self.stop()
        return self.was_stopped

    @property
    def model(self) -> GPT:
        """The weights that the run's figures are about."""
        return self.kept or self.learner.model

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.step * self.recipe.train.tokens_per_step

    @property
    def n_windows(self) -> int:
        """Disjoint windows of the held-out part."""
        return n_windows(len(self.data.held_out), self.recipe.train.block_size)

    @property
    def gave_up(self) -> bool:
        """Whether early stopping ends the training here."""
        patience = self.recipe.train.early_stopping_patience
        return patience is not None and self.position.n_without_better >= patience

    def state(self, *, finished: bool) -> dict[str, Any]:
        """Return what a checkpoint must know so that the run can go on exactly: a JSON object."""
        return {
            "elapsed_s": self.budget.elapsed_s,
            "began_s": self.budget.began_s,
            "position": asdict(self.position),
            "finished": finished,
            "settings": self.settings,
        }


def settings_of(
    config: ModelConfig, recipe: Recipe, tokenizer: Tokenizer
) -> dict[str, dict[str, Any]]:
    """Return what a run's checkpoints belong to, by file and key, as JSON has it."""
    tokens = hashlib.sha256()
    for token in tokenizer.token_bytes:
        tokens.update(len(token).to_bytes(4, "little") + token)
    written = recipe.to_dict()
    tables = ("train", "optim", "corpus", "tokenizer")
    settings = {
        "config.json": config.to_dict(),
        "training.json": {f"{t}.{key}": value for t in tables for key, value in written[t].items()},
        "tokenizer.json": {"the SHA-256 of the tokens": tokens.hexdigest()},
    }
    found: dict[str, dict[str, Any]] = json.loads(json.dumps(settings))
    return found


def check_settings(
    folder: Path, settings: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any], where: str
) -> None:
    """Refuse to go on from a checkpoint under other settings than it was made with.

    Args:
        folder: of the run.
        settings: those of now (`settings_of`).
        state: of the checkpoint.
        where: its name.

    Raises:
        CheckpointError: naming the file, the key and both values.
    """
    for file, saved in state.get("settings", {}).items():  # an early checkpoint has none
        for key, value in saved.items():
            now = settings.get(file, {}).get(key)
            if now != value:
                raise CheckpointError(
                    f"{folder / file}: {key} is {now!r:.80}, but {where} was made with "
                    f"{value!r:.80}; bring that back, or begin a new run"
                )
