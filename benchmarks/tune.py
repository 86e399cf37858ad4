"""How the default recipe was chosen: one setting changed at a time, judged on the monitor slice.

    python -m benchmarks.tune [--corpus tinyshakespeare] [--steps 600] [--seeds 2]

Prints a Markdown table: the loss on the last 2% of the training part (nats per token, not trained
on), median and range over the seeds. The held-out part decides nothing.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from tinygpt import ModelConfig, OptimConfig, TrainConfig, train
from tinygpt.corpora import Corpus, load_corpus
from tinygpt.events import Evaluated
from tinygpt.model_config import PRESETS
from tinygpt.tokenizer import CharTokenizer

VARIANTS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "the default recipe": ({}, {}),
    "learning_rate 3e-3": ({"learning_rate": 3e-3}, {}),
    "learning_rate 6e-3": ({"learning_rate": 6e-3}, {}),
    "warmup_steps 100": ({"warmup_steps": 100}, {}),
    "beta1 0.9": ({"beta1": 0.9}, {}),
    "beta2 0.95": ({"beta2": 0.95}, {}),
    "weight_decay 0": ({"weight_decay": 0.0}, {}),
    "initializer_range 0.02": ({}, {"initializer_range": 0.02}),
    "initializer_range 0.1": ({}, {"initializer_range": 0.1}),
}
"""Changed settings of OptimConfig and of ModelConfig."""


def monitor_loss(
    corpus: Corpus, config: ModelConfig, optim: OptimConfig, *, steps: int, seed: int
) -> float:
    """Train for some steps and return the loss on the monitor slice, all of it."""
    settings = TrainConfig(
        max_steps=steps, n_evals=1, eval_tokens=10**9, keep_best=True, seed=seed, sample_tokens=1
    )
    with tempfile.TemporaryDirectory() as folder:
        last = None
        for event in train(
            config, settings, corpus, optim_config=optim, out=Path(folder) / "run", device="cpu"
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
    given = parser.parse_args()
    corpus = load_corpus(given.corpus)
    vocab_size = CharTokenizer.from_text(corpus.text).vocab_size
    losses: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed in range(given.seeds):
        for name, (optim, model) in VARIANTS.items():
            config = replace(PRESETS["tinygpt"], vocab_size=vocab_size, **model)
            loss = monitor_loss(corpus, config, OptimConfig(**optim), steps=given.steps, seed=seed)
            losses[name].append(loss)
            print(f"seed {seed}, {name}: {loss:.4f}", flush=True)
    print("\n| recipe | monitor_loss, median | range |\n|---|---|---|")
    for name, found in losses.items():
        span = f"{min(found):.4f} to {max(found):.4f}"
        print(f"| {name} | {statistics.median(found):.4f} | {span} |")


if __name__ == "__main__":
    main()
