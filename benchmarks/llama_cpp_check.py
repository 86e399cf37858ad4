"""Run what `write_gguf` writes in llama.cpp and compare it with tinygpt, model by model.

    make check-gguf CORPUS=my.txt

makes an environment with llama-cpp-python (minutes: it is compiled), trains three small models on
the corpus, draws three with scaled-up random weights, writes each as GGUF, and prints one row per
model: how many texts become the same ids, how many tokens of a greedy continuation are the same up
to the first that differs, and the largest difference of a logit, over the standard deviation of
all. llama.cpp reads GELU from a table in float16; the last column compares with a tinygpt that does
so too, which leaves what the file could be to blame for. Its KV cache is set to float32.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

N_NEW = 110
SHAPE = {"n_positions": 192, "n_embd": 63, "n_layer": 3, "n_head": 3, "n_inner": 101}
LETTERS = "\n !',-.:;?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PROMPT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak"
YEAR = "It's 1984 — or isn't it?"


def main() -> None:
    """Make the models, let both compute, print the table; exit 1 if something differs."""
    corpus, llama_python = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [*_trained(folder, corpus), *_random(folder)]
        cases = [_with_tinygpt(folder / name, *rest) for name, *rest in models]
        (folder / "cases.json").write_text(json.dumps(cases))
        subprocess.run([llama_python, __file__, name], check=True)
        found = json.loads((folder / "found.json").read_text())
        rows = [_row(case, answer) for case, answer in zip(cases, found, strict=True)]
    print("| model | texts with the same ids | same greedy tokens | logits | logits, same GELU |")
    print("|---|---|---|---|---|")
    print("\n".join(line for line, _ in rows))
    sys.exit(not all(same for _, same in rows))


def _trained(folder: Path, corpus: str) -> list[tuple[str, str, str, list[str]]]:
    """Train TinyGPT for 200 steps with each tokenizer that a run can make."""
    from tests.tokenizers.hard_texts import HARD

    from tinygpt.cli.main import main as tinygpt

    head = Path(corpus).read_text("utf-8")[:100_000]
    pieces = [head[start : start + 500] for start in range(0, len(head), 500)]
    models = []
    for kind, options in (("char", []), ("byte", []), ("bpe", ["--vocab-size", "1000"])):
        call = ["train", "--corpus", corpus, "--out", str(folder / kind), "--tokenizer", kind]
        call += ["--max-steps", "200", "--n-positions", "192", "--n-evals", "0", "--quiet"]
        if tinygpt([*call, *options, "--threads", "1"]):
            raise SystemExit(f"`tinygpt {' '.join(call)}` failed")
        texts = pieces if kind == "char" else pieces + HARD
        models.append((kind, f"{kind}, 200 steps on the corpus", PROMPT, texts))
    return models


def _random(folder: Path) -> list[tuple[str, str, str, list[str]]]:
    """Draw scaled-up weights: distilgpt2's shape, an odd one, and one with long characters."""
    from tests.tokenizers.hard_texts import HARD

    from tinygpt.config.model_config import PRESETS, ModelConfig
    from tinygpt.formats.hub import gpt2_vocabulary
    from tinygpt.tokenizers.char_byte import CharTokenizer
    from tinygpt.tokenizers.load import load_tokenizer

    narrow, wide = CharTokenizer.from_text(LETTERS), CharTokenizer.from_text(LETTERS + "äéßЖ€😀")
    odd = ModelConfig(
        vocab_size=narrow.vocab_size,
        **SHAPE,
        layer_norm_epsilon=1e-3,
        tie_word_embeddings=False,
    )
    _draw(folder / "gpt2", PRESETS["distilgpt2"], load_tokenizer(gpt2_vocabulary()))
    _draw(folder / "odd", odd, narrow)
    tied = replace(odd, vocab_size=wide.vocab_size, tie_word_embeddings=True)
    _draw(folder / "wide", tied, wide)
    return [
        ("gpt2", "distilgpt2's shape and vocabulary, random weights", YEAR, HARD),
        ("odd", "char, odd sizes, untied, random weights", PROMPT, [PROMPT, LETTERS]),
        ("wide", "char, other scripts, random weights", PROMPT, [PROMPT, "äéß Ж€😀", "😀é"]),
    ]


