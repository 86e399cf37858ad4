"""The run that the battery kills, and what must not change by it."""

import hashlib
import json
from pathlib import Path
from typing import Any

WORDS = "the cat sat on a mat; the dog ran to it, and nobody said a word.\n"
MICRO = [
    *("--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--n-positions", "16"),
    *("--block-size", "16", "--batch-size", "2", "--gradient-accumulation-steps", "2"),
    *("--dropout", "0.1", "--max-steps", "60", "--save-every", "5", "--n-evals", "4"),
    *("--eval-tokens", "64", "--sample-prompt", "the", "--sample-tokens", "4"),
    *("--warmup-steps", "5", "--threads", "1", "--device", "cpu"),
]
"""A run of about half a second: 60 steps, a checkpoint after every 5."""


def weights(run: Path) -> str:
    """Return the SHA-256 of a run's weights."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def computed(run: Path) -> list[dict[str, Any]]:
    """Return the lines of both logs that were computed: without times, starts and saves."""
    lines = []
    for name in ("metrics.jsonl", "samples.jsonl"):
        for text in (run / name).read_text("utf-8").splitlines():
            line = json.loads(text)
            if line["event"] in ("step", "evaluated", "sampled"):
                lines.append({k: v for k, v in line.items() if k != "elapsed_s"})
    return lines
