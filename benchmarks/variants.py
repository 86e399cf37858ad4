"""Write every published variant of a GPT-2 checkpoint, open it, and print how far the logits are.

    python -m benchmarks.variants

Each variant is a small model with wide random weights (at GPT-2's own 0.02 the wrong GELU passes),
written by transformers or by hand, and opened by `tinygpt.load` (of nanoGPT and minGPT:
foreign.py). The tests run the same list (tests/formats/test_variants.py).
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import tinygpt
from benchmarks.foreign import (
    C,
    H,
    L,
    Logits,
    P,
    State,
    char_folder,
    from_mingpt,
    from_nanogpt,
    from_padded_nanogpt,
    from_unsorted_nanogpt,
    wide,
)
from tinygpt.config.model_config import ACTIVATIONS
from tinygpt.formats.convert import convert
from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import BYTE_LETTERS

TOKENIZER = BPETokenizer(
    {letter: i for i, letter in enumerate(BYTE_LETTERS)} | {"ab": 256},
    [("a", "b")],
    {"<|endoftext|>": 257},
)
V = 258
SIZES = {"vocab_size": V, "n_positions": P, "n_embd": C, "n_head": H, "n_layer": L}
IDS = {"bos_token_id": 257, "eos_token_id": 257}


# --- transformers' own model, written in every way


def theirs(**config: Any) -> Any:
    """Make transformers' GPT-2 with wide random weights, eager attention."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = SIZES | IDS | {"attn_implementation": "eager"} | config
    model = GPT2LMHeadModel(GPT2Config(**settings)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.copy_(wide(name, parameter.shape, generator))
    return model


def logits_of(model: Any) -> Logits:
    """Return the logits of a transformers model as a function of ids."""
    return lambda ids: model(ids).logits


def saved(
    folder: Path,
    *,
    change: Callable[[State], State] = lambda state: state,
    config: Mapping[str, Any] | None = None,
    file: Callable[[dict[str, Any]], Any] = lambda data: data,
    pickled: bool = False,
    **settings: Any,
) -> Logits:
    """Let transformers write a folder, then turn it into a variant.

    Args:
        change: of the tensors, which are then written anew; a pickle if `pickled`.
        config: keys laid over config.json; `file` then changes what is written as JSON.
        settings: of GPT2Config.
    """
    from safetensors.torch import save_file

    model = theirs(**settings)
    state = change({k: v for k, v in model.state_dict().items() if k != "lm_head.weight"})
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    if pickled:
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    path = folder / "config.json"
    data = json.loads(path.read_text("utf-8")) | dict(config or {})
    path.write_text(json.dumps(file(data)), "utf-8")
    TOKENIZER.save(folder, P)
    return logits_of(model)


def renamed(rule: Callable[[str], str]) -> Callable[[State], State]:
    """Return a change of all names."""
    return lambda state: {rule(name): tensor.clone() for name, tensor in state.items()}


def bare(name: str) -> str:
    """Take the prefix `transformer.` off."""
    return name.removeprefix("transformer.")


def with_masks(dtype: torch.dtype, prefix: str) -> Callable[[State], State]:
    """Return a change that adds the causal masks of old files."""
    mask = torch.ones(P, P).tril().view(1, 1, P, P).to(dtype)
    masks = {f"{prefix}h.{i}.attn.bias": mask.clone() for i in range(L)}
    masks |= {f"{prefix}h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(L)}
    return lambda state: {prefix + bare(name): tensor for name, tensor in state.items()} | masks


def openai_names(state: State) -> State:
    """Spell names and shapes as OpenAI's TensorFlow files: model/h0/attn/c_attn/w, (1, in, out)."""
    out = {}
    for name, tensor in state.items():
        parts = bare(name).replace("h.", "h", 1).split(".")
        norm = parts[-2].startswith("ln_")
        last = {"weight": "g" if norm else "w", "bias": "b"}[parts[-1]]
        embedding = parts[0] in ("wte", "wpe")
        matrix = tensor.ndim == 2 and not embedding
        out["/".join(["model", *parts[:-1], *([] if embedding else [last])])] = (
            tensor[None] if matrix else tensor
        )
    return out


def transformer_lm_names(state: State) -> State:
    """Spell names and orientation as transformer-lm: blocks.0.ln_1.g, nn.Linear's (out, in)."""
    out = {}
    for name, tensor in state.items():
        new = bare(name).replace("h.", "blocks.", 1) if ".h." in name else bare(name)
        if ".ln_" in f".{new}":
            new = new.replace(".weight", ".g").replace(".bias", ".b")
        out[new] = tensor.T if tensor.ndim == 2 and "blocks." in new else tensor
    return out


def rounded(folder: Path, dtype: torch.dtype) -> Logits:
    """Write the weights in another precision; the reference computes in float32 on the same."""
    model = theirs().to(dtype)
    model.save_pretrained(folder)
    TOKENIZER.save(folder, P)
    return logits_of(model.float())


def sharded(folder: Path, pickled: bool) -> Logits:
    """Write several files and their index."""
    model = theirs()
    model.save_pretrained(folder, max_shard_size="20KB")
    TOKENIZER.save(folder, P)
    if pickled:
        from safetensors.torch import load_file

        index = folder / "model.safetensors.index.json"
        text = index.read_text("utf-8").replace("model-", "pytorch_model-")
        text = text.replace(".safetensors", ".bin")
        (folder / "pytorch_model.bin.index.json").write_text(text, "utf-8")
        for shard in sorted(folder.glob("model-*.safetensors")):
            name = shard.name.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
            torch.save(load_file(shard), folder / name)
            shard.unlink()
        index.unlink()
    assert len(list(folder.glob("*-of-*"))) > 1
    return logits_of(model)


def untied(folder: Path) -> Logits:
    """Write an output matrix of its own."""
    model = theirs(tie_word_embeddings=False)
    model.save_pretrained(folder)
    TOKENIZER.save(folder, P)
    return logits_of(model)


def added_tokens(folder: Path) -> Logits:
    """Let transformers add tokens to the tokenizer and rows to the model."""
    from transformers import AutoTokenizer

    TOKENIZER.save(folder, P)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    tokenizer.add_tokens(["zebra"])
    model = theirs(vocab_size=V + 2)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return logits_of(model)


def only(*keys: str) -> Callable[[dict[str, Any]], Any]:
    """Return a change that leaves only some keys of config.json."""
    return lambda data: {key: data[key] for key in keys}


def without(folder: Path, *names: str) -> Logits:
    """Leave files of the tokenizer out."""
    logits = saved(folder)
    for name in names:
        (folder / name).unlink()
    return logits


def added_rows(folder: Path, n: int) -> Logits:
    """Give the model more ids than its tokenizer has."""
    return saved(folder, vocab_size=V + n)


def default_ids(folder: Path) -> Logits:
    """Keep GPT2Config's default bos and eos, which are no ids of a small vocabulary."""
    return saved(folder, config={"bos_token_id": 50256, "eos_token_id": 50256})


# --- what transformers makes of what we write


def theirs_of_ours(folder: Path, build: Callable[[Path], Logits]) -> tuple[Logits, Logits]:
    """Write a source, convert it, and let transformers open the result."""
    from transformers import AutoModelForCausalLM

    reference = build(folder.with_name("source"))
    convert(str(folder.with_name("source")), folder, allow_pickle=True)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return reference, logits_of(model.eval())


CEREBRAS = {"activation_function": "gelu", "n_inner": 4 * C} | dict.fromkeys(
    ("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0
)
STRAYS = {"prefix": "", "temperature": 0.7, "line_by_line": True, "gradient_checkpointing": False}
OLD_KEYS = ("vocab_size", "n_positions", "n_embd", "n_head", "n_layer", "layer_norm_epsilon")

VARIANTS: dict[str, Callable[[Path], Logits]] = {
    "as transformers writes it": saved,
    "bare names, bool masks (openai's gpt2)": lambda f: saved(
        f, change=with_masks(torch.bool, ""), config={"architectures": ["GPT2Model"]}
    ),
    "`transformer.`, float masks (distilgpt2)": lambda f: saved(
        f, change=with_masks(torch.float32, "transformer.")
    ),
    "`module.` (DataParallel)": lambda f: saved(f, change=renamed(lambda n: f"module.{n}")),
    "`_orig_mod.` (torch.compile)": lambda f: saved(f, change=renamed(lambda n: f"_orig_mod.{n}")),
    "`_orig_mod.module.`": lambda f: saved(f, change=renamed(lambda n: f"_orig_mod.module.{n}")),
    "`h.0._orig_mod.` (blocks compiled), FSDP": lambda f: saved(
        f,
        change=renamed(lambda n: "_fsdp_wrapped_module." + n.replace(".attn.", "._orig_mod.attn.")),
    ),
    "`model.`": lambda f: saved(f, change=renamed(lambda n: f"model.{bare(n)}")),
    "`model.transformer.`": lambda f: saved(f, change=renamed(lambda n: f"model.{n}")),
    "`lm.model.`": lambda f: saved(f, change=renamed(lambda n: f"lm.model.{n}")),
    "OpenAI's TensorFlow names": lambda f: saved(f, change=openai_names),
    "transformer-lm's names and orientation": lambda f: saved(f, change=transformer_lm_names),
    "tied head stored too": lambda f: saved(
        f, change=lambda s: s | {"lm_head.weight": s["transformer.wte.weight"].clone()}
    ),
    "untied head": untied,
    "shards, safetensors": lambda f: sharded(f, False),
    "`pytorch_model.bin`": lambda f: saved(f, pickled=True),
    "shards, `.bin`": lambda f: sharded(f, True),
    "float16": lambda f: rounded(f, torch.float16),
    "bfloat16": lambda f: rounded(f, torch.bfloat16),
    "float64": lambda f: rounded(f, torch.float64),
    "old config.json (no model_type, no activation)": lambda f: saved(f, file=only(*OLD_KEYS)),
    "minimal config.json (five sizes)": lambda f: saved(f, file=only(*SIZES)),
    "config.json is a JSON text": lambda f: saved(f, file=json.dumps),
    "stray keys in config.json": lambda f: saved(f, config=STRAYS),
    "`n_ctx` is not `n_positions`": lambda f: saved(f, config={"n_ctx": 8}),
    "`n_inner` null": lambda f: saved(f, config={"n_inner": None}),
    "`n_inner` odd": lambda f: saved(f, n_inner=41),
    "Cerebras-GPT's keys": lambda f: saved(f, **CEREBRAS),
    "`layer_norm_epsilon` 1e-6": lambda f: saved(f, layer_norm_epsilon=1e-6),
    "`layer_norm_epsilon` 0.3": lambda f: saved(f, layer_norm_epsilon=0.3),
    "`reorder_and_upcast_attn`": lambda f: saved(f, reorder_and_upcast_attn=True),
    "bos, eos 50256 in a small vocabulary": default_ids,
    "tokens added by transformers": added_tokens,
    "46 rows more than the tokenizer": lambda f: added_rows(f, 46),
    "`vocab.json` + `merges.txt` alone": lambda f: without(
        f, "tokenizer.json", "tokenizer_config.json"
    ),
    **{
        f"`{name}`": lambda f, name=name: saved(f, activation_function=name) for name in ACTIVATIONS
    },
    "nanoGPT, no biases, characters": lambda f: from_nanogpt(f, bias=False, prefix=""),
    "nanoGPT, biases, `_orig_mod.`": lambda f: from_nanogpt(f, bias=True, prefix="_orig_mod."),
    "nanoGPT, 50304 rows to 50257": from_padded_nanogpt,
    "nanoGPT, meta.pkl in another order": from_unsorted_nanogpt,
    "minGPT, characters": from_mingpt,
}
"""Name -> what writes the folder and returns the reference."""

WRITTEN: dict[str, Callable[[Path], Logits]] = {
    "a GPT-2 folder": saved,
    "a GPT-2 folder with exact GELU, odd `n_inner`": lambda f: saved(
        f, activation_function="gelu", n_inner=41
    ),
    "an untied head": untied,
    "a character model": char_folder,
    "nanoGPT without biases": lambda f: from_nanogpt(f, bias=False, prefix=""),
    "minGPT": from_mingpt,
}
"""Name -> what writes the source of a conversion that transformers opens."""


def distance(ours: Logits, reference: Logits, vocab_size: int) -> float:
    """Return the largest difference of logits on random ids, in standard deviations."""
    ids = torch.randint(vocab_size, (4, P), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference(ids)
        return float((ours(ids) - expected).abs().max() / expected.std())


def opened(build: Callable[[Path], Logits], folder: Path) -> float:
    """Write a variant and open it with tinygpt."""
    reference = build(folder)
    lm = tinygpt.load(folder, allow_pickle=True)
    return distance(lm.model, reference, lm.config.vocab_size)


def reopened(build: Callable[[Path], Logits], folder: Path) -> float:
    """Write a source, convert it, and open the result with transformers."""
    reference, logits = theirs_of_ours(folder, build)
    return distance(logits, reference, tinygpt.load(folder).config.vocab_size)


def main() -> None:
    """Print the two tables of docs/model-folder.md."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    for title, table, measure in (
        ("opened by tinygpt", VARIANTS, opened),
        ("converted by tinygpt, opened by transformers", WRITTEN, reopened),
    ):
        print(f"| {title} | max difference / std of the logits |\n|---|---|")
        for name, build in table.items():
            with tempfile.TemporaryDirectory() as place:
                print(f"| {name} | {measure(build, Path(place, 'model')):.1e} |", flush=True)
        print()


if __name__ == "__main__":
    main()
