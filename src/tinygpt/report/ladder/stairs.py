"""The steps of a Ladder, once, for every way of drawing them, and what they say in sentences."""

from dataclasses import dataclass
from typing import Any

from tinygpt.escape import visible
from tinygpt.ladder.results import Ladder, RungResult
from tinygpt.report.ladder.rows import budget

__all__ = ["Stair", "ladder_verdict", "stairs"]

_WORDS = {None: "none", True: "yes", False: "no"}


@dataclass(frozen=True, slots=True)
class Stair:
    """One step of the staircase."""

    label: str
    """Number and name."""
    name: str
    bits: float | None
    """Bits per byte; None where there is no quality."""
    low: float | None
    high: float | None
    """Both: the range of the seeds."""
    value: str
    """The same as text, with the range of several seeds."""
    change: str
    """What changed, or for the first rung what it is."""
    missing: str | None
    """Why there is no quality, and the estimate that stands instead."""
    why: str | None
    """The reason in a few words."""
    estimate: str | None
    """The estimate in a few words; None without one."""


def ladder_verdict(ladder: Ladder) -> list[str]:
    """Return the result in sentences: the budget, the best rung, what has no quality and why."""
    steps = stairs(ladder)
    said = [f"Every rung was given the same budget: {budget(ladder.settings)}."]
    known = sorted(
        (step.bits, number) for number, step in enumerate(steps) if step.bits is not None
    )
    if known:
        bits, number = known[0]
        best, first = steps[number], next(step for step in steps if step.bits is not None)
        price = f"{best.label} pays the least that was measured, {bits:.3f} bits per byte"
        if best is not first and first.bits:
            less = f"{first.bits - bits:.3f} ({1 - bits / first.bits:.1%})"
            price += f", {less} less than {first.label} with {first.value}"
        said.append(f"{price}.")
    for why in dict.fromkeys(step.why for step in steps if step.why):
        names = ", ".join(step.label for step in steps if step.why == why)
        said.append(f"No quality, {why}: {names}.")
    if rest := len(ladder.plan) - len(ladder.rungs):
        said.append(f"The last {rest} of {len(ladder.plan)} rungs are not done yet.")
    return said


def stairs(ladder: Ladder) -> list[Stair]:
    """Return the steps that are done, top to bottom."""
    found = []
    for number, (rung, plan) in enumerate(zip(ladder.rungs, ladder.plan, strict=False), 1):
        q = rung.quality
        found.append(
            Stair(
                label=f"{number} {visible(rung.name)}",
                name=visible(rung.name),
                bits=None if q is None else q.bits_per_byte,
                low=None if q is None else q.min_bits_per_byte,
                high=None if q is None else q.max_bits_per_byte,
                value=_bits(rung),
                change=_changed(rung.changes) or _described(plan),
                missing=_missing(ladder, rung, number) if q is None else None,
                why=_why(rung, plan) if q is None else None,
                estimate=_estimate(rung) if q is None else None,
            )
        )
    return found


def _missing(ladder: Ladder, rung: RungResult, number: int) -> str:
    missing = visible(rung.missing or "not measured")
    for earlier, other in enumerate(ladder.rungs[: number - 1], 1):
        if other.missing == rung.missing:
            missing = f"for the reason of rung {earlier}"
            break
    if estimate := _estimate(rung):
        missing += f"; {estimate} here to read as many bytes as the first trained rung"
    return missing


def _why(rung: RungResult, plan: dict[str, Any]) -> str:
    """Say in a few words why there is no quality."""
    if rung.missing_weights is not None:
        return "needs the hub: the weights are not here"
    unopened = rung.missing is not None and rung.missing == rung.decode_missing
    if unopened and plan.get("tokenizer", {}).get("tokenizer") == "gpt2":
        return "needs the hub: the vocabulary is not here"
    return "not trained within the budget here" if rung.pace else "could not be trained here"


def _estimate(rung: RungResult) -> str | None:
    seconds = rung.estimated_train_s
    return None if seconds is None else f"estimate: {_duration(seconds)} of training"


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


def _duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= unit:
            return f"about {seconds / unit:.2g} {name}"
    return f"about {seconds:.2g} seconds"
