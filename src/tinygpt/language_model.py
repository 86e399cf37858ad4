"""LanguageModel: a model folder opened, whichever of the two scales it is. What `load` returns."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tinygpt import evaluate as evaluation
from tinygpt.device import pick_device
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.generate import prompt_ids, stream_text
from tinygpt.hf import from_hf
from tinygpt.hub import locate
from tinygpt.model import GPT
from tinygpt.model_config import ModelConfig
from tinygpt.model_folder import read_config, read_generation_config
from tinygpt.run_config import GenerationConfig
from tinygpt.tokenizer import Tokenizer
from tinygpt.tokenizer_file import load_tokenizer
from tinygpt.torch_session import TorchSession
from tinygpt.weights import read_weights

__all__ = ["LanguageModel", "build", "load", "untrained"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LanguageModel:
    """A model with its tokenizer and configs, ready to generate and to be evaluated."""

    name: str
    """What to call it: the run's or the hub's name."""
    path: Path | None
    """Its folder; None for a model that was made in memory."""
    commit: str | None
    """The hub's commit, where it came from there."""
    config: ModelConfig
    generation_config: GenerationConfig
    tokenizer: Tokenizer
    model: GPT
    notes: tuple[str, ...] = ()
    """One-line warnings about the folder, for the user."""
    missing_weights: str | None = None
    """Why the weights are random and how to get the real ones; None where they are real."""

    def stream(
        self,
        prompt: str = "",
        *,
        seed: int = 0,
        sample_index: int = 0,
        truncate_prompt: bool = False,
        **settings: Any,
    ) -> Iterator[str]:
        """Yield the continuation of a prompt piece by piece.

        Args:
            prompt: the text to continue; an empty one starts a new text.
            seed, sample_index: the same pair gives the same text.
            truncate_prompt: keep the tail of a prompt that is longer than n_positions.
            settings: any field of GenerationConfig; the folder's own value is the default.

        Raises:
            ConfigError: an unknown or impossible setting.
            TokenizerError: a character that the tokenizer lacks.
            ContextError: a prompt longer than n_positions.
        """
        chosen = self._settings(settings)
        ids = prompt_ids(self.tokenizer, prompt, self.config.n_positions, truncate=truncate_prompt)
        session = TorchSession(self.model)
        yield from stream_text(
            session, self.tokenizer, ids, chosen, seed=seed, sample_index=sample_index
        )

    def generate(self, prompt: str = "", **arguments: Any) -> str:
        """Return the continuation of a prompt; arguments and errors as `stream`."""
        return "".join(self.stream(prompt, **arguments))

    def evaluate(self, text: str, **arguments: Any) -> evaluation.Evaluation:
        """Score a text; arguments, result and errors as `evaluate.evaluate`."""
        return evaluation.evaluate(self.model, self.tokenizer, text, **arguments)

    def _settings(self, changes: dict[str, Any]) -> GenerationConfig:
        known = GenerationConfig.__dataclass_fields__
        if unknown := [name for name in changes if name not in known]:
            raise ConfigError(
                f'"{unknown[0]}" is not a generation setting (known: {", ".join(sorted(known))})'
            )
        return replace(self.generation_config, **changes)

    def __repr__(self) -> str:
        """Say which model this is and how large."""
        c = self.config
        sizes = f"{c.n_layer} layers x {c.n_head} heads x {c.n_embd} wide"
        return (
            f"<LanguageModel {self.name}: {sizes}, {self.tokenizer.kind} vocabulary of "
            f"{c.vocab_size:,}, context {c.n_positions}>"
        )


def load(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> LanguageModel:
    """Open a run folder, a HF model folder or a hub name such as "distilgpt2".

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        dtype: of the weights: "float32" (what "auto" means here) or "bfloat16".
        threads: CPU threads; 0 leaves torch's choice.
        revision: branch, tag or commit on the hub.
        allow_pickle: also open `pytorch_model.bin` (with weights_only=True).

    Raises:
        CheckpointError: no such model, or a folder whose files do not belong together.
        ConfigError: an architecture that tinygpt does not compute.
        MachineError: the hub can't be reached.
    """
    found = locate(str(name_or_path), revision=revision, allow_pickle=allow_pickle)
    config, notes = read_config(found.path)
    tokenizer = load_tokenizer(found.path)
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{found.path}: the tokenizer has {tokenizer.vocab_size} ids, config.json says "
            f"vocab_size={config.vocab_size}; the files do not belong together"
        )
    picked = pick_device(device, "float32" if dtype == "auto" else dtype, threads)
    tensors = read_weights(found.path, allow_pickle=allow_pickle)
    model = build(config, from_hf(tensors, config, str(found.path)))
    return LanguageModel(
        name=found.name,
        path=found.path,
        commit=found.commit,
        config=config,
        generation_config=read_generation_config(found.path, config),
        tokenizer=tokenizer,
        model=model.to(picked.device, picked.dtype),
        notes=notes,
    )


def untrained(
    name: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    why: str,
    *,
    device: str = "auto",
    threads: int = 0,
) -> LanguageModel:
    """Make a model of a known architecture with random weights, labelled as such.

    Its sizes, its tokenizer and its speed are real; nothing that it predicts is.

    Args:
        name: what to call it.
        config: its architecture.
        tokenizer: its true tokenizer.
        why: one line: why the weights are missing, and the command that gets them.
        device, threads: as `load`.
    """
    picked = pick_device(device, "float32", threads)
    return LanguageModel(
        name=name,
        path=None,
        commit=None,
        config=config,
        generation_config=GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id
        ),
        tokenizer=tokenizer,
        model=GPT(config, torch.Generator().manual_seed(0)).to(picked.device).eval(),
        missing_weights=why,
    )


def build(config: ModelConfig, state: dict[str, Any]) -> GPT:
    """Make a GPT whose parameters are the given numpy arrays (views stay views; fp16 becomes fp32).

    Args:
        state: `hf.from_hf`'s result.
    """
    with torch.device("meta"):
        model = GPT(config)
    tensors = {name: torch.from_numpy(array).float() for name, array in state.items()}
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    return model.eval()
