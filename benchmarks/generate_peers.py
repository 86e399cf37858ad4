"""One contestant of the race of generation, run in its own environment by generate_race.py.

    python benchmarks/generate_peers.py prepare|first|measure PEER PRECISION FOLDER WORK [SIZES]

`prepare` converts the model folder for the peer, once; `first` prints a line at the first new
token; `measure` prints its speeds as JSON. Every peer continues ids by its most likely ones and is
given its best setting that keeps to THREADS threads; no peer imports what it does not need.
"""

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

THREADS = 2
Ids = list[list[int]]
Generate = Callable[[Ids, int], Ids]
"""(prompts of one length, number of new ids) -> the new ids of each."""


def tinygpt(folder: Path, work: Path, precision: str) -> tuple[Generate, str]:
    from tinygpt import load
    from tinygpt.config.generation_config import GenerationConfig
    from tinygpt.inference.generate import generate_batch

    torch = precision == "torch"
    engine = {"engine": "torch"} if torch else {"engine": "native", "precision": precision}
    lm, sessions = load(folder, device="cpu", threads=THREADS, **engine), {}

    def generate(prompts: Ids, n: int) -> Ids:
        session = sessions.setdefault(len(prompts), None) or lm.session(len(prompts))
        sessions[len(prompts)] = session
        out: Ids = [[] for _ in prompts]
        settings = GenerationConfig(temperature=0.0, max_new_tokens=n)
        for index, new in generate_batch(session, prompts, settings):
            if new is not None:
                out[index].append(new)
        return out

    return generate, str(lm.engine)


def tutorial(folder: Path, work: Path, precision: str) -> tuple[Generate, str]:
    """The loop of the tutorials: no cache, the window read anew for each token."""
    import torch

    from tinygpt import load

    lm = load(folder, engine="torch", device="cpu", threads=THREADS)

    def generate(prompts: Ids, n: int) -> Ids:
        ids = torch.tensor(prompts)
        with torch.no_grad():
            for _ in range(n):
                logits = lm.model(ids[:, -lm.config.n_positions :])[:, -1]
                ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
        return ids[:, len(prompts[0]) :].tolist()

    return generate, "a full forward pass for each token, torch float32"


def transformers(folder: Path, work: Path, precision: str) -> tuple[Generate, str]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()

    def generate(prompts: Ids, n: int) -> Ids:
        ids = torch.tensor(prompts)
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=n,
            min_new_tokens=n,
            pad_token_id=0,
        )
        return out[:, ids.shape[1] :].tolist()

    return generate, "generate(), sdpa, dynamic cache"


