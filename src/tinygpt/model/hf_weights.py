"""The map between our state_dict and the tensors of a Hugging Face GPT-2 checkpoint.

Names are HF's already; what differs is the prefix, the orientation of four matrices (HF keeps
GPT-2's Conv1D, stored as (in, out), where nn.Linear has (out, in)), mask buffers that old files
carry, the tied output matrix, which a file holds once, and the spelling of GPT-2's first files.
Pure functions on anything with `.shape`, `.dtype` and `.T` (numpy arrays, torch tensors); nothing
is copied. Arrays read from files are checked for NaN and infinity.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import CheckpointError

__all__ = ["expected_shapes", "from_hf", "to_hf", "turned"]

_TRANSPOSED = re.compile(r"\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$")
# Words that wrappers put into a name: DataParallel, torch.compile, FSDP, gradient checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# A model that is the attribute of another module has that attribute's name before its own.
_NAME = re.compile(
    r"^(?:model\.|lm\.)*(?:transformer\.)?"
    r"(?P<name>(?:wte|wpe|ln_f|lm_head|h\.\d+|blocks\.\d+)\..+)\Z"
)
# GPT-2's first files, OpenAI's and transformer-lm's, spell a weight .g or .w and a bias .b.
_LAST = {"g": "weight", "w": "weight", "b": "bias"}
# What other models of the gpt2 family have besides the language model.
_OTHERS = {
    "score": "a classification head",
    "classifier": "a token classification head",
    "multiple_choice_head": "a multiple-choice head",
    "qa_outputs": "a question-answering head",
    "v_head": "a value head",
    "crossattention": "cross attention to an encoder",
    "ln_cross_attn": "cross attention to an encoder",
}
_PIECE = 2**16  # numbers
# Causal masks: buffers of old transformers versions, not to be confused with attn.c_attn.bias.
_MASK = re.compile(r"^h\.(\d+)\.attn\.(masked_)?bias$")


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return our state_dict's names and shapes, nn.Linear orientation, without `lm_head`."""
    c, inner = config.n_embd, config.inner_dim
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (config.vocab_size, c),
        "transformer.wpe.weight": (config.n_positions, c),
    }
    block = {
        "ln_1": (c,),
        "attn.c_attn": (3 * c, c),
        "attn.c_proj": (c, c),
        "ln_2": (c,),
        "mlp.c_fc": (inner, c),
        "mlp.c_proj": (c, inner),
    }
    for layer in range(config.n_layer):
        for part, shape in block.items():
            shapes[f"transformer.h.{layer}.{part}.weight"] = shape
            shapes[f"transformer.h.{layer}.{part}.bias"] = shape[:1]
    shapes["transformer.ln_f.weight"] = shapes["transformer.ln_f.bias"] = (c,)
    return shapes


def from_hf(tensors: Mapping[str, Any], config: ModelConfig, where: str) -> dict[str, Any]:
    """Turn a checkpoint's tensors into our state_dict (views, not copies).

    Args:
        tensors: any known variant: with or without prefixes, mask buffers, a stored head; in
            Conv1D's orientation, but for transformer-lm's names (`blocks.0...`).
        where: the file or folder, for messages.

    Returns:
        Our names -> arrays in nn.Linear orientation. `lm_head.weight` is there only if the head
        is not tied.

    Raises:
        CheckpointError: a tensor is missing, unknown, twice there, of the wrong shape, not of
            floats, or holds a NaN, an infinity or a number too large for float32.
    """
    found = _collect(tensors, config.n_layer, where)
    head = found.pop("lm_head.weight", None)
    expected = expected_shapes(config)
    _check(found, expected, where)
    if config.tie_word_embeddings:
        wte = found["transformer.wte.weight"]
        if head is not None and (head.shape != wte.shape or not bool((head == wte).all())):
            raise CheckpointError(
                f"{where}: lm_head.weight differs from wte.weight although config.json ties them; "
                'set "tie_word_embeddings": false in config.json if the head is its own'
            )
    elif head is None:
        raise CheckpointError(
            f"{where}: lm_head.weight is missing, and config.json says tie_word_embeddings: false"
        )
    else:
        shape = {"lm_head.weight": expected["transformer.wte.weight"]}
        _check({"lm_head.weight": head}, shape, where)
        found["lm_head.weight"] = head
    for name, array in found.items():
        if isinstance(array, np.ndarray) and not _is_finite(array):
            raise CheckpointError(
                f"{where}: {name!r} holds NaN, infinity or a number too large for float32; such "
                "weights compute nothing, take an earlier checkpoint or copy the file again"
            )
    return found


