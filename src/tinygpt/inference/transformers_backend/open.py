"""Any causal LM that AutoModelForCausalLM opens, as a LanguageModel: the extra `transformers`.

The only module that imports transformers, and only when a folder's model_type is not gpt2. Nothing
is fetched, no code of a folder is run, and weights are safetensors unless pickles are allowed. What
the model costs is counted on the module itself, built without weights (`meta`).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.model_config import MAX_LAYERS
from tinygpt.errors import CheckpointError, ConfigError, TinyGPTError
from tinygpt.formats.hub import Located
from tinygpt.formats.model_files import MODEL_FOLDER, file_names, missing_file
from tinygpt.formats.model_folder import read_generation_config
from tinygpt.inference.device import pick_device
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.transformers_backend.costs import blocks, count
from tinygpt.inference.transformers_backend.safety import read_external
from tinygpt.inference.transformers_backend.session import TransformersEngine
from tinygpt.inference.transformers_backend.tokenizer import TransformersTokenizer
from tinygpt.model.external_config import ExternalConfig

__all__ = ["external_config", "open_external"]

_OLDEST = (5, 3)
"""transformers before this ran code that a config.json named (CVE-2026-4372, CVE-2026-5241)."""

_LONGEST = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
"""What families call their longest context."""


def external_config(folder: Path) -> ExternalConfig:
    """Return what a folder's model is and costs; its weights are not opened.

    Raises:
        CheckpointError: a file is missing, damaged, or names code to run.
        ConfigError: transformers is not installed, or the model is too large or no causal LM.
    """
    return _describe(folder, read_external(folder))[0]


def open_external(found: Located, options: EngineOptions) -> LanguageModel:
    """Open a model folder through transformers; errors as `load`.

    Raises:
        ConfigError: transformers is not installed, or the model is no causal LM.
    """
    folder, data = found.path, read_external(found.path)
    names = file_names(folder)
    if missing := missing_file(folder, names, options.allow_pickle):
        pickled = missing == "model.safetensors" and any(name.endswith(".bin") for name in names)
        why = "; its weights are a pickle: if you trust it, --allow-pickle" if pickled else ""
        raise CheckpointError(f"{folder} has no {missing}; {MODEL_FOLDER}{why}")
    config, tokenizer, start_id = _describe(folder, data)
    held, n_params = sum((folder / n).stat().st_size for n in names), config.account.n_params
    if held < n_params:  # else what is missing would be drawn at random first, and fill the memory
        raise CheckpointError(
            f"{folder}: config.json makes a {config.model_type} of {n_params:,} parameters, its "
            f"files hold {held:,} bytes; copy both from where the model came from"
        )
    dtype = "float32" if options.dtype == "auto" else options.dtype
    picked = pick_device(options.device, dtype, options.threads)
    safe = any(name.endswith(".safetensors") for name in names)
    module, notes = _weights(folder, picked.dtype, safe)
    _refuse_foresight(module, config, folder)
    if config.start_token is not None:
        notes += (
            f"{folder}: {config.start_token} stands before every window, unscored, and takes one "
            f"of {config.n_positions + 1:,} positions",
        )
    return LanguageModel(
        name=found.name,
        path=folder,
        commit=found.commit,
        config=config,
        generation_config=read_generation_config(folder, config),
        tokenizer=tokenizer,
        engine=TransformersEngine(module.to(picked.device), config, start_id, options),
        notes=notes,
    )


# --- the library


def _library() -> Any:
    """Return transformers; ConfigError with the command that installs it."""
    try:
        import transformers
    except ImportError:
        why = "which is not installed"
    else:
        version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
        if version >= _OLDEST:
            return transformers
        why = f"of which {transformers.__version__} is installed and 5.3 needed"
    raise ConfigError(
        "a model that is not a GPT-2 is opened through transformers, "
        f'{why}: pip install "tinygpt[transformers]"'
    )


@contextlib.contextmanager
def _quietly(library: Any, folder: Path) -> Iterator[None]:
    """Let transformers say nothing, and turn what it raises into one line."""
    log = library.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    except TinyGPTError:
        raise
    except Exception as error:  # many kinds, of many libraries; each means that it can't be opened
        _give_up(folder, error)
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


def _give_up(folder: Path, error: Exception) -> NoReturn:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    reason = lines[0].partition(". ")[0][:300].rstrip(".:")
    raise CheckpointError(
        f"{folder}: transformers can't open it as a causal language model: {reason}"
    ) from None


# --- what it is


def _describe(
    folder: Path, data: dict[str, Any]
) -> tuple[ExternalConfig, TransformersTokenizer, int | None]:
    """Return config, tokenizer and the id that stands before every window, if any."""
    whole, module, reader = _shapes(folder)
    config = whole.get_text_config(decoder=True)
    vocab_size = int(module.get_output_embeddings().weight.shape[0])
    begun = reader("a")["input_ids"]
    starts = (
        begun[:1] == [reader.bos_token_id] != reader("a", add_special_tokens=False)["input_ids"]
    )
    longest, n_head = _longest(config, folder), getattr(config, "num_attention_heads", None)
    known = ExternalConfig(
        model_type=str(whole.model_type),
        vocab_size=vocab_size,
        n_positions=longest - starts,
        n_embd=int(config.hidden_size),
        n_layer=int(config.num_hidden_layers),
        n_head=n_head,
        head_dim=getattr(config, "head_dim", None) or (n_head and config.hidden_size // n_head),
        blocks=blocks(module, config),
        start_token=reader.bos_token if starts else None,
        bos_token_id=_id(config.bos_token_id, vocab_size),
        eos_token_id=_id(config.eos_token_id, vocab_size),
        account=count(module, longest),
        data=data,
    )
    tokenizer = TransformersTokenizer(reader.backend_tokenizer, vocab_size, folder.name)
    return known, tokenizer, reader.bos_token_id if starts else None


def _shapes(folder: Path) -> tuple[Any, Any, Any]:
    """Return transformers' config, its module without weights, and its tokenizer."""
    library, local = _library(), {"local_files_only": True, "trust_remote_code": False}
    with _quietly(library, folder):
        config = library.AutoConfig.from_pretrained(folder, **local)
        n_layer = int(config.get_text_config(decoder=True).num_hidden_layers)
        if not 1 <= n_layer <= MAX_LAYERS:
            raise ConfigError(f"{folder}: {n_layer:,} layers; tinygpt opens 1 to {MAX_LAYERS:,}")
        with torch.device("meta"):  # in bfloat16, which the kernels for experts ask for
            module = library.AutoModelForCausalLM.from_config(
                config, trust_remote_code=False, dtype=torch.bfloat16
            )
        # The class that takes tokenizer.json as it is; AutoTokenizer guesses by the model's name.
        reader = library.PreTrainedTokenizerFast.from_pretrained(folder, **local)
    return config, module, reader


