"""Prompts continued together against one after another, on random weights and one thread.

    python -m benchmarks.batches

Prints tokens per second for TinyGPT's and distilgpt2's shapes: the two ways alternate, median and
range of the rounds. Wall-clock time: a busy machine lowers both.
"""

import statistics
import time
from dataclasses import replace

import torch

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import PRESETS
from tinygpt.inference.generate import generate_batch, generate_ids
from tinygpt.inference.torch_session import TorchSession
from tinygpt.model.gpt import GPT

PROMPTS = [list(range(1, 9 + 3 * i)) for i in range(8)]  # 8 to 29 ids
ROUNDS = 5


def measure(name: str, n_new: int) -> None:
    """Time one shape both ways and print its line."""
    config = replace(PRESETS[name], bos_token_id=None, eos_token_id=None)
    model = GPT(config, torch.Generator().manual_seed(0)).eval()
    settings = GenerationConfig(temperature=1.0, max_new_tokens=n_new)
    n_tokens = len(PROMPTS) * n_new
    speeds: dict[str, list[float]] = {"one after another": [], "in 8 slots": []}
    for _ in range(1 + ROUNDS):  # the first one warms up
        began_s = time.perf_counter()
        for index, ids in enumerate(PROMPTS):
            session = TorchSession(model)
            for _ in generate_ids(session, ids, settings, sample_index=index):
                pass
        speeds["one after another"].append(n_tokens / (time.perf_counter() - began_s))
        began_s = time.perf_counter()
        for _ in generate_batch(TorchSession(model, n_slots=8), PROMPTS, settings):
            pass
        speeds["in 8 slots"].append(n_tokens / (time.perf_counter() - began_s))
    for way, found in speeds.items():
        counted = found[1:]
        print(
            f"{name}, 8 prompts {way}: {statistics.median(counted):,.0f} tokens/s "
            f"({min(counted):,.0f} to {max(counted):,.0f})"
        )


def main() -> None:
    """Measure both shapes."""
    torch.set_num_threads(1)
    measure("tinygpt", 100)
    measure("distilgpt2", 16)


if __name__ == "__main__":
    main()
