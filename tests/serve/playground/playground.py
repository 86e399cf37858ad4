"""A playground for a browser to visit: four small models and their runs behind one server.

`learned` is a run that was trained, `pieces` a folder with a BPE on the engine that auto takes,
`slow` writes 20 bytes a second, and HOSTILE writes one attack after the other.
"""

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.security.hostile import PAYLOADS
from tests.serve.live import SMALL, small_model

import tinygpt
from tinygpt.cli.main import main
from tinygpt.config.engine_options import EngineOptions
from tinygpt.config.generation_config import GenerationConfig
from tinygpt.formats.weights import write_safetensors
from tinygpt.inference.engine import Engine
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model.gpt import GPT
from tinygpt.model.hf_weights import to_hf
from tinygpt.serve import ServeConfig
from tinygpt.serve.app import create_app
from tinygpt.serve.metrics import Metrics
from tinygpt.serve.models import Served, serve_model
from tinygpt.serve.server import address, listen, serve
from tinygpt.tokenizers.bpe import BPETokenizer
from tinygpt.tokenizers.char_byte import BYTE_LETTERS

HOSTILE = "<img src=x onerror=alert(1)>"
"""The name of a model and of a run."""

ATTACKS = (
    *(one for one in PAYLOADS if one != "\ud800"),  # which no tokenizer can write
    "<b id=owned>bold</b>",
    "<iframe srcdoc='<script>parent.alert(8)</script>'>",
    "<style>@import url(//evil.example/x.css);</style>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<x-owned autofocus tabindex=1 onfocus=alert(9)>",
    "</textarea></pre></title><svg id=owned><a xlink:href='javascript:alert(10)'>",
)
"""30 texts that try to become elements, scripts, requests or marks of direction."""

SLOW_STEP_S = 0.05
TEXT = "".join(f"{i}. To be, or not to be: that is the question.\n" for i in range(120))


@dataclass(frozen=True, kw_only=True)
class Playground:
    """A server that is on, and its insides."""

    url: str
    runs: Path
    served: dict[str, Served]

    def idle(self) -> bool:
        """Tell whether no slot of any model is taken."""
        return not any(one.batcher.slots_in_use for one in self.served.values())


@contextlib.contextmanager
def playing(models: list[LanguageModel], runs: Path, **settings: Any) -> Iterator[Playground]:
    """Serve some models on a free port, as `tinygpt serve` does."""
    config = ServeConfig(**{"port": 0, "drain_s": 1.0, "runs": str(runs), **settings})
    metrics = Metrics()
    served = [serve_model(lm, config, metrics.observer(lm.name)) for lm in models]
    stop, ready = threading.Event(), threading.Event()
    with listen(config) as sock:
        given = {"stop": stop.is_set, "ready": ready.set}
        args = (create_app(served, config, metrics), served, config, sock)
        thread = threading.Thread(target=serve, args=args, kwargs=given)
        thread.start()
        assert ready.wait(30)
        try:
            names = {one.name: one for one in served}
            yield Playground(url=address(sock) + "/", runs=runs, served=names)
        finally:
            for one in served:
                one.batcher.close(0)
            stop.set()
            thread.join(30)


def learned(folder: Path) -> LanguageModel:
    """Train a run of characters for a few steps, with a sample at each evaluation."""
    corpus = folder.parent.parent / "corpus.txt"
    corpus.write_text(TEXT, "utf-8")
    shape = "--n-layer 2 --n-embd 16 --n-head 2 --n-positions 64 --block-size 64 --batch-size 4"
    budget = "--max-steps 12 --n-evals 3 --eval-tokens 256 --sample-tokens 20 --threads 1 -q"
    given = ["--corpus", str(corpus), "--out", str(folder), "--sample-prompt", "To be"]
    assert main(["train", *given, *shape.split(), *budget.split()]) == 0
    return tinygpt.load(folder, threads=1)


def pieces(folder: Path, make_gpt: Callable[..., GPT]) -> LanguageModel:
    """Write a folder of GPT-2's shape with a BPE of a few merges, and open it."""
    words = ("To", " be", ", or", " not", " that", " is", " the", " question")
    tokenizer = BPETokenizer(*_merged(words), {})
    config = dataclasses.replace(SMALL, vocab_size=tokenizer.vocab_size)
    tensors = to_hf(make_gpt(config).state_dict(), config)
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", {n: t.numpy() for n, t in tensors.items()})
    (folder / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")
    (folder / "generation_config.json").write_text(json.dumps(GenerationConfig().to_dict()))
    tokenizer.save(folder, config.n_positions)
    return tinygpt.load(folder, threads=1)


def slow(make_gpt: Callable[..., GPT]) -> LanguageModel:
    """A model of bytes that takes its time."""
    return dataclasses.replace(small_model(make_gpt, step_s=SLOW_STEP_S), name="slow")


def hostile(make_gpt: Callable[..., GPT]) -> LanguageModel:
    """A model whose likeliest token after position p is attack p, whatever stands before.

    Attention and MLP add nothing; each position points along an axis of its own, on which the
    embedding of one attack lies.
    """
    vocab, merges = _merged(ATTACKS)
    config = dataclasses.replace(SMALL, vocab_size=len(vocab))
    weights = {
        name: np.zeros(tensor.shape, np.float32)
        for name, tensor in to_hf(make_gpt(config).state_dict(), config).items()
    }
    by_name = {name.removeprefix("transformer."): array for name, array in weights.items()}
    by_name["ln_f.weight"][:] = 1
    for i, attack in enumerate(ATTACKS):
        by_name["wte.weight"][vocab[_spelled(attack)], i] = 1
        by_name["wpe.weight"][i :: len(ATTACKS), i] = 100
    options = EngineOptions(engine="torch", device="cpu", threads=1)
    engine = Engine(config, weights, where="the test", options=options)
    return LanguageModel(
        name=HOSTILE,
        path=None,
        commit=None,
        config=config,
        generation_config=GenerationConfig(),
        tokenizer=BPETokenizer(vocab, merges, {}),
        engine=engine,
    )


def hostile_run(folder: Path, like: Path) -> None:
    """Write a run whose samples are the attacks, with the curve of another one."""
    folder.mkdir()
    recipe = json.loads((like / "training.json").read_text("utf-8"))
    recipe["corpus"]["corpus"] = HOSTILE
    (folder / "training.json").write_text(json.dumps(recipe), "utf-8")
    (folder / "metrics.jsonl").write_bytes((like / "metrics.jsonl").read_bytes())
    given = {"event": "sampled", "tokens": 1, "elapsed_s": 1, "temperature": 0.8, "seed": 0}
    lines = [
        json.dumps({**given, "step": i, "prompt": attack, "text": attack})
        for i, attack in enumerate(ATTACKS)
    ]
    (folder / "samples.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")


def _spelled(text: str) -> str:
    """Spell a text as vocabularies do."""
    letters = {byte: letter for letter, byte in BYTE_LETTERS.items()}
    return "".join(letters[byte] for byte in text.encode())


def _merged(texts: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return the vocabulary and merges of a BPE that has a token for each of these texts."""
    vocab, merges = dict(BYTE_LETTERS), list[tuple[str, str]]()
    for whole in map(_spelled, texts):
        for i in range(1, len(whole)):
            if whole[: i + 1] not in vocab:
                vocab[whole[: i + 1]] = len(vocab)
                merges.append((whole[:i], whole[i]))
    return vocab, merges
