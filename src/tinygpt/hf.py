"""The map between our state_dict and the tensors of a Hugging Face GPT-2 checkpoint.

Names are HF's already; what differs is the prefix, the orientation of four matrices (HF keeps
GPT-2's Conv1D, stored as (in, out), where nn.Linear has (out, in)), mask buffers that old files
carry, and the tied output matrix, which a file holds once. Pure functions on anything with
`.shape`, `.dtype` and `.T` (numpy arrays, torch tensors); nothing is copied.
"""

import re
from collections.abc import Mapping
from typing import Any

from tinygpt.errors import CheckpointError
from tinygpt.model_config import ModelConfig

__all__ = ["expected_shapes", "from_hf", "to_hf"]

_TRANSPOSED = re.compile(r"\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$")
# Wrappers put their own prefixes before HF's: DataParallel, torch.compile, a module's attribute.
_NAME = re.compile(
    r"^(?:module\.|_orig_mod\.|model\.|lm\.)*(?:transformer\.)?"
    r"(?P<name>(?:wte|wpe|ln_f|lm_head|h\.\d+)\..+)\Z"
)
# Causal masks: buffers of old transformers versions, not to be confused with attn.c_attn.bias.
_MASK = re.compile(r"^h\.\d+\.attn\.(masked_)?bias$")


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
        tensors: any known variant: with or without prefixes, mask buffers, a stored head.
        where: the file or folder, for messages.

    Returns:
        Our names -> arrays in nn.Linear orientation. `lm_head.weight` is there only if the head
        is not tied.

    Raises:
        CheckpointError: a tensor is missing, unknown, twice there, of the wrong shape or not
            of floats.
    """
    found: dict[str, Any] = {}
    for key, array in tensors.items():
        match = _NAME.match(key)
        if match is None:
            raise CheckpointError(f"{where}: the tensor {key!r} is not part of a GPT-2")
        if _MASK.match(match["name"]):
            continue
        head = match["name"].startswith("lm_head")
        name = match["name"] if head else f"transformer.{match['name']}"
        if name in found:
            raise CheckpointError(f"{where}: the tensor {name!r} is there twice (again as {key!r})")
        if "float" not in str(array.dtype):  # quantised weights would load as nonsense
            raise CheckpointError(f"{where}: the tensor {key!r} holds {array.dtype}, not floats")
        found[name] = array.T if _TRANSPOSED.search(name) and len(array.shape) == 2 else array
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
    return found


def to_hf(state: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Turn our state_dict into the tensors that GPT2LMHeadModel stores (views, not copies)."""
    return {
        name: array.T if _TRANSPOSED.search(name) else array
        for name, array in state.items()
        if not (name == "lm_head.weight" and config.tie_word_embeddings)
    }


def _check(found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    if missing := [name for name in expected if name not in found]:
        raise CheckpointError(
            f"{where}: {len(missing)} tensor(s) missing, the first is {missing[0]!r}; "
            "do config.json and the weights belong together?"
        )
    if unknown := [name for name in found if name not in expected]:
        raise CheckpointError(
            f"{where}: {len(unknown)} tensor(s) that config.json has no place for, the first is "
            f"{unknown[0]!r}"
        )
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise CheckpointError(
                f"{where}: {name!r} has shape {tuple(found[name].shape)}, config.json asks for "
                f"{shape} (as out, in)"
            )
