"""Training steps of one shape, side by side in one process, in turn: tokens a second and memory.

    python -m benchmarks.train_steps [--rounds 7] [--distilgpt2]

TinyGPT's shape, 8 x 128 tokens, the same fused AdamW for all: our step on the native engine and on
torch, a bare loop of torch on our model, the same on transformers' GPT2LMHeadModel, its Trainer;
our step with Muon; and Muon's update by itself: native, in torch, and torch.optim.Muon's. With
--distilgpt2 that shape at 1,024 tokens, 1 window: ours, ours with recomputed blocks, and
transformers' in the bare loop, each in a process of its own for its peak memory.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.config.train_config import BATCH_SIZE, OptimConfig, TrainConfig
from tinygpt.inference.device import pick_device, without_denormals
from tinygpt.model.gpt import GPT
from tinygpt.training.learner import Learner, new_model
from tinygpt.training.muon import Muon
from tinygpt.training.native_step import NativeTrainer

ADAMW = OptimConfig(optimizer="adamw")
Steps = Callable[[int], float]
"""Takes so many optimizer steps; returns the seconds."""


def ours(
    config: ModelConfig, optim: OptimConfig, train: TrainConfig, engine: str = "auto"
) -> Steps:
    """Our training step as it runs in `tinygpt train`."""
    model = new_model(config, 0, zero_init=True)
    learner = Learner(model, optim, pick_device("cpu"), train, engine)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, 100_000).astype(np.int32)

    def steps(n: int) -> float:
        began_s = time.perf_counter()
        for step in range(n):
            learner.update(ids, train, step, 0.5, lambda: False)
        return time.perf_counter() - began_s

    return steps


def bare(config: ModelConfig, train: TrainConfig, *, theirs: bool = False) -> Steps:
    """The loop that everybody writes, on our model or on transformers'."""
    model: Any = _theirs(config) if theirs else new_model(config, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    windows = torch.randint(config.vocab_size, (16, train.windows, train.block_size + 1))

    def steps(n: int) -> float:
        began_s = time.perf_counter()
        for step in range(n):
            x, y = windows[step % 16, :, :-1], windows[step % 16, :, 1:]
            logits = model(x).logits if theirs else model(x)
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()
        return time.perf_counter() - began_s

    return steps


def _theirs(config: ModelConfig) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    keys = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**{k: getattr(config, k) for k in keys}, **dropout, **ids))


def trainer(config: ModelConfig, train: TrainConfig) -> Steps:
    """transformers' Trainer; the steps' own time, without its start and end."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    rows = torch.randint(config.vocab_size, (4096, train.block_size))
    data = [{"input_ids": row, "labels": row} for row in rows]
    model = _theirs(config)

    def steps(n: int) -> float:
        spent = {"s": 0.0, "began_s": 0.0}

        class Watch(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                spent["began_s"] = spent["began_s"] or time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                spent["s"] = time.perf_counter() - spent["began_s"]

        args = TrainingArguments(
            output_dir=".race/trainer",
            per_device_train_batch_size=train.windows,
            max_steps=n,
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(model=model, args=args, train_dataset=data, callbacks=[Watch()]).train()
        return spent["s"]

    return steps


def race(contenders: dict[str, Steps], rounds: int, n: int, tokens: int) -> dict[str, list[float]]:
    """Take n steps of each in turn, again and again; tokens a second of each round."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for steps in contenders.values():
        steps(3)
    for _ in range(rounds):
        for name, steps in contenders.items():
            rates[name].append(n * tokens / steps(n))
    return rates


def show(rates: dict[str, list[float]], first: str) -> None:
    """Print the table; ratios are medians of the ratios of each round."""
    print(f"\n| step | tokens/s, median | range | {first} is so many times as fast |")
    print("|---|---|---|---|")
    for name, values in rates.items():
        times = [a / b for a, b in zip(rates[first], values, strict=True)]
        ratio = f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
        span = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"| {name} | {statistics.median(values):,.0f} | {span} | {ratio} |")