def to_hf(state: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Turn our state_dict into the tensors that GPT2LMHeadModel stores (views, not copies)."""
    tied = config.tie_word_embeddings
    return turned({k: v for k, v in state.items() if not (tied and k == "lm_head.weight")})


def turned(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the four matrices of each block round: Conv1D's (in, out) to (out, in), or back."""
    return {name: a.T if _TRANSPOSED.search(name) else a for name, a in tensors.items()}


def _collect(tensors: Mapping[str, Any], n_layer: int, where: str) -> dict[str, Any]:
    """Return our names -> arrays in nn.Linear orientation, a stored head included, no masks."""
    found: dict[str, Any] = {}
    layers = {str(layer) for layer in range(n_layer)}
    for key, array in tensors.items():
        bare = _bare_name(key, where)
        if (mask := _MASK.match(bare)) and mask[1] in layers:
            continue
        name = bare if bare.startswith("lm_head") else f"transformer.{bare}"
        if name in found:
            raise CheckpointError(
                f"{where}: the tensor {name!r:.80} is there twice (again as {key!r:.80})"
            )
        if "float" not in str(array.dtype):  # quantised weights would load as nonsense
            raise CheckpointError(
                f"{where}: the tensor {key!r:.80} holds {array.dtype}, not floats"
            )
        # OpenAI's matrices are convolutions of width 1.
        matrix = array[0] if "/" in key and tuple(array.shape[:1]) == (1,) else array
        conv = len(matrix.shape) == 2 and not re.search(r"(^|\.)blocks\.", key)
        found[name] = matrix.T if conv and _TRANSPOSED.search(name) else matrix
    return found


def _bare_name(key: str, where: str) -> str:
    """Return HF's name of a tensor without any prefix: "h.0.ln_1.weight"."""
    name = key
    if "/" in key:  # OpenAI's TensorFlow files: model/h0/attn/c_attn/w, model/wte
        name = re.sub(r"^h(\d)", r"h.\1", key.removeprefix("model/")).replace("/", ".")
        name = f"{name}.w" if name in ("wte", "wpe") else name
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    for part in parts:
        if part in _OTHERS:
            raise CheckpointError(
                f"{where}: the tensor {key!r:.80} belongs to {_OTHERS[part]}, which tinygpt does "
                "not compute; save the GPT2LMHeadModel alone"
            )
    match = _NAME.match(".".join([*parts[:-1], *(_LAST.get(part, part) for part in parts[-1:])]))
    if match is None:
        raise CheckpointError(
            f"{where}: the tensor {key!r:.80} is not part of a GPT-2; tinygpt opens GPT-2's "
            "language model alone"
        )
    return re.sub(r"^blocks\.", "h.", match["name"])


def _check(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    if missing := [name for name in expected if name not in found]:
        raise CheckpointError(
            f"{where}: {len(missing)} tensor(s) missing, the first is {missing[0]!r}; "
            "do config.json and the weights belong together?"
        )
    if unknown := [name for name in found if name not in expected]:
        raise CheckpointError(
            f"{where}: {len(unknown)} tensor(s) that config.json has no place for, the first is "
            f"{unknown[0]!r:.80}"
        )
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise CheckpointError(
                f"{where}: {name!r} has shape {tuple(found[name].shape)}, config.json asks for "
                f"{shape} (as out, in)"
            )


def _is_finite(array: np.ndarray[Any, Any]) -> bool:
    """Tell whether all floats can be float32: by their bits, in pieces that stay in the cache."""
    most = np.array(np.inf, array.dtype)
    if array.dtype.itemsize > 4:
        most = np.nextafter(np.array(np.finfo(np.float32).max, array.dtype), most)
    bits = f"u{array.itemsize}"
    limit, without_sign = most.view(bits), np.array(-1, f"i{array.itemsize}").view(bits) >> 1
    flat = (array if array.flags.c_contiguous else array.T).reshape(-1).view(bits)
    pieces = (flat[i : i + _PIECE] for i in range(0, len(flat), _PIECE))
    return all(bool(((piece & without_sign) < limit).all()) for piece in pieces)
