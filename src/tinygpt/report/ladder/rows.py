"""What a Ladder shows beside its staircase: the headline, a table of costs, and notes."""

from typing import Any

from tinygpt.escape import visible
from tinygpt.ladder.results import Ladder, RungResult

__all__ = ["COLUMNS", "budget", "cells", "ladder_notes", "ladder_title"]

COLUMNS = (
    "rung",
    "params",
    "FLOPs\nper byte",
    "training\nmemory",
    "weights\nand KV",
    "trains\nbytes/s",
    "writes\nbytes/s",
    "bits\nper byte",
)


def ladder_title(ladder: Ladder) -> str:
    """Return the headline."""
    first, last = (visible(ladder.plan[i]["name"]) for i in (0, -1))
    done = "" if ladder.complete else f" ({len(ladder.rungs)} of {len(ladder.plan)} so far)"
    return f"From {first} to {last}, one change at a time{done}"


def cells(rung: RungResult, number: int) -> tuple[str, ...]:
    """Return a row of the table of costs, as COLUMNS."""
    c = rung.cost
    return (
        f"{number} {visible(rung.name)}",
        _si(c.n_params),
        _si(c.flops_per_byte),
        _bytes(c.training_memory_bytes),
        _bytes(c.weights_bytes + c.kv_cache_bytes),
        _si(rung.pace.bytes_per_s if rung.pace else None),
        _si(rung.decode.bytes_per_s if rung.decode else None),
        "-" if rung.quality is None else f"{rung.quality.bits_per_byte:.3f}",
    )


def ladder_notes(ladder: Ladder) -> list[str]:
    """Return what must be said below: the budget, the text, the machine, what is missing."""
    s, text, machine = ladder.settings, ladder.text, ladder.machine
    seeds = "one seed" if s["seeds"] == 1 else f"{s['seeds']} seeds, their median and range"
    notes = [
        f"every rung is trained with the same budget: {budget(s)}; {seeds}. Differences of a few "
        "hundredths between rungs of one seed can be luck",
        f"all rungs score the same bytes: {text['n_bytes']:,} of {visible(text['name'])}, sha256 "
        f"{text['sha256'][:16]}..., after {text['prefix_bytes']:,} unscored bytes "
        f"({visible(text['source'])})",
        f"measured {ladder.created} on {machine['device']} with {machine['threads']} threads, "
        f"{machine['dtype']}, torch {machine['torch']}; training speed from a few timed steps, "
        "writing at batch 1; memory by the config, in float32",
    ]
    web = [visible(r.name) for r, p in zip(ladder.rungs, ladder.plan, strict=False) if p["from"]]
    if web:
        notes.append(
            f"{', '.join(web)}: weights trained elsewhere, perhaps on this very text; no part of "
            "the budget here paid for them"
        )
    reasons = {r.decode_missing for r in ladder.rungs if r.decode_missing}
    notes += [f"no writing speed: {visible(reason)}" for reason in sorted(reasons)]
    random = [visible(r.name) for r in ladder.rungs if r.missing_weights and r.decode]
    if random:
        notes.append(f"{', '.join(random)}: timed on random weights, the arithmetic is the same")
    return notes


def budget(settings: dict[str, Any]) -> str:
    """Return what each rung was given, in words."""
    minutes = settings["minutes"]
    most = f", at most {minutes:g} min" if minutes is not None else ""
    if settings["max_steps"] is not None:
        return f"{settings['max_steps']:,} steps{most}"
    if settings["train_bytes"] is not None:
        return f"{settings['train_bytes']:,} bytes of text{most}"
    if settings["flops"] is not None:
        return f"{_si(settings['flops'])} FLOPs{most}"
    return f"{minutes:g} min, in which the final evaluation is included"


def _bytes(n: float | None) -> str:
    if n is None:
        return "-"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n / 2**10:.1f} KiB"


def _si(value: float | None) -> str:
    """Write a number with three digits and a letter: 1.86 M."""
    if value is None:
        return "-"
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            scaled = value / factor
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {letter}"
    return f"{value:.0f}"