def ctranslate2(folder: Path, work: Path, precision: str) -> tuple[Generate, str]:
    import ctranslate2 as library

    model = library.Generator(
        str(work), device="cpu", compute_type=precision, inter_threads=1, intra_threads=THREADS
    )
    vocabulary = json.loads((work / "vocabulary.json").read_text("utf-8"))
    ids = {token: i for i, token in enumerate(vocabulary)}

    def generate(prompts: Ids, n: int) -> Ids:
        found = model.generate_batch(
            [[vocabulary[i] for i in prompt] for prompt in prompts],
            max_length=n,
            min_length=n,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        return [[ids[token] for token in one.sequences[0]] for one in found]

    return generate, f"compute_type={precision}, intra_threads={THREADS}"


def openvino(folder: Path, work: Path, precision: str) -> tuple[Generate, str]:
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    plan = genai.SchedulerConfig()
    plan.enable_prefix_caching = False  # a prompt that comes again would cost nothing
    hints = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    pipe = genai.LLMPipeline(str(work), "CPU", scheduler_config=plan, **hints)

    def generate(prompts: Ids, n: int) -> Ids:
        ids = np.array(prompts, np.int64)
        inputs = genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        settings = genai.GenerationConfig(max_new_tokens=n, ignore_eos=True, do_sample=False)
        settings.set_eos_token_id(0)  # the folder names none; it is ignored
        found = pipe.generate(inputs, settings)
        return [list(tokens) for tokens in found.tokens]

    return generate, "LLMPipeline, paged attention, no prefix caching, f32 hint"


def llama_cpp(folder: Path, work: Path, precision: str) -> tuple[Generate, str]:
    import llama_cpp as library
    import numpy as np

    library.llama_backend_init()
    path = str(work / "model.gguf").encode()
    model = library.llama_model_load_from_file(path, library.llama_model_default_params())
    n_vocab = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    params = library.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 8 * 1024, 4096, 512, 8
    params.n_threads = params.n_threads_batch = THREADS
    context = library.llama_init_from_model(model, params)
    batch = library.llama_batch_init(4096, 0, 1)

    def feed(rows: Ids, position: int) -> list[int]:
        """Append a row of ids to each sequence; return the most likely next id of each."""
        last, at = [], 0
        for sequence, row in enumerate(rows):
            for i, token in enumerate(row):
                batch.token[at], batch.pos[at] = token, position + i
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
                batch.logits[at] = i == len(row) - 1
                at += 1
            last.append(at - 1)
        batch.n_tokens = at
        if library.llama_decode(context, batch):
            raise RuntimeError("llama_decode failed")
        shape = (n_vocab,)
        logits = (library.llama_get_logits_ith(context, i) for i in last)
        return [int(np.ctypeslib.as_array(row, shape).argmax()) for row in logits]

    def generate(prompts: Ids, n: int) -> Ids:
        library.llama_memory_clear(library.llama_get_memory(context), True)
        new = feed(prompts, 0)
        out = [[i] for i in new]
        for step in range(1, n):
            new = feed([[i] for i in new], len(prompts[0]) + step - 1)
            for row, i in zip(out, new, strict=True):
                row.append(i)
        return out

    return generate, f"{precision}, llama_decode on batches, n_threads={THREADS}"


PEERS = {
    "tinygpt": tinygpt,
    "tutorial": tutorial,
    "transformers": transformers,
    "ctranslate2": ctranslate2,
    "openvino": openvino,
    "llama_cpp": llama_cpp,
}


def prepare(peer: str, precision: str, folder: Path, work: Path) -> None:
    """Convert the model; what is not named here reads the folder as it is."""
    work.mkdir(parents=True, exist_ok=True)
    if peer == "tinygpt" and precision != "torch":
        tinygpt(folder, work, precision)[0]([[0]], 1)  # packs the weights into the cache
    elif peer == "ctranslate2":
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder)).convert(str(work), quantization=precision, force=True)
    elif peer == "openvino":
        from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

        bits = OVWeightQuantizationConfig(bits=8) if precision == "int8" else None
        model = OVModelForCausalLM.from_pretrained(
            folder, export=True, load_in_8bit=False, quantization_config=bits
        )
        model.save_pretrained(work)
    elif peer == "llama_cpp" and precision == "Q8_0":
        import llama_cpp as library

        params = library.llama_model_quantize_default_params()
        params.ftype = library.LLAMA_FTYPE_MOSTLY_Q8_0
        source, target = (str(path).encode() for path in (folder / "model.gguf", work / "new"))
        if library.llama_model_quantize(source, target, ctypes.byref(params)):
            raise RuntimeError("llama_model_quantize failed")
        (work / "new").replace(work / "model.gguf")
    elif peer == "llama_cpp":
        (work / "model.gguf").unlink(missing_ok=True)
        (work / "model.gguf").symlink_to(folder / "model.gguf")


def measure(
    generate: Generate, sizes: dict[str, int], clock: Callable[[], float] = time.perf_counter
) -> dict[str, object]:
    """Return tokens per second: prefill, and decode in a batch of 1 and 8 without its prefill.

    Args:
        sizes: `vocab_size`, `prompt` and `new` of decode, `prefill` (0 leaves it out).
    """

    def prompt(n: int, seed: int) -> list[int]:  # never the same twice
        return [(7919 * (i + 1) * (seed + 3) + i * i) % sizes["vocab_size"] for i in range(n)]

    def seconds(prompts: Ids, n: int) -> float:
        began_s = clock()
        generate(prompts, n)
        return clock() - began_s

    found: dict[str, object] = {"ids": generate([prompt(sizes["prompt"], 0)], sizes["new"])[0]}
    for size in (1, 8):
        rows = [prompt(sizes["prompt"], 10 * size + i) for i in range(size)]
        generate(rows, 2)  # warms up
        one, whole = seconds(rows, 1), seconds(rows, sizes["new"] + 1)
        found[f"decode_{size}"] = size * sizes["new"] / (whole - one)
    if sizes["prefill"]:
        generate([prompt(sizes["prefill"], 98)], 1)  # warms up
        found["prefill"] = sizes["prefill"] / seconds([prompt(sizes["prefill"], 99)], 1)
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("VmHWM:"):
            found["peak_bytes"] = 1024 * int(line.split()[1])
    return found


def main() -> None:
    """Do what the arguments say."""
    what, peer, precision, folder, work, *sizes = sys.argv[1:]
    if what == "prepare":
        return prepare(peer, precision, Path(folder), Path(work))
    generate, setting = PEERS[peer](Path(folder), Path(work), precision)
    if what == "first":
        generate([[1, 2, 3, 4]], 1)
        print("first", flush=True)
        return None
    print(json.dumps({"setting": setting, **measure(generate, json.loads(sizes[0]))}))
    return None


if __name__ == "__main__":
    main()
