"""From a name or a folder to a LanguageModel: what `tinygpt.load` does."""

from pathlib import Path
from typing import Any

import torch

from tinygpt.device import pick_device
from tinygpt.generation_config import GenerationConfig
from tinygpt.hf import from_hf
from tinygpt.hub import locate
from tinygpt.language_model import LanguageModel
from tinygpt.model import GPT
from tinygpt.model_config import ModelConfig
from tinygpt.model_folder import read_config, read_generation_config
from tinygpt.padding import open_tokenizer
from tinygpt.tokenizer import Tokenizer
from tinygpt.weights import read_weights

__all__ = ["build", "load", "untrained"]


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
    tokenizer, more_notes = open_tokenizer(found.path, config)
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
        notes=notes + more_notes,
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
