"""Checkpoints of nanoGPT and minGPT in small, and what they compute, written down once more.

The reference is plain tensor algebra from the published architecture: nn.Linear orientation, an
absent bias is no bias, nanoGPT's exact GELU and minGPT's tanh form. benchmarks/variants.py measures
against it, and the tests use the same files.
"""

import json
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tinygpt
from tinygpt.formats import nanogpt
from tinygpt.formats.convert import convert
from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import BYTE_LETTERS, CharTokenizer

Logits = Callable[[Tensor], Tensor]
"""(B, T) ids -> (B, T, V) logits of the reference."""
State = dict[str, Tensor]

P, C, H, L = 16, 32, 2, 2  # n_positions, n_embd, n_head, n_layer
CHARACTERS = "\n !,.abcdefghijklmnopqrstuvwxyzé"


def wide(name: str, shape: Any, generator: torch.Generator) -> Tensor:
    """Draw a parameter in which no mistake hides: wide, and no LayerNorm at 1 and 0."""
    is_gain = "ln_" in name and name.endswith("weight")
    return 0.5 * torch.randn(*shape, generator=generator) + (1.0 if is_gain else 0.0)


def foreign_logits(state: State, n_head: int, gelu: str) -> Logits:
    """Compute what a pre-norm GPT with these nn.Linear weights does; absent biases are none."""

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state.get(f"{name}.bias", torch.zeros(()))

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(()))

    def attend(x: Tensor, name: str) -> Tensor:
        t, c = x.shape[1:]
        q, k, v = linear(x, f"{name}.c_attn").unflatten(-1, (3, n_head, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT / math.sqrt(c / n_head)
        seen = torch.ones(t, t, dtype=torch.bool).tril()
        mixed = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v
        return linear(mixed.transpose(1, 2).flatten(2), f"{name}.c_proj")

    def bend(x: Tensor) -> Tensor:
        if gelu == "exact":
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def logits(ids: Tensor) -> Tensor:
        x = state["transformer.wte.weight"][ids] + state["transformer.wpe.weight"][: ids.shape[1]]
        for i in range(L):
            block = f"transformer.h.{i}"
            x = x + attend(norm(x, f"{block}.ln_1"), f"{block}.attn")
            hidden = bend(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc"))
            x = x + linear(hidden, f"{block}.mlp.c_proj")
        return norm(x, "transformer.ln_f") @ state["lm_head.weight"].T

    return logits


def foreign_state(vocab_size: int, *, bias: bool, tied: bool) -> State:
    """Draw wide weights under nanoGPT's and minGPT's names, in nn.Linear's orientation."""
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte": (vocab_size, C),
        "transformer.wpe": (P, C),
        "transformer.ln_f": (C,),
    }
    for i in range(L):
        shapes |= {f"transformer.h.{i}.{ln}": (C,) for ln in ("ln_1", "ln_2")}
        shapes |= {
            f"transformer.h.{i}.attn.c_attn": (3 * C, C),
            f"transformer.h.{i}.attn.c_proj": (C, C),
            f"transformer.h.{i}.mlp.c_fc": (4 * C, C),
            f"transformer.h.{i}.mlp.c_proj": (C, 4 * C),
        }
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = wide(f"{name}.weight", shape, generator)
        if bias and name not in ("transformer.wte", "transformer.wpe"):
            state[f"{name}.bias"] = wide(f"{name}.bias", shape[:1], generator)
    head = torch.randn(vocab_size, C, generator=generator) * 0.5
    state["lm_head.weight"] = state["transformer.wte.weight"] if tied else head
    return state


def meta_file(path: Path, characters: str) -> None:
    """Write the meta.pkl of a character corpus as nanoGPT's prepare.py does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    itos = dict(enumerate(characters))
    meta = {"vocab_size": len(itos), "itos": itos, "stoi": {c: i for i, c in itos.items()}}
    path.write_bytes(pickle.dumps(meta))


def nanogpt_file(
    path: Path, vocab_size: int, *, bias: bool = False, prefix: str = "", dataset: str = "text"
) -> State:
    """Write a ckpt.pt as nanoGPT's train.py does; return its weights."""
    state = foreign_state(vocab_size, bias=bias, tied=True)
    sizes = {"n_layer": L, "n_head": H, "n_embd": C, "block_size": P, "vocab_size": vocab_size}
    checkpoint = {
        "model": {prefix + name: tensor for name, tensor in state.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]},
        "model_args": {**sizes, "bias": bias, "dropout": 0.0},
        "iter_num": 5,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": dataset, "out_dir": path.parent.name, "batch_size": 12},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return state


def mingpt_file(path: Path, vocab_size: int, model: Mapping[str, Any] | None = None) -> State:
    """Write a model.pt and a config.json as minGPT does; return the weights."""
    state = foreign_state(vocab_size, bias=True, tied=False)
    masks = {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, P, P).tril() for i in range(L)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | masks, path)
    if model is not None:
        data = {"system": {"seed": 1}, "model": dict(model), "trainer": {"batch_size": 64}}
        path.with_name("config.json").write_text(json.dumps(data), "utf-8")
    return state


def from_nanogpt(folder: Path, *, bias: bool, prefix: str) -> Logits:
    """Convert a character nanoGPT whose meta.pkl is in its project's data folder."""
    project = folder.with_name("nanoGPT")
    state = nanogpt_file(
        project / "out" / "ckpt.pt", len(CHARACTERS), bias=bias, prefix=prefix, dataset="text"
    )
    meta_file(project / "data" / "text" / "meta.pkl", CHARACTERS)
    convert(str(project / "out"), folder, allow_pickle=True)
    return foreign_logits(state, H, "exact")


def from_padded_nanogpt(folder: Path) -> Logits:
    """Convert a nanoGPT of 50304 rows; a made-up BPE of 50257 stands in for GPT-2's."""
    letters = list(BYTE_LETTERS)
    merges = [(a, b) for a in letters for b in letters][:50000]
    vocab = {token: i for i, token in enumerate([*letters, *(a + b for a, b in merges)])}
    vocabulary = folder.with_name("vocabulary")
    BPETokenizer(vocab, merges, {"<|endoftext|>": 50256}).save(vocabulary, P)
    (vocabulary / "tokenizer.json").unlink()
    state = nanogpt_file(folder.with_name("out") / "ckpt.pt", 50304)
    real, nanogpt.gpt2_vocabulary = nanogpt.gpt2_vocabulary, lambda: vocabulary
    try:
        convert(str(folder.with_name("out") / "ckpt.pt"), folder, allow_pickle=True)
    finally:
        nanogpt.gpt2_vocabulary = real
    logits = foreign_logits(state, H, "exact")
    return lambda ids: logits(ids)[..., :50257]


def from_unsorted_nanogpt(folder: Path) -> Logits:
    """Convert a nanoGPT whose meta.pkl is not in the order of code points."""
    mixed = CHARACTERS[::-1]
    state = nanogpt_file(folder.with_name("ckpt.pt"), len(mixed))
    meta_file(folder.with_name("meta.pkl"), mixed)
    convert(str(folder.with_name("ckpt.pt")), folder, allow_pickle=True)
    logits = foreign_logits(state, H, "exact")
    order = torch.tensor([mixed.index(c) for c in sorted(mixed)])  # our id -> nanoGPT's
    return lambda ids: logits(order[ids])[..., order]


def from_mingpt(folder: Path) -> Logits:
    """Convert a character minGPT with its config.json and its training text."""
    state = mingpt_file(
        folder.with_name("out") / "model.pt", len(CHARACTERS), {"n_head": H, "n_layer": None}
    )
    text = folder.with_name("input.txt")
    text.write_text(CHARACTERS * 3, "utf-8")
    convert(str(folder.with_name("out")), folder, text=text, allow_pickle=True)
    return foreign_logits(state, H, "tanh")


def char_folder(folder: Path) -> Logits:
    """Write a small character model of our own layout, as a run folder has it."""
    state = nanogpt_file(folder.with_name("char.pt"), len(CHARACTERS), bias=True)
    meta_file(folder.with_name("meta.pkl"), CHARACTERS)
    convert(
        str(folder.with_name("char.pt")),
        folder,
        allow_pickle=True,
        architecture={"activation_function": "gelu_new"},
    )
    assert isinstance(tinygpt.load(folder).tokenizer, CharTokenizer)
    return foreign_logits(state, H, "tanh")
