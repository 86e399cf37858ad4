"""ladder.json: what is known of each rung so far, written anew after each of them.

Plain data; report/ draws it. No torch. A ladder that goes on is held to the settings it began with.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinygpt.config.html_repr import table_html
from tinygpt.config.schema import from_dict
from tinygpt.errors import CheckpointError, ConfigError
from tinygpt.formats.model_folder import read_json
from tinygpt.storage.files import write_file

__all__ = [
    "LADDER",
    "Cost",
    "DecodeSpeed",
    "Ladder",
    "Pace",
    "RungQuality",
    "RungResult",
    "RungRun",
    "read_ladder",
    "same_ladder",
    "write_ladder",
]

LADDER = "ladder.json"
SCHEMA_VERSION = 1
"""Of ladder.json: fields are added under it, never renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What follows from the config and the tokenizer alone; memory is for float32."""

    n_params: int
    flops_per_token: int
    """Forward FLOPs of one token that sees a full context."""
    bytes_per_token: float | None
    """On the scored text; None where the tokenizer is not at hand."""
    flops_per_byte: float | None
    training_memory_bytes: int | None
    """Of one step of this rung's windows; None for one that is not trained."""
    weights_bytes: int
    kv_cache_bytes: int
    """Keys and values of a full context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSpeed:
    """How fast it writes: median and range of the rounds (profiling/speed.py)."""

    bytes_per_s: float
    min_bytes_per_s: float
    max_bytes_per_s: float
    decoded_bytes: int
    random_weights: bool
    """True where no weights are at hand: the time is real, the text would not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast it trains: the median of a few timed steps, after one that is not counted."""

    step_s: float
    n_steps: int
    """Timed; 1 where the first one took so long that it is counted."""
    bytes_per_s: float
    """Bytes of the training text per second of these steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRun:
    """One training run of a rung: an ordinary run folder."""

    folder: str
    """Its name in the ladder's folder."""
    seed: int
    steps: int
    train_bytes: int
    """Bytes of text trained on, repetitions included."""
    training_flops: int
    elapsed_s: float
    """Of the run, its own evaluations included."""
    val_loss: float
    """Nats per token; only comparable with the same tokenizer."""
    bits_per_byte: float
    """Of the ladder's scored text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungQuality:
    """Bits per byte of the ladder's scored text: the median of the seeds, and their range."""

    bits_per_byte: float
    min_bits_per_byte: float
    max_bits_per_byte: float
    n_seeds: int
    """1 too for weights that were not trained here."""
    n_bytes: int
    sha256: str
    """Of the scored bytes."""
    context: int
    stride: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RungResult:
    """What was measured of one rung."""

    name: str
    changes: dict[str, list[Any]]
    """"table.key" -> [before, after], against the rung before it; empty for the first."""
    cost: Cost
    decode: DecodeSpeed | None
    decode_missing: str | None
    pace: Pace | None
    """None where nothing is trained, or not a step could be timed."""
    runs: tuple[RungRun, ...]
    quality: RungQuality | None
    missing: str | None
    """Why there is no quality; None where there is one."""
    missing_weights: str | None
    """Why known weights are not here and how to get them; None where they are, or none belong."""
    estimated_train_s: float | None
    """Estimate for a rung that was not trained: seconds until it has read as many bytes as the
    first trained rung."""
    elapsed_s: float
    """Of everything on this rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """ladder.json, schema_version 1."""

    schema_version: int = SCHEMA_VERSION
    tinygpt_version: str
    created: str
    """UTC, ISO 8601."""
    settings: dict[str, Any]
    """Budget, seeds, corpus, device: the same for all rungs."""
    machine: dict[str, Any]
    text: dict[str, Any]
    """The scored text: name, source, n_bytes, sha256, prefix_bytes."""
    plan: tuple[dict[str, Any], ...]
    """All settings of every rung, in order."""
    rungs: tuple[RungResult, ...]
    """Those that are done, in order."""

    @property
    def complete(self) -> bool:
        """Whether every rung is done."""
        return len(self.rungs) == len(self.plan)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    def to_json(self) -> str:
        """Return ladder.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _repr_html_(self) -> str:
        """Return a small table for a notebook, one row per rung."""
        rows = [
            (
                rung.name,
                f"{rung.quality.bits_per_byte:.4f}" if rung.quality else rung.missing or "-",
                f"{rung.cost.n_params:,}",
            )
            for rung in self.rungs
        ]
        head = ("rung", "bits per byte", "parameters")
        return table_html(f"Ladder on {self.text.get('name', '-')}", rows, head=head)

    def with_rung(self, index: int, result: RungResult) -> "Ladder":
        """Return the ladder with one more rung, or another result of one."""
        return replace(self, rungs=(*self.rungs[:index], result, *self.rungs[index + 1 :]))


def write_ladder(folder: Path, ladder: Ladder) -> None:
    """Write ladder.json in one rename.

    Raises:
        MachineError: the disk refused; the last one is still whole.
    """
    write_file(folder / LADDER, ladder.to_json().encode())


def read_ladder(folder: Path) -> Ladder:
    """Read ladder.json.

    Raises:
        CheckpointError, ConfigError: it is not ours.
    """
    path = folder / LADDER
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {LADDER}; give the folder that `tinygpt ladder` wrote")
    data = read_json(path)
    if data.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path}: schema_version {data.get('schema_version')!r} is not {SCHEMA_VERSION}; "
            "choose another --out"
        )
    rungs = data.get("rungs")
    if not isinstance(rungs, list) or not isinstance(data.get("plan"), list):
        raise CheckpointError(f"{path} has no list of rungs; choose another --out")
    done = [_result(rung, f"{path}: rung {i}") for i, rung in enumerate(rungs, 1)]
    return from_dict(Ladder, {**data, "rungs": done}, str(path))


def _result(data: Mapping[str, Any], where: str) -> RungResult:
    parts: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {}
    for name, cls in (
        ("cost", Cost),
        ("decode", DecodeSpeed),
        ("pace", Pace),
        ("quality", RungQuality),
    ):
        if parts.get(name) is not None:
            parts[name] = from_dict(cls, parts[name], f"{where}: {name}")
    parts["runs"] = [from_dict(RungRun, run, f"{where}: runs") for run in parts.get("runs", ())]
    return from_dict(RungResult, parts, where)


def same_ladder(
    folder: Path, ladder: Ladder, settings: dict[str, Any], plan: Sequence[Any]
) -> None:
    """Refuse to go on with other settings than a ladder began with.

    Raises:
        ConfigError: naming the first setting that has changed.
    """
    _same(folder, "", ladder.settings, settings)
    before, now = ([rung["name"] for rung in rungs] for rungs in (ladder.plan, plan))
    _same(folder, "", {"rungs": before}, {"rungs": now})
    for old, new in zip(ladder.plan, plan, strict=True):
        for key, value in new.items():
            if key == "model" and new["from"]:
                continue  # the weights may be here by now, with their own config
            a, b = ((v if isinstance(v, dict) else {key: v}) for v in (old.get(key), value))
            _same(folder, f'rung "{new["name"]}": ', a, b)


def _same(folder: Path, where: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if old.get(key) != value:
            raise ConfigError(
                f"{folder} was begun with {where}{key}={old.get(key)}, now it is {value}; give "
                "the same settings to go on, or another --out"
            )
