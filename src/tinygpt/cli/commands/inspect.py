"""`tinygpt inspect MODEL|PRESET`: what an architecture costs, from its config alone.

No weights are opened and no torch is imported; a preset needs no download. Only a model of another
family than GPT-2 is built, without its weights, by transformers.
"""

import dataclasses
from pathlib import Path
from typing import Any

import click

from tinygpt.cli import console, options, shared_options
from tinygpt.config.model_config import PRESETS, stray_keys
from tinygpt.config.train_config import TrainConfig
from tinygpt.doctor.diagnose import Diagnosis, count_labels, examine
from tinygpt.errors import ConfigError
from tinygpt.formats.model_folder import read_config, read_json
from tinygpt.model.external_config import AnyAccount, AnyConfig, account_of, is_external

__all__ = ["command"]

_NAMES = {
    "wte": "token embedding (wte)",
    "wpe": "positions (wpe)",
    "attention": "attention matrices",
    "attention_scores": "attention scores",
    "mlp": "MLP",
    "layer_norm": "LayerNorm",
    "lm_head": "output matrix (lm_head)",
    "other": "other",
}


@click.command(cls=options.Verb)
@click.argument("model", metavar="MODEL|PRESET", type=options.MODEL)
@options.add(TrainConfig, only=("batch_size", "block_size"))
@shared_options.options("json", "quiet")
def command(model: str, flags: options.Flags, as_json: bool, quiet: bool) -> None:
    """Show parameters, FLOPs and memory by component, and where each config key belongs.

    PRESET is tinygpt, distilgpt2, gpt2, gpt2-medium, gpt2-large or gpt2-xl.
    """
    config, data, path, warnings = _find(model)
    costs = _costs(config, flags)
    diagnosis = examine(data)
    for warning in warnings:
        console.say(warning, quiet=quiet)
    if as_json:
        document = {
            "name": model,
            "path": None if path is None else str(path),
            "config": config.to_dict(),
            "head_dim": config.head_dim,
            "account": dataclasses.asdict(costs),
            "keys": [key.to_dict() for key in diagnosis.keys],
            "stray_keys": stray_keys(data) if config.model_type == "gpt2" else [],
        }
        console.json_document(document)
    else:
        console.show(*_renderables(model, path, config, costs, diagnosis))
    word = console.word(model)
    if path is None:
        following = "tinygpt train" if model == "tinygpt" else f"tinygpt sample {word} Once"
    elif (path / "training.json").exists() and not (path / "model.safetensors").exists():
        following = f"tinygpt train --config {word}"  # what the doctor wrote
    else:
        following = f"tinygpt sample {word}"
    console.next_commands(following, quiet=quiet)


def _costs(config: AnyConfig, flags: options.Flags) -> AnyAccount:
    """Return what the model costs, and to train where tinygpt trains it."""
    if config.model_type != "gpt2":
        for name in flags[TrainConfig]:
            raise ConfigError(
                f"--{name.replace('_', '-')} is about training, which tinygpt does not do with a "
                f"{config.model_type}; leave it out"
            )
    given = {"block_size": min(TrainConfig().block_size, config.n_positions)}
    given |= {"batch_size": TrainConfig().windows} | flags[TrainConfig]
    return account_of(config, **given)


def _find(name: str) -> tuple[AnyConfig, dict[str, Any], Path | None, tuple[str, ...]]:
    """Return the config, the keys it was read from, the folder, and warnings."""
    if name in PRESETS and not Path(name).exists() and not (Path("runs") / name).exists():
        return PRESETS[name], PRESETS[name].to_dict(), None, ()
    from tinygpt.formats.hub import locate

    found = locate(name)
    if is_external(data := read_json(found.path / "config.json")):
        from tinygpt.inference.transformers_backend.open import external_config

        return external_config(found.path), data, found.path, ()
    config, warnings = read_config(found.path)
    return config, data, found.path, warnings


def _renderables(
    name: str,
    path: Path | None,
    config: AnyConfig,
    costs: AnyAccount,
    diagnosis: Diagnosis,
) -> list[Any]:
    from rich.text import Text

    head = Text(console.printable(name), style="bold")
    head.append(
        f"  {config.n_layer} layers x {config.n_head or 0} heads of {config.head_dim or 0}, "
        f"{config.n_embd} wide, context {config.n_positions:,}, vocabulary {config.vocab_size:,}"
        + ("" if config.model_type == "gpt2" else f"; {config.blocks}"),
        style="not bold",
    )
    tables = (_component_table(costs), _memory_table(costs), _key_table(diagnosis))
    return [head, *(part for table in tables for part in ("", table)), *_other_files(path)]


def _other_files(path: Path | None) -> list[str]:
    """Say what the keys of the folder's two other files are: no architecture among them."""
    lines = []
    for name in ("generation_config.json", "training.json"):
        if path is not None and (path / name).is_file():
            counts = count_labels(read_json(path / name))
            lines.append(f"{name}: {', '.join(f'{n} {label}' for label, n in counts.items())}")
    return lines


def _component_table(costs: AnyAccount) -> Any:
    from rich.table import Table

    table = Table(title="Parameters and FLOPs", title_justify="left", title_style="bold")
    table.add_column("component")
    for column in ("parameters", "share", "FLOPs per token", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    parameters, total = costs.n_params_by_component, costs.flops_per_token
    flops = costs.flops_per_token_by_component
    for key, label in _NAMES.items():
        n, cost = parameters.get(key), flops.get(key)
        if not cost and (n is None or (key != "lm_head" and not n)):
            continue
        table.add_row(
            label,
            "" if n is None else f"{n:,}" if n else "tied to wte",
            f"{n / costs.n_params:.1%}" if n else "",
            f"{cost:,}" if cost else "",
            f"{cost / total:.1%}" if cost and total else "",
        )
    table.add_section()
    known = "not known" if total is None else f"{total:,}"
    table.add_row("total", f"{costs.n_params:,}", "", known, "")
    table.add_row("without embeddings", f"{costs.n_params_non_embedding:,}", "", "", "")
    how = "; counted by torch on the model's shapes" if costs.counted else ""
    table.caption = f"FLOPs of a token that sees {costs.n_positions:,}; a multiply-add is 2{how}"
    table.caption_justify = "left"
    return table


def _memory_table(costs: AnyAccount) -> Any:
    from rich.table import Table

    table = Table(title="Memory in float32", title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)

    def add(what: str, n_bytes: int | None) -> None:
        known = ("not known", "") if n_bytes is None else (f"{n_bytes:,}", console.size(n_bytes))
        table.add_row(what, *known)

    add("weights", costs.weights_bytes)
    add("KV cache of one token", costs.kv_cache_bytes_per_token)
    add("KV cache of a full context", costs.kv_cache_bytes)
    if costs.training_memory_bytes is None:
        return table
    table.add_section()
    window = f"{costs.batch_size:,} x {costs.block_size:,} tokens"
    add(f"training step of {window}", costs.training_memory_bytes)
    for part, n_bytes in costs.training_memory_bytes_by_component.items():
        add(f"  {part}", n_bytes)
    for part, n_bytes in costs.activation_bytes_by_component.items():
        add(f"    {part}", n_bytes)
    return table


def _key_table(diagnosis: Diagnosis) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Keys of config.json", title_justify="left", title_style="bold")
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("is", no_wrap=True)
    for key in diagnosis.keys:
        style = "yellow" if "dead" in key.labels else ""
        table.add_row(
            Text(console.printable(key.key), style=style),
            Text(console.short_json(key.value)),
            Text(", ".join(key.labels), style=style),
        )
    return table
