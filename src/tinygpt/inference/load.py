"""From a name or a folder to a LanguageModel: what `tinygpt.load` does."""

from dataclasses import dataclass, replace
from pathlib import Path

from tinygpt.config.engine_options import DEFAULT_OPTIONS, EngineOptions
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.errors import ConfigError, MachineError
from tinygpt.formats.hub import gpt2_vocabulary, locate
from tinygpt.formats.model_folder import read_config, read_generation_config, read_json
from tinygpt.formats.weights import read_weights
from tinygpt.inference.engine import Engine
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.external_config import is_external
from tinygpt.model.hf_weights import to_hf
from tinygpt.tokenizers.char_byte import Tokenizer
from tinygpt.tokenizers.load import load_tokenizer
from tinygpt.tokenizers.padding import open_tokenizer

__all__ = ["Architecture", "load", "load_with", "open_model", "untrained", "without_weights"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A known model of which neither weights nor tokenizer are at hand."""

    name: str
    config: ModelConfig
    missing_weights: str
    tokenizer: Tokenizer | None = None


def load(
    name_or_path: str | Path,
    *,
    engine: str = "auto",
    precision: str = "exact",
    device: str = "auto",
    dtype: str = "auto",
    threads: int = 0,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> LanguageModel:
    """Open a run folder, a HF model folder or a hub name such as "distilgpt2".

    A folder of another family than GPT-2 is opened through transformers (the extra of that name).

    Args:
        engine: "native", "torch", or "auto": native where the CPU computes in float32, else torch.
            Texts are scored by torch unless native is asked for.
        precision: of the native engine: "exact", "int8" or "int8-dynamic".
        device: "auto", "cpu", "cuda" or "mps".
        dtype: of the weights in torch: "float32" (what "auto" means here) or "bfloat16".
        threads: CPU threads; 0 leaves the engine's choice.
        revision: branch, tag or commit on the hub.
        allow_pickle: also open `pytorch_model.bin` (with weights_only=True).

    Raises:
        CheckpointError: no such model, or a folder whose files do not belong together.
        ConfigError: an architecture that tinygpt does not compute, or an engine that is not here.
        MachineError: the hub can't be reached.
    """
    options = EngineOptions(
        engine=engine,
        precision=precision,
        device=device,
        dtype=dtype,
        threads=threads,
        allow_pickle=bool(allow_pickle),
    )
    return load_with(name_or_path, options, revision=revision)


def load_with(
    name_or_path: str | Path, options: EngineOptions, *, revision: str | None = None
) -> LanguageModel:
    """Open a model as `load` does, with its keywords in one object; errors as `load`."""
    found = locate(str(name_or_path), revision=revision, allow_pickle=options.allow_pickle)
    if is_external(data := read_json(found.path / "config.json")):
        if options.asks_native:
            raise ConfigError(
                f'{found.name}: model_type "{data["model_type"]}" is computed by transformers; '
                "leave out --engine and --precision, which are for GPT-2s"
            )
        from tinygpt.inference.transformers_backend.open import open_external  # the extra

        return open_external(found, options)
    config, notes = read_config(found.path)
    tokenizer, more_notes = open_tokenizer(found.path, config)
    return LanguageModel(
        name=found.name,
        path=found.path,
        commit=found.commit,
        config=config,
        generation_config=read_generation_config(found.path, config),
        tokenizer=tokenizer,
        engine=Engine(
            config,
            read_weights(found.path, allow_pickle=options.allow_pickle),
            where=str(found.path),
            source=found.path,
            options=options,
        ),
        notes=notes + more_notes,
    )


def untrained(
    name: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    why: str,
    options: EngineOptions = DEFAULT_OPTIONS,
) -> LanguageModel:
    """Make a model of a known architecture with random weights, labelled as such.

    Its sizes, its tokenizer and its speed are real; nothing that it predicts is.

    Args:
        name: what to call it.
        config: its architecture.
        tokenizer: its true tokenizer.
        why: one line: why the weights are missing, and the command that gets them.
        options: what runs it; random weights are float32 whatever its dtype.
    """
    import torch  # it draws the weights

    from tinygpt.model.gpt import GPT

    drawn = to_hf(GPT(config, torch.Generator().manual_seed(0)).state_dict(), config)
    return LanguageModel(
        name=name,
        path=None,
        commit=None,
        config=config,
        generation_config=GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id
        ),
        tokenizer=tokenizer,
        engine=Engine(
            config,
            {key: tensor.numpy() for key, tensor in drawn.items()},
            where=name,
            options=replace(options, dtype="auto"),
        ),
        missing_weights=why,
    )


def open_model(name: str, options: EngineOptions = DEFAULT_OPTIONS) -> LanguageModel | Architecture:
    """Open a model; a preset whose hub can't be reached comes with random weights, labelled.

    Errors as `load`.
    """
    try:
        return load_with(name, options)
    except MachineError as error:
        return without_weights(name, error, options)


def without_weights(
    name: str, error: MachineError, options: EngineOptions
) -> LanguageModel | Architecture:
    """Return a preset with random weights after `load` failed so; raise the error of all else."""
    if name not in PRESETS or name == "tinygpt":
        raise error
    why = str(error)
    try:
        tokenizer = load_tokenizer(gpt2_vocabulary())
    except MachineError as none:
        return Architecture(name, PRESETS[name], f"{why}; nor is its vocabulary at hand: {none}")
    return untrained(name, PRESETS[name], tokenizer, why, options)
