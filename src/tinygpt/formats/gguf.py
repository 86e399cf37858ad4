"""Writes a model folder as one GGUF file for llama.cpp, and the Modelfile by which ollama takes it.

llama.cpp's architecture "gpt2" is our Transformer with the tanh form of GELU; what it does not
compute is refused by name. Weights become float32 in nn.Linear's orientation, a tied head is stored
once; gguf_tokenizer.py has the tokens. The package `gguf`, which knows the format, is an extra, and
this module is its one owner.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import ConfigError, MachineError
from tinygpt.formats.gguf_tokenizer import GGUFTokens, gguf_tokens
from tinygpt.formats.model_folder import read_config, read_generation_config
from tinygpt.formats.weights import read_weights
from tinygpt.model.hf_weights import from_hf
from tinygpt.tokenizers.padding import open_tokenizer

__all__ = ["GGUFWritten", "write_gguf"]

_TANH_GELU = (
    "gelu_new",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "gelu_fast",
    "gelu_accurate",
)
_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_NEVER = -10_000.0  # a logit that is never drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFWritten:
    """What `write_gguf` wrote."""

    path: Path
    """The GGUF file: sizes, tokenizer and weights in one."""
    modelfile: Path
    """The text beside it, for `ollama create NAME -f FILE`."""
    n_tensors: int
    """Tensors in the GGUF file."""
    n_bytes: int
    """Size of the GGUF file."""
    notes: tuple[str, ...]
    """One-line warnings about the folder, for the user."""


def write_gguf(folder: Path, out: Path, *, allow_pickle: bool = False) -> GGUFWritten:
    """Write the model of a folder as a GGUF file, with a Modelfile beside it.

    Args:
        folder: a run or another model folder.
        out: the new file; NAME.gguf gets NAME.Modelfile beside it.
        allow_pickle: also open `pytorch_model.bin` (with weights_only=True).

    Raises:
        CheckpointError: a folder whose files do not make a model.
        ConfigError: `out` is there already, or llama.cpp does not compute this architecture.
        MachineError: the package `gguf` is missing, or the disk refused.
    """
    modelfile = out.with_suffix(".Modelfile")
    for path in (out, modelfile):
        if os.path.lexists(path):
            raise ConfigError(f"{path} exists already and is never overwritten; choose another one")
    config, notes = read_config(folder)
    _refuse_what_llama_cpp_does_not_compute(config, folder)
    tokenizer, more_notes = open_tokenizer(folder, config)
    tokens = gguf_tokens(tokenizer, config.eos_token_id)
    text = _modelfile(out.name, config, read_generation_config(folder, config))
    tensors = from_hf(read_weights(folder, allow_pickle=allow_pickle), config, str(folder))
    if tokens.n_beginnings:
        tensors = _with_rows_never_drawn(tensors, tokens.n_beginnings)
    with _appearing(out) as temporary:
        _write(temporary, out.stem, config, tokens, tensors)
        modelfile.write_bytes(text.encode())
    return GGUFWritten(
        path=out,
        modelfile=modelfile,
        n_tensors=len(tensors),
        n_bytes=out.stat().st_size,
        notes=notes + more_notes,
    )


@contextlib.contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Give the name under which to write `out`, which is there only when all went well."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(out)
    except MachineError:  # an OSError too
        raise
    except OSError as error:
        raise MachineError(f"{out} can't be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # still there only if something failed, Ctrl-C included


def _refuse_what_llama_cpp_does_not_compute(config: ModelConfig, folder: Path) -> None:
    if config.activation_function not in _TANH_GELU:
        raise ConfigError(
            f'{folder}: activation_function="{config.activation_function}" is not computed by '
            "llama.cpp, whose GPT-2 knows gelu_new alone; run the folder with tinygpt itself"
        )
    if config.n_layer > _MAX_LAYERS:
        raise ConfigError(
            f"{folder}: n_layer={config.n_layer} is more than the {_MAX_LAYERS} layers that "
            "llama.cpp opens; run the folder with tinygpt itself"
        )


def _with_rows_never_drawn(tensors: Mapping[str, Any], n_rows: int) -> dict[str, Any]:
    """Add ids whose logit is `_NEVER`, whatever the text; every other logit stays what it was.

    LayerNorm gives n with sum 0, then y = g n + b. With g = b = 1 instead, a row of equal entries c
    sees c * C, a constant. A row w becomes w g, shifted by what makes its own constant w . b.
    """
    wte = tensors["transformer.wte.weight"]
    gain, bias = (
        tensors[f"transformer.ln_f.{kind}"].astype(np.float64) for kind in ("weight", "bias")
    )
    head = tensors.get("lm_head.weight", wte).astype(np.float64)  # (V, C)
    rows = head * gain
    rows += ((head @ bias - rows.sum(axis=1)) / bias.size)[:, None]
    never = np.full((n_rows, bias.size), _NEVER / bias.size)
    return dict(tensors) | {
        "transformer.wte.weight": np.concatenate([wte, np.zeros_like(wte, shape=never.shape)]),
        "transformer.ln_f.weight": np.ones_like(gain),
        "transformer.ln_f.bias": np.ones_like(bias),
        "lm_head.weight": np.concatenate([rows, never]),
    }


def _write(
    path: Path, name: str, config: ModelConfig, tokens: GGUFTokens, tensors: Mapping[str, Any]
) -> None:
    gguf = _package()
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.GPT2])
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.inner_dim)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    _add_tokens(gguf, writer, tokens, config.bos_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, config.n_layer)
    for ours, array in tensors.items():
        theirs = names.get_name(ours, try_suffixes=(".weight", ".bias"))
        writer.add_tensor_info(theirs, array.shape, np.dtype("<f4"), 4 * array.size)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for array in tensors.values():  # one at a time: transposed ones are copied
            writer.write_tensor_data(np.ascontiguousarray(array, dtype="<f4"))
        writer.flush()
        os.fsync(writer.fout[0].fileno())
    finally:
        writer.close()


def _add_tokens(gguf: Any, writer: Any, tokens: GGUFTokens, bos_id: int | None) -> None:
    kinds, types = gguf.TokenType, [gguf.TokenType.NORMAL] * len(tokens.texts)
    for i in tokens.special:
        types[i] = kinds.USER_DEFINED
    for i in tokens.hidden:
        types[i] = kinds.CONTROL
    writer.add_tokenizer_model(tokens.model)
    if tokens.merges:
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(tokens.merges)
    writer.add_token_list(tokens.texts)
    writer.add_token_types(types)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if bos_id is not None:
        writer.add_bos_token_id(bos_id)
    if tokens.eos_id is not None:
        writer.add_eos_token_id(tokens.eos_id)


def _modelfile(name: str, config: ModelConfig, settings: GenerationConfig) -> str:
    """Return what `ollama create` reads; each default of ollama's that differs is set."""
    parameters = {
        "num_ctx": config.n_positions,
        "num_predict": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_k": settings.top_k or 0,
        "top_p": settings.top_p,
        "min_p": settings.min_p,
        "repeat_penalty": settings.repetition_penalty,
        "repeat_last_n": -1,
    }
    lines = [f"FROM ./{name}", 'TEMPLATE """{{ .Prompt }}"""']
    lines += [f"PARAMETER {key} {value}" for key, value in parameters.items()]
    for stop in settings.stop_strings:
        printable = all(c.isprintable() or c in "\t\n\r" for c in stop)
        if '"""' in stop or not printable:
            raise ConfigError(
                f"the stop string {stop!r} can't stand in a Modelfile (three quotes, or a "
                "character without a form); take it out of generation_config.json"
            )
        lines.append(f'PARAMETER stop """{stop}"""')
    return "\n".join([*lines, ""])


def _package() -> Any:
    try:
        import gguf
    except ImportError:
        raise MachineError(
            "a GGUF file needs the package gguf, which is not installed: `pip install gguf`"
        ) from None
    return gguf
