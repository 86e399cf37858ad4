"""Checkpoints of nanoGPT (ckpt.pt) and minGPT (model.pt) as our config, weights and tokenizer.

Both keep HF's names and nn.Linear's orientation. nanoGPT: exact GELU, one dropout, often without
biases (which is a bias of zero, in its LayerNorm too), output rows padded to a multiple of 64.
minGPT: tanh GELU, an output matrix of its own, and heads that no tensor's shape tells.
Source: github.com/karpathy/nanoGPT (train.py, model.py), github.com/karpathy/minGPT (model.py).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.schema import from_dict
from tinygpt.errors import CheckpointError, ConfigError, DataError
from tinygpt.formats.hub import gpt2_vocabulary
from tinygpt.formats.model_folder import read_json
from tinygpt.formats.nanogpt_meta import read_characters
from tinygpt.formats.weights import read_pickle
from tinygpt.model.hf_weights import expected_shapes, from_hf, turned
from tinygpt.tokenizers.char_byte import CharTokenizer, Tokenizer
from tinygpt.tokenizers.load import load_tokenizer

__all__ = ["Imported", "read_checkpoint"]

_Arrays = dict[str, np.ndarray[Any, Any]]

_NAMES = {"block_size": "n_positions"}  # the one size that HF calls otherwise
_MODEL_ARGS = ("n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout")
_DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
_PADDED_TO = 64  # nanoGPT's multiple for the rows of the output matrix
_GPT2_SIZES = (50257, 50304)  # GPT-2's vocabulary, and it padded

# Heads of minGPT's named sizes: its config.json names the size where it leaves n_head null.
_SIZES = {"gpt-mini": 6, "gpt-micro": 4, "gpt-nano": 3, "gopher-44m": 16, "openai-gpt": 12}
_HEADS = _SIZES | {name: preset.n_head for name, preset in PRESETS.items() if name[:4] == "gpt2"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """A foreign checkpoint in our terms."""

    kind: str
    """"nanoGPT" or "minGPT"."""
    config: ModelConfig
    state: _Arrays
    """Our names -> arrays in nn.Linear orientation, as `hf_weights.from_hf` gives them."""
    tokenizer: Tokenizer
    notes: tuple[str, ...]
    """One-line remarks on what was taken for what."""


def read_checkpoint(
    path: Path,
    *,
    allow_pickle: bool,
    meta: Path | None = None,
    text: Path | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> Imported:
    """Read a checkpoint of nanoGPT or minGPT.

    Args:
        allow_pickle: the user trusts the file, which is a pickle.
        meta: the corpus's meta.pkl; None looks where nanoGPT has it.
        text: the training text, whose distinct characters are the vocabulary.
        architecture: `n_head` or `activation_function`, where the file does not say them.

    Raises:
        CheckpointError: a damaged or unknown file, or a vocabulary that is not the model's.
        ConfigError: an impossible architecture.
        MachineError: GPT-2's vocabulary can't be had.
    """
    data = read_pickle(path, allow_pickle=allow_pickle)
    given = dict(architecture or {})
    if isinstance(data.get("model"), dict) and isinstance(data.get("model_args"), dict):
        kind, tensors = "nanoGPT", data["model"]
        config = _nanogpt_config(data["model_args"], given, path)
        if not data["model_args"].get("bias", True):
            shapes = expected_shapes(config)
            zeros = {k: np.zeros(s, np.float32) for k, s in shapes.items() if k.endswith(".bias")}
            tensors = tensors | zeros
    else:
        kind, tensors = "minGPT", data
        config = _mingpt_config(data, given, path)
    for name, value in tensors.items():
        if not _is_array(value):
            raise CheckpointError(f"{path}: {name!r} is no tensor but a {type(value).__name__}")
    settings = data.get("config")
    dataset = settings.get("dataset") if isinstance(settings, dict) else None
    state = from_hf(turned(tensors), config, str(path))
    tokenizer, rows, notes = _vocabulary(path, config.vocab_size, meta, text, dataset)
    for name in ("transformer.wte.weight", "lm_head.weight"):
        if name in state:
            state[name] = state[name][rows]
    config = replace(
        config,
        vocab_size=tokenizer.vocab_size,
        bos_token_id=tokenizer.eot_id,
        eos_token_id=tokenizer.eot_id,
    )
    notes = (f"{path}: {kind}, activation_function {config.activation_function}", *notes)
    return Imported(kind=kind, config=config, state=state, tokenizer=tokenizer, notes=notes)


def _nanogpt_config(args: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> ModelConfig:
    if unknown := [key for key in args if key not in _MODEL_ARGS]:
        raise CheckpointError(
            f"{path}: model_args has {unknown[0]!r}, which nanoGPT does not know; a fork that "
            "changes the model can't be converted"
        )
    if given.get("n_head", args.get("n_head")) != args.get("n_head"):
        raise ConfigError(
            f"n_head={given['n_head']}, but {path} says {args.get('n_head')}; leave --n-head out"
        )
    values = {_NAMES.get(k, k): v for k, v in args.items() if k not in ("bias", "dropout")}
    values |= dict.fromkeys(_DROPOUTS, args.get("dropout", 0.0))
    values |= {"activation_function": "gelu", **given}
    return from_dict(ModelConfig, values, f"{path}: model_args")


def _mingpt_config(tensors: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> ModelConfig:
    shapes: dict[str, tuple[int, ...]] = {
        part: next((v.shape for k, v in tensors.items() if k.endswith(part) and _is_array(v)), ())
        for part in ("wte.weight", "wpe.weight", "h.0.attn.c_attn.weight")
    }
    wte, wpe, c_attn = shapes.values()
    if (len(wte), len(wpe), len(c_attn)) != (2, 2, 2):
        raise CheckpointError(
            f"{path}: neither nanoGPT's ckpt.pt (model, model_args) nor minGPT's state_dict; it "
            f"holds {', '.join(map(repr, list(tensors)[:3])) or 'nothing'}"
        )
    if c_attn != (3 * wte[1], wte[1]):
        raise CheckpointError(
            f"{path}: c_attn.weight has shape {c_attn}, as in a Hugging Face model and not in "
            "minGPT; name it pytorch_model.bin, put config.json and tokenizer.json beside it, and "
            "give the folder"
        )
    table = _mingpt_table(path)
    n_layer = sum(key.endswith(".ln_1.weight") for key in tensors)
    found = {"n_layer": n_layer, "n_embd": wte[1], "vocab_size": wte[0], "block_size": wpe[0]}
    for key, value in found.items():
        if table.get(key) not in (None, value):
            raise CheckpointError(
                f"{path}: its tensors say {key}={value}, config.json beside it {table[key]!r}; "
                "the files do not belong together"
            )
    n_head = given.get("n_head", table.get("n_head") or _HEADS.get(str(table.get("model_type"))))
    if n_head is None:
        raise CheckpointError(
            f"{path}: no tensor tells the number of heads, and no config.json of minGPT is beside "
            "it; give --n-head"
        )
    dropouts = {name: table[name] for name in _DROPOUTS if name in table}
    sizes = {_NAMES.get(key, key): value for key, value in found.items()}
    values = {**sizes, **dropouts, "tie_word_embeddings": False, **given, "n_head": n_head}
    return from_dict(ModelConfig, values, str(path))


def _mingpt_table(path: Path) -> dict[str, Any]:
    """Return the table `model` of the config.json that minGPT writes beside its model.pt."""
    beside = path.with_name("config.json")
    table = read_json(beside).get("model") if beside.is_file() else None
    return table if isinstance(table, dict) else {}


def _vocabulary(
    path: Path, n_ids: int, meta: Path | None, text: Path | None, dataset: Any
) -> tuple[Tokenizer, Any, tuple[str, ...]]:
    """Return the tokenizer, the rows of the output matrix in the order of its ids, and notes."""
    if meta and text:
        raise ConfigError(f"--meta {meta} and --text {text}: give one vocabulary, not two")
    source = text or meta or _meta_beside(path, dataset)
    if source is not None:
        found = _distinct(source) if text else read_characters(source)
        order = sorted(range(len(found)), key=found.__getitem__)
        tokenizer: Tokenizer = CharTokenizer("".join(found[i] for i in order))
        notes: tuple[str, ...] = (f"characters: {source}",)
    elif n_ids in _GPT2_SIZES:
        tokenizer = load_tokenizer(gpt2_vocabulary())
        order = list(range(tokenizer.vocab_size))
        notes = (f"no meta.pkl, and {n_ids:,} ids: taken for GPT-2's BPE",)
    else:
        raise CheckpointError(
            f"{path}: nothing tells what its {n_ids} ids mean; give nanoGPT's meta.pkl with "
            "--meta, or the text it was trained on with --text"
        )
    n_known = tokenizer.vocab_size
    if n_ids not in (n_known, -(-n_known // _PADDED_TO) * _PADDED_TO):
        raise CheckpointError(
            f"{path}: the model has {n_ids} ids, {source or 'the vocabulary'} has {n_known}; they "
            "do not belong together, give the right --meta or --text"
        )
    if n_ids != n_known:
        notes += (f"the last {n_ids - n_known} of {n_ids:,} ids are padding, left out",)
    if order != list(range(n_known)):
        return tokenizer, order, (*notes, "ids are put in the order of code points")
    return tokenizer, slice(n_known), notes


def _meta_beside(path: Path, dataset: Any) -> Path | None:
    """Return the meta.pkl beside a checkpoint, or where nanoGPT keeps that of its dataset."""
    places = [path.with_name("meta.pkl")]
    if isinstance(dataset, str) and re.fullmatch(r"[\w-]+", dataset):  # and no way out
        places.append(path.absolute().parent.parent / "data" / dataset / "meta.pkl")
    return next((place for place in places if place.is_file()), None)


def _distinct(text: Path) -> tuple[str, ...]:
    try:
        # As both projects open it: each kind of line end is read as a newline.
        return tuple(sorted(set(text.read_text("utf-8"))))
    except UnicodeDecodeError as error:
        raise DataError(f"{text} is not UTF-8: {error}; give the training text") from None
    except OSError as error:
        raise DataError(f"{text} can't be read: {error.strerror or error}") from None


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