def tiny(rounds: int) -> None:
    """TinyGPT's shape."""
    config, train = replace(PRESETS["tinygpt"], vocab_size=65), TrainConfig(batch_size=8)
    contenders = {
        "ours, AdamW": ours(config, ADAMW, train),
        "ours, Muon": ours(config, OptimConfig(), train),
        "ours on torch, AdamW": ours(config, ADAMW, train, "torch"),
        "ours on torch, Muon": ours(config, OptimConfig(), train, "torch"),
        "bare loop, our model": bare(config, train),
        "bare loop, transformers' model": bare(config, train, theirs=True),
        "transformers' Trainer": trainer(config, train),
    }
    rates = race(contenders, rounds, 20, train.tokens_per_step)
    show(rates, "ours, AdamW")
    shares = [1 - m / a for m, a in zip(rates["ours, Muon"], rates["ours, AdamW"], strict=True)]
    median = statistics.median(shares)
    print(f"\nMuon's share of a step of 8 windows: {median:.1%} ", end="")
    print(f"({min(shares):.1%} to {max(shares):.1%})")
    wide = TrainConfig(batch_size=16)
    pair = {
        "AdamW": ours(config, ADAMW, wide),
        "Muon": ours(config, OptimConfig(), wide),
    }
    found = race(pair, rounds, 10, wide.tokens_per_step)
    shares = [1 - m / a for m, a in zip(found["Muon"], found["AdamW"], strict=True)]
    print(f"of 16 windows: {statistics.median(shares):.1%} ", end="")
    print(f"({min(shares):.1%} to {max(shares):.1%})")
    updates(config, rounds)


def updates(config: ModelConfig, rounds: int) -> None:
    """Muon's update of the same matrices by itself: native, in torch, and torch.optim.Muon's."""

    def matrices() -> tuple[GPT, dict[str, torch.nn.Parameter]]:
        model = new_model(config, 0)
        named = {n: p for n, p in model.named_parameters() if ".h." in n and p.ndim == 2}
        return model, named

    def given(named: dict[str, torch.nn.Parameter]) -> None:
        for p in named.values():
            p.grad = torch.randn_like(p)

    model, first = matrices()
    native = NativeTrainer(model)
    ids = torch.zeros((BATCH_SIZE, 2), dtype=torch.int64)
    native.gradients(ids, ids, scale=1.0, add=False)  # makes its threads
    settings = {"momentum": 0.9, "weight_decay": 0.1}
    _, second = matrices()
    _, third = matrices()
    for named in (first, second, third):
        given(named)
    compiled = Muon(first, update=native.muon, **settings)
    in_torch, theirs = Muon(second, **settings), torch.optim.Muon(third.values(), lr=1e-3)
    steps = {
        "native": lambda: compiled.step(1e-3),
        "ours in torch": lambda: in_torch.step(1e-3),
        "torch.optim.Muon": theirs.step,
    }
    took: dict[str, list[float]] = {name: [] for name in steps}
    for name, step in steps.items():  # not in turn: torch's threads spin on after each operation
        with native.at_work() if name == "native" else contextlib.nullcontext():
            for n in range(10 * rounds + 1):
                began_s = time.perf_counter()
                step()
                if n:  # the first one warms up
                    took[name].append(1000 * (time.perf_counter() - began_s))
        time.sleep(0.1)
    for name, values in took.items():
        span = f"{min(values):.1f} to {max(values):.1f}"
        print(f"Muon's update alone, {name}: {statistics.median(values):.1f} ms ({span})")


LARGE = ("ours", "ours, blocks recomputed", "bare loop, transformers' model")


def large(rounds: int) -> None:
    """distilgpt2's shape at full context: processes in turn, for the peak memory of each."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LARGE}
    for _ in range(rounds):
        for name in LARGE:
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.train_steps",
                "--one",
                name,
            ]
            out = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(out.stdout.splitlines()[-1]))
    show({name: [one["tok_per_s"] for one in many] for name, many in found.items()}, LARGE[0])
    for name, many in found.items():
        print(f"{name}: peak memory {statistics.median(o['peak_mib'] for o in many):,.0f} MiB")


def one(name: str) -> None:
    """Three steps after a first one, as JSON."""
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = replace(PRESETS["distilgpt2"], **dropout)
    train = TrainConfig(block_size=1024, batch_size=1, gradient_checkpointing="recomputed" in name)
    steps = (
        ours(config, ADAMW, train) if name.startswith("ours") else bare(config, train, theirs=True)
    )
    steps(1)
    rate = 3 * 1024 / steps(3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"tok_per_s": rate, "peak_mib": peak}))


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--distilgpt2", action="store_true")
    parser.add_argument("--one")
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.append(str(Path(__file__).parents[1] / ".venv-race-train"))
    with without_denormals():
        if given.one:
            one(given.one)
        elif given.distilgpt2:
            large(given.rounds or 3)
        else:
            tiny(given.rounds or 7)


if __name__ == "__main__":
    main()
