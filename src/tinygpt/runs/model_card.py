"""README.md of a run: the model card, with what it was trained on and how to open it."""

from pathlib import Path

from tinygpt.config.model_config import ModelConfig
from tinygpt.escape import markdown
from tinygpt.model.costs import n_params
from tinygpt.runs.events import Evaluated
from tinygpt.runs.folder import Recipe

__all__ = ["model_card"]


def model_card(folder: Path, config: ModelConfig, recipe: Recipe, final: Evaluated) -> str:
    """Return the card as Markdown with Hugging Face's front matter (no licence: not ours to name).

    Args:
        folder: of the run; its name is the model's.
        config: the architecture.
        recipe: how it was trained.
        final: the last measurement.
    """
    name, kind = folder.resolve().name, recipe.tokenizer.tokenizer
    place = name if folder.is_absolute() else folder.as_posix()
    units = {"char": "characters", "byte": "bytes"}.get(kind, "byte-level BPE tokens")
    made = "trained from scratch"
    if recipe.start is not None:
        start = Path(recipe.start)
        made = f"fine-tuned from {markdown(start.name if start.is_absolute() else recipe.start)}"
    scored = (
        "all" if final.n_tokens == final.n_total else f"{final.n_tokens:,} of {final.n_total:,}"
    )
    rows = {
        "corpus": markdown(Path(recipe.corpus.corpus).name),
        "sha256 of the corpus": f"`{recipe.corpus.sha256}`",
        "trained on": f"{recipe.data['n_train_characters']:,} of "
        f"{recipe.data['n_characters']:,} characters (the last 10% are held out)",
        "parameters": f"{n_params(config):,}",
        "architecture": f"{config.n_layer} layers x {config.n_head} heads, {config.n_embd} wide",
        "vocabulary": f"{config.vocab_size:,} {units}",
        "longest context": f"{config.n_positions:,} tokens",
        "optimizer steps": f"{final.step:,} of {recipe.train.tokens_per_step:,} tokens",
        "val_loss": f"{final.val_loss:.4f} nats per token ({scored} held-out tokens, "
        f"disjoint windows of {recipe.train.block_size})",
    }
    if final.kept_step is not None:
        rows["weights kept"] = f"those of step {final.kept_step:,}, the best on the monitor slice"
    if final.monitor_loss is not None:
        rows["monitor_loss"] = (
            f"{final.monitor_loss:.4f} nats per token ({recipe.data['n_monitor_tokens']:,} tokens "
            "set apart from the training part)"
        )
    if final.bits_per_byte is not None:
        rows["bits per byte"] = (
            f"{final.bits_per_byte:.4f} (the first 32 KiB of the held-out part, "
            "stride half the context)"
        )
    table = "\n".join(f"| {label} | {value} |" for label, value in rows.items())
    tags = "\n".join(f"- {tag}" for tag in ("tinygpt", "gpt2", f"tokenizer-{kind}"))
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags:
{tags}
---

# {name}

A GPT-2-shaped language model over {units}, {made} with tinygpt {recipe.version}.

| | |
|---|---|
{table}

`training.json` holds every setting; `tinygpt train --config {place}` repeats the run.
val_loss is comparable only between models with this tokenizer; bits per byte between any two.

## How to open it

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{place}")
model = AutoModelForCausalLM.from_pretrained("{place}")
```

or `tinygpt sample {place}`, or in Python `tinygpt.load("{place}")`.
"""
