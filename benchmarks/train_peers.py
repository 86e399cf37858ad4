"""What tinygpt races against in training, each a process of its own; started by train_race.py.

    python -m benchmarks.train_peers plain CORPUS OUT --block-size 64 --seed 0
    python -m benchmarks.train_peers trainer CORPUS OUT --learning-rate 1e-3 --max-steps 900

plain: the documented CPU settings of nanoGPT (batch 12, 2,000 steps, AdamW at 1e-3 falling by a
cosine to 1e-4 after 100 steps of warm-up, betas 0.9 and 0.99, decay 0.1, clip 1, GPT-2's initial
weights) in a loop written here, on our model: not nanoGPT, but those settings.
trainer: transformers' Trainer with GPT2LMHeadModel, its fused AdamW, linear decay, 8 x 128 tokens.
Both are scored by the scorer of all (`val_loss`): 8 times on the way on one sample, at the end on
all of the held-out part.
"""

import argparse
import contextlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinygpt.config.model_config import PRESETS, ModelConfig
from tinygpt.data.batches import evaluation_windows, prepare
from tinygpt.data.corpora import load_corpus
from tinygpt.model.gpt import GPT
from tinygpt.model.hf_weights import from_hf
from tinygpt.tokenizers.char_byte import CharTokenizer
from tinygpt.training.learner import new_model, trainable
from tinygpt.training.val_loss import n_windows, val_loss

N_EVALS, EVAL_TOKENS, BATCH, STEPS = 8, 8192, 12, 2000
STARTED_S = float(os.environ.get("RACE_STARTED_S", time.time()))


class Scores:
    """What a contender leaves behind: losses by the seconds since its process was started."""

    def __init__(self, held_out: np.ndarray[Any, Any], block_size: int) -> None:
        self.held_out, self.block_size = held_out, block_size
        self.curve: list[dict[str, float]] = []

    def take(self, model: GPT, tokens: int, *, final: bool = False) -> None:
        """Score the model: a sample of the held-out part, or in the end all of it."""
        n = n_windows(len(self.held_out), self.block_size)
        sample = evaluation_windows(n, math.ceil(EVAL_TOKENS / self.block_size))
        found = val_loss(model, self.held_out, self.block_size, windows=None if final else sample)
        self.curve.append(
            {"elapsed_s": time.time() - STARTED_S, "tokens": tokens, "val_loss": found.loss}
        )

    def write(self, out: Path, **more: Any) -> None:
        """Write all as JSON."""
        out.write_text(json.dumps({"curve": self.curve, **more}), "utf-8")


def batch(ids: torch.Tensor, size: int, block_size: int, generator: torch.Generator) -> Any:
    """Draw windows at random places: inputs and targets, (size, block_size) int64 each."""
    places = torch.randint(len(ids) - block_size, (size,), generator=generator)
    rows = torch.stack([ids[i : i + block_size + 1] for i in places])
    return rows[:, :-1], rows[:, 1:]


def plain(corpus: str, out: Path, block_size: int, seed: int) -> None:
    """Train with the documented settings."""
    ids, held_out, config = read(corpus, block_size, initializer_range=0.02)
    model, scores = new_model(config, seed), Scores(held_out, block_size)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator().manual_seed(seed)
    trained_s = 0.0
    for step in range(STEPS):
        if step % (STEPS // N_EVALS) == 0:
            scores.take(model, step * BATCH * block_size)
        began_s = time.perf_counter()
        fallen = 0.5 * (1 + math.cos(math.pi * max(0, step - 100) / (STEPS - 100)))
        rate = min(1e-3 * (step + 1) / 101, 1e-4 + 9e-4 * fallen)
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y = batch(ids, BATCH, block_size, generator)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        trained_s += time.perf_counter() - began_s
    scores.take(model, STEPS * BATCH * block_size, final=True)
    scores.write(out, tokens_per_s=STEPS * BATCH * block_size / trained_s)


def trainer(corpus: str, out: Path, rate: float, max_steps: int, seed: int) -> None:
    """Train transformers' model with its Trainer."""
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    block_size, size = 128, 8
    ids, held_out, config = read(corpus, block_size, initializer_range=0.02)
    torch.manual_seed(seed)
    keys = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    sizes = {key: getattr(config, key) for key in keys}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=0, eos_token_id=0))
    scores, clock = Scores(held_out, block_size), {"trained_s": 0.0, "began_s": 0.0}

    def ours() -> GPT:
        return trainable(config, from_hf(dict(model.state_dict()), config, "GPT2LMHeadModel"))

    class Windows(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            generator = torch.Generator().manual_seed(seed)
            while True:
                places = torch.randint(len(ids) - block_size, (1,), generator=generator)
                row = ids[int(places) : int(places) + block_size]  # the model shifts by itself
                yield {"input_ids": row, "labels": row}

    class Watch(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % math.ceil(max_steps / N_EVALS) == 0:
                scores.take(ours(), state.global_step * size * block_size)
            clock["began_s"] = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock["trained_s"] += time.perf_counter() - clock["began_s"]

    args = TrainingArguments(
        output_dir=str(out.with_suffix(".trainer")),
        per_device_train_batch_size=size,
        max_steps=max_steps,
        learning_rate=rate,
        lr_scheduler_type="linear",
        warmup_steps=min(100, max_steps // 10),
        weight_decay=0.1,
        adam_beta2=0.99,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    Trainer(model=model, args=args, train_dataset=Windows(), callbacks=[Watch()]).train()
    tokens = max_steps * size * block_size
    scores.take(ours(), tokens, final=True)
    scores.write(out, tokens_per_s=tokens / clock["trained_s"])


def read(corpus: str, block_size: int, **changes: Any) -> tuple[torch.Tensor, Any, ModelConfig]:
    """Return the ids to train on, the held-out ones, and TinyGPT's architecture for the text."""
    text = load_corpus(corpus)
    tokenizer = CharTokenizer.from_text(text.text)
    data = prepare(text, tokenizer, block_size)
    sizes = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = PRESETS["tinygpt"].to_dict() | sizes | changes
    config |= {"vocab_size": tokenizer.vocab_size, "n_positions": block_size}
    ids = torch.from_numpy(np.asarray(data.train, np.int64))
    return ids, data.held_out, ModelConfig.from_dict(config, where="the race")


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("plain", "trainer"))
    parser.add_argument("corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--max-steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with contextlib.suppress(AttributeError):
        torch.set_flush_denormal(True)
    if given.kind == "plain":
        plain(given.corpus, given.out, given.block_size, given.seed)
    else:
        trainer(given.corpus, given.out, given.learning_rate, given.max_steps, given.seed)


if __name__ == "__main__":
    main()
