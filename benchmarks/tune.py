"""How the default recipe was chosen: one setting changed at a time, judged on the monitor slice.

    python -m benchmarks.tune [--corpus tinyshakespeare] [--steps 600] [--seeds 2] [--only AdamW]

Prints a Markdown table: the loss on the last 2% of the training part (nats per token, not trained
on), median and range over the seeds. The held-out part decides nothing.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from tinygpt import ModelConfig, OptimConfig, TrainConfig, train
from tinygpt.config.model_config import PRESETS
from tinygpt.config.train_config import BATCH_SIZE
from tinygpt.data.corpora import Corpus, load_corpus
from tinygpt.runs.events import Evaluated
from tinygpt.tokenizers.char_byte import CharTokenizer

Settings = dict[str, float | str | bool]
ADAMW: Settings = {"optimizer": "adamw"}
VARIANTS: dict[str, tuple[Settings, Settings, Settings]] = {
    "the default recipe": ({}, {}, {}),
    "learning_rate 3e-3": ({"learning_rate": 3e-3}, {}, {}),
    "learning_rate 1e-2": ({"learning_rate": 1e-2}, {}, {}),
    "matrix_learning_rate 0.014": ({"matrix_learning_rate": 0.014}, {}, {}),
    "matrix_learning_rate 0.03": ({"matrix_learning_rate": 0.03}, {}, {}),
    "matrix 0.03, others 1e-2": ({"matrix_learning_rate": 0.03, "learning_rate": 1e-2}, {}, {}),
    "matrix 0.03, others 1.4e-2": ({"matrix_learning_rate": 0.03, "learning_rate": 1.4e-2}, {}, {}),
    "momentum 0.95": ({"momentum": 0.95}, {}, {}),
    "warmup_steps 0": ({"warmup_steps": 0}, {}, {}),
    "beta2 0.95": ({"beta2": 0.95}, {}, {}),
    "weight_decay 0": ({"weight_decay": 0.0}, {}, {}),
    "grad_clip 0": ({"grad_clip": 0.0}, {}, {}),
    "initializer_range 0.035": ({}, {"initializer_range": 0.035}, {}),
    "zero_init off": ({}, {}, {"zero_init": False}),
    "batch_size 4": ({}, {}, {"batch_size": 4}),
    "batch_size 16": ({}, {}, {"batch_size": 16}),
    "AdamW": (ADAMW, {}, {}),
    "AdamW, learning_rate 3e-3": (ADAMW | {"learning_rate": 3e-3}, {}, {}),
    "AdamW, learning_rate 8e-3": (ADAMW | {"learning_rate": 8e-3}, {}, {}),
    "AdamW, initializer_range 0.035": (ADAMW, {"initializer_range": 0.035}, {}),
    "AdamW, zero_init off": (ADAMW, {}, {"zero_init": False}),
    "AdamW, batch_size 4": (ADAMW, {}, {"batch_size": 4}),
}
"""Changed settings of OptimConfig, of ModelConfig and of TrainConfig; all see the same tokens."""


def monitor_loss(
    corpus: Corpus, config: ModelConfig, optim: OptimConfig, train_config: TrainConfig
) -> float:
    """Train and return the loss on the monitor slice, all of it."""
    with tempfile.TemporaryDirectory() as folder:
        last = None
        for event in train(
            config, train_config, corpus, optim_config=optim, out=Path(folder) / "run", device="cpu"
        ):
            if isinstance(event, Evaluated):
                last = event.monitor_loss
    assert last is not None
    return last


def main() -> None:
    """Run every variant with every seed, the seeds outermost, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="tinyshakespeare")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="variants whose name begins so")
    given = parser.parse_args()
    corpus = load_corpus(given.corpus)
    vocab_size = CharTokenizer.from_text(corpus.text).vocab_size
    losses: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed in range(given.seeds):
        for name, (optim, model, loop) in VARIANTS.items():
            if not name.startswith(given.only):
                continue
            config = replace(PRESETS["tinygpt"], **{"vocab_size": vocab_size} | model)
            windows = int(loop.get("batch_size", BATCH_SIZE))
            settings = {"batch_size": windows, "max_steps": given.steps * BATCH_SIZE // windows}
            fixed = {"n_evals": 1, "eval_tokens": 10**9, "keep_best": True, "sample_tokens": 1}
            train_config = TrainConfig(**fixed | loop | settings | {"seed": seed})
            loss = monitor_loss(corpus, config, OptimConfig(**optim), train_config)
            losses[name].append(loss)
            print(f"seed {seed}, {name}: {loss:.4f}", flush=True)
    print("\n| recipe | monitor_loss, median | range |\n|---|---|---|")
    for name, found in losses.items():
        if not found:
            continue
        span = f"{min(found):.4f} to {max(found):.4f}"
        print(f"| {name} | {statistics.median(found):.4f} | {span} |")


if __name__ == "__main__":
    main()
