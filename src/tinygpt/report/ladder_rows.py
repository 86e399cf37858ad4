"""What a Ladder shows, once, for every way of drawing it: steps, a table of costs, and notes."""

from dataclasses import dataclass
from typing import Any

from tinygpt.escape import visible
from tinygpt.ladder_file import Ladder, RungResult

__all__ = ["COLUMNS", "Stair", "cells", "ladder_notes", "ladder_title", "stairs"]

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

_WORDS = {None: "none", True: "yes", False: "no"}


@dataclass(frozen=True, slots=True)
class Stair:
    """One step of the staircase."""

    label: str
    """Number and name."""
    bits: float | None
    """Bits per byte; None where there is no quality."""
    value: str
    """The same as text, with the range of several seeds."""
    change: str
    """What changed, or for the first rung what it is."""
    missing: str | None
    """Why there is no quality, and the estimate that stands instead."""


def ladder_title(ladder: Ladder) -> str:
    """Return the headline."""
    first, last = (visible(ladder.plan[i]["name"]) for i in (0, -1))
    done = "" if ladder.complete else f" ({len(ladder.rungs)} of {len(ladder.plan)} so far)"
    return f"From {first} to {last}, one change at a time{done}"


def stairs(ladder: Ladder) -> list[Stair]:
    """Return the steps that are done, top to bottom."""
    found = []
    for number, (rung, plan) in enumerate(zip(ladder.rungs, ladder.plan, strict=False), 1):
        quality, missing = rung.quality, None
        if quality is None:
            missing = visible(rung.missing or "not measured")
            for earlier, other in enumerate(ladder.rungs[: number - 1], 1):
                if other.missing == rung.missing:
                    missing = f"for the reason of rung {earlier}"
                    break
            if rung.estimated_train_s is not None:
                missing += (
                    f"; estimate: {_duration(rung.estimated_train_s)} of training here to read as "
                    "many bytes as the first trained rung"
                )
        found.append(
            Stair(
                label=f"{number} {visible(rung.name)}",
                bits=None if quality is None else quality.bits_per_byte,
                value=_bits(rung),
                change=_changed(rung.changes) or _described(plan),
                missing=missing,
            )
        )
    return found


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
        f"every rung is trained with the same budget: {_budget(s)}; {seeds}. Differences of a few "
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


def _budget(settings: dict[str, Any]) -> str:
    minutes = settings["minutes"]
    most = f", at most {minutes:g} min" if minutes is not None else ""
    if settings["max_steps"] is not None:
        return f"{settings['max_steps']:,} steps{most}"
    if settings["train_bytes"] is not None:
        return f"{settings['train_bytes']:,} bytes of text{most}"
    if settings["flops"] is not None:
        return f"{_si(settings['flops'])} FLOPs{most}"
    return f"{minutes:g} min, in which the final evaluation is included"


def _changed(changes: dict[str, list[Any]]) -> str:
    """Write the config diff on one line; keys are unique across the tables."""
    parts = []
    for key, (before, after) in changes.items():
        old, new = _word(before), _word(after)
        name = visible(key.rpartition(".")[2])
        if key == "from":
            name, old = "weights", "random" if before is None else old
        parts.append(f"{name} {old} -> {new}")
    return ", ".join(parts)


def _described(plan: dict[str, Any]) -> str:
    model, train, optim = plan["model"], plan["train"], plan["optim"]
    tokens = plan["tokenizer"]["tokenizer"] if "tokenizer" in plan else f"from {plan['from']}"
    return visible(
        f"{tokens} vocabulary of {model['vocab_size']:,}, context {model['n_positions']:,}, "
        f"n_layer {model['n_layer']}, n_head {model['n_head']}, n_embd {model['n_embd']}, batch "
        f"{train['batch_size']} x {train['block_size']} tokens, AdamW at "
        f"{optim['learning_rate']:g}, betas {optim['beta1']:g} and {optim['beta2']:g}"
    )


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))


def _bits(rung: RungResult) -> str:
    q = rung.quality
    if q is None:
        return "-"
    if q.n_seeds == 1:
        return f"{q.bits_per_byte:.3f}"
    return f"{q.bits_per_byte:.3f} ({q.min_bits_per_byte:.3f} to {q.max_bits_per_byte:.3f})"


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


def _duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= unit:
            return f"about {seconds / unit:.2g} {name}"
    return f"about {seconds:.2g} seconds"