def _longest(config: Any, folder: Path) -> int:
    for name in _LONGEST:
        if isinstance(n := getattr(config, name, None), int) and n > 1:
            return n
    raise ConfigError(
        f"{folder / 'config.json'} names no longest context; add max_position_embeddings, the "
        "tokens that it was trained on at once"
    )


def _id(value: Any, vocab_size: int) -> int | None:
    """Return a token's id; of several the first, None for what is no id."""
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, int) and 0 <= value < vocab_size else None


# --- its weights


def _weights(folder: Path, dtype: torch.dtype, safe: bool) -> tuple[nn.Module, tuple[str, ...]]:
    """Open the weights, each of them from the folder, and say what was left over."""
    library = _library()
    with _quietly(library, folder):
        module, told = library.AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=safe,
            dtype=dtype,
            output_loading_info=True,
        )
    lacking = sorted(map(str, {*told["missing_keys"], *told["mismatched_keys"]}))
    if lacking:
        raise CheckpointError(
            f"{folder}: its weights lack {lacking[0]}, or it has another shape than config.json "
            f"says ({len(lacking)} in all); copy both files from where the model came from"
        )
    if strays := sorted(map(str, told["unexpected_keys"])):
        return module, (f"{folder}: {len(strays)} tensors are no part of the model: {strays[0]}",)
    return module, ()


@torch.inference_mode()
def _refuse_foresight(module: nn.Module, config: ExternalConfig, folder: Path) -> None:
    """Refuse a model whose scores for a token depend on what follows: it would read the answer."""
    rows = torch.tensor([[0, 0, 0], [0, 0, 1 % config.vocab_size]])
    first, second = module(rows).logits[:, 1].float()
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max())):
        raise ConfigError(
            f"{folder}: this {config.model_type} sees the tokens that it is to predict (no causal "
            "language model), so bits per byte would mean nothing"
        )