def _draw(folder: Path, config, tokenizer) -> None:
    import torch

    from tinygpt.formats.weights import write_safetensors
    from tinygpt.model.gpt import GPT
    from tinygpt.model.hf_weights import to_hf

    generator = torch.Generator().manual_seed(0)
    model = GPT(config)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator)
            scale = 0.5 * (32 / config.n_embd) ** 0.5 if parameter.ndim > 1 else 0.5
            parameter.copy_(scale * values + ("ln_" in name and name.endswith("weight")))
    folder.mkdir()
    tensors = to_hf(model.state_dict(), config)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    write_safetensors(folder / "model.safetensors", arrays)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    tokenizer.save(folder, config.n_positions)


def _with_tinygpt(folder: Path, title: str, start: str, texts: list[str]) -> dict:
    """Write the GGUF file; return the ids of the texts and a greedy continuation, save logits."""
    import torch

    from tinygpt import load
    from tinygpt.config.generation_config import GenerationConfig
    from tinygpt.formats.gguf import write_gguf
    from tinygpt.inference.generate import generate_ids
    from tinygpt.inference.torch_session import TorchSession

    print(title, file=sys.stderr)
    lm = load(folder, device="cpu")
    prompt = lm.tokenizer.encode(start).tolist()
    greedy = GenerationConfig(temperature=0, max_new_tokens=N_NEW)
    ids = [*prompt, *generate_ids(TorchSession(lm.model), prompt, greedy)]
    with torch.inference_mode():
        logits = [lm.model(torch.tensor([ids]))[0].numpy()]
        for module in lm.model.modules():
            if hasattr(module, "activation"):
                module.activation = _gelu_from_a_table
        logits.append(lm.model(torch.tensor([ids]))[0].numpy())
    out = write_gguf(folder, folder.with_suffix(".gguf")).path
    np.save(folder.with_suffix(".npy"), logits)
    known = [lm.tokenizer.encode(text).tolist() for text in texts]
    case = {"title": title, "gguf": str(out), "start": start, "ids": ids}
    return case | {"texts": texts, "known": known}


def _gelu_from_a_table(x):
    import torch

    half = torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()
    return torch.where(x >= 10, x, torch.where(x <= -10, 0.0, half))


def _with_llama_cpp(folder: Path) -> None:
    """Do the same in llama.cpp; runs in its own environment, which has no tinygpt."""
    import llama_cpp

    answers = []
    for case in json.loads((folder / "cases.json").read_text()):
        n = len(case["ids"])
        llama = llama_cpp.Llama(
            case["gguf"], n_ctx=n, logits_all=True, type_k=0, type_v=0, verbose=False
        )
        known = [
            llama.tokenize(text.encode(), add_bos=True, special=True) for text in case["texts"]
        ]
        ids = list(llama.tokenize(case["start"].encode(), add_bos=True, special=True))
        llama.eval(ids)
        for _ in range(N_NEW):
            ids.append(int(np.argmax(llama.scores[len(ids) - 1])))
            llama.eval(ids[-1:])
        llama.reset()
        llama.eval(case["ids"])
        np.save(f"{case['gguf']}.npy", llama.scores[:n])
        answers.append({"known": known, "ids": ids})
    (folder / "found.json").write_text(json.dumps(answers))


def _row(case: dict, answer: dict) -> tuple[str, bool]:
    """Return a model's row of the table, and whether texts and greedy tokens are all the same."""
    ours = np.load(Path(case["gguf"]).with_suffix(".npy"))
    theirs = np.load(f"{case['gguf']}.npy")[:, : ours.shape[2]]
    off, off_by_file = (np.abs(one - theirs).max() / ours[0].std() for one in ours)
    pairs = list(zip(case["texts"], case["known"], answer["known"], strict=True))
    for text, known, found in pairs:
        if known != found:
            print(f"{case['title']}: other ids for {text[:60]!r}", file=sys.stderr)
    n_texts = sum(known == found for _, known, found in pairs)
    n_greedy, n_prompt = N_NEW, len(case["ids"]) - N_NEW
    for place, (mine, other) in enumerate(zip(case["ids"], answer["ids"], strict=True)):
        if mine != other:
            n_greedy = place - n_prompt
            gap = (ours[0][place - 1][mine] - ours[0][place - 1][other]) / ours[0].std()
            print(f"{case['title']}: parts where two logits are {gap:.1e} apart", file=sys.stderr)
            break
    line = f"| {case['title']} | {n_texts} of {len(case['texts'])} | {n_greedy} of {N_NEW} "
    same = case["ids"] == answer["ids"] and n_texts == len(case["texts"])
    return f"{line}| {off:.1e} | {off_by_file:.1e} |", same


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _with_llama_cpp(Path(sys.argv[1]))
    else:
        main()
