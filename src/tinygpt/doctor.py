"""The config doctor: what each key of a mixed config is, what contradicts what, where it belongs.

HF keeps three things apart that small GPT repositories put into one dict: architecture
(config.json), sampling (generation_config.json) and training (TrainingArguments; our
training.json). The doctor labels every key, names contradictions and makes the three files.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tinygpt.config_faults import contradictions, notes
from tinygpt.config_fields import key_info
from tinygpt.config_keys import LABELS, known_keys
from tinygpt.config_split import Split, split_config, write_split
from tinygpt.errors import ConfigError, MachineError, did_you_mean

__all__ = [
    "LABELS",
    "Diagnosis",
    "KeyReport",
    "Split",
    "count_labels",
    "examine",
    "label_config_files",
    "read_flat_config",
    "write_split",
]

MAX_BYTES, MAX_DEPTH, MAX_KEYS = 1_000_000, 20, 500
"""A config file beyond any of these is refused."""

_TABLES = ("train", "optim", "corpus", "tokenizer")  # of a training.json


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """One key of a config, explained."""

    key: str
    value: object
    labels: tuple[str, ...]
    """One or more of architecture, tokenizer, data, training, generation, runtime, dead."""
    hf_name: str | None
    """HF's name, several after commas where the key stands for several; None if it has none."""
    ours: str | None
    """Our fields that take the value, after commas, as "ModelConfig.n_embd"; None if none does."""
    meaning: str
    """One line."""
    hf_home: str | None = None
    """HF's class for the name: GPT2Config, TrainingArguments or GenerationConfig."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dict."""
        return {
            "key": self.key,
            "value": self.value,
            "labels": list(self.labels),
            "hf_name": self.hf_name,
            "hf_home": self.hf_home,
            "ours": self.ours,
            "meaning": self.meaning,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the doctor found in one config."""

    keys: tuple[KeyReport, ...]
    """One report per key, in the order of the file."""
    contradictions: tuple[str, ...]
    """What can't be true or can't be done as it stands, one line each."""
    notes: tuple[str, ...]
    """What is worth knowing but no mistake, one line each."""

    def split(self) -> Split:
        """Take the config apart into our classes."""
        return split_config({report.key: report.value for report in self.keys})

    def to_dict(self) -> dict[str, Any]:
        """Return everything, the split included, as a JSON-ready dict."""
        return {
            "keys": [report.to_dict() for report in self.keys],
            "contradictions": list(self.contradictions),
            "notes": list(self.notes),
            "split": self.split().to_dict(),
        }


def examine(data: Mapping[str, object]) -> Diagnosis:
    """Label every key of a flat config and name what is wrong with it.

    Raises:
        ConfigError: data is not a mapping with texts as keys.
    """
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"expected an object with keys, got {type(data).__name__}")
    counts = count_labels(data)
    remarks = list(notes(data))
    if "architecture" in counts and "training" in counts:
        parts = ", ".join(f"{n} {label}" for label, n in counts.items())
        remarks.insert(0, f"a mixed config ({parts}): HF's config.json holds architecture only")
    return Diagnosis(
        keys=tuple(_report(key, data) for key in data),
        contradictions=contradictions(data),
        notes=tuple(remarks),
    )


def count_labels(data: Mapping[str, object]) -> dict[str, int]:
    """Count the keys of a config by label, in the order of LABELS; a key with two, in both.

    Of a training.json the tables are counted inside (train, optim, corpus, tokenizer); what stands
    beside them is no setting.
    """
    tables = [data[name] for name in _TABLES if isinstance(data.get(name), Mapping)]
    names: list[str] = list(data)
    if tables:
        names = [name for table in tables for name in table]  # type: ignore[attr-defined]
        # The architecture stands in a file of its own, so block_size is the window alone.
        data = dict.fromkeys([*names, "n_positions"])
    counts = dict.fromkeys(LABELS, 0)
    for name in names:
        info = key_info(name, data)
        for label in info.labels if info else ("dead",):
            counts[label] += 1
    return {label: n for label, n in counts.items() if n}


def label_config_files(
    config: Mapping[str, object], training: Mapping[str, object] | None = None
) -> dict[str, dict[str, int]]:
    """Count the keys of a model folder's config.json and training.json by label, file by file."""
    files = {"config.json": config, "training.json": training}
    return {name: count_labels(data) for name, data in files.items() if data is not None}


def read_flat_config(path: Path) -> dict[str, Any]:
    """Read a JSON object, strictly: UTF-8, no key twice, no NaN; at most 1 MB and 20 levels.

    Raises:
        ConfigError: it is not such a file; the message names line and column where there is one.
        MachineError: the disk failed.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(f"{path}: {error.strerror}; give a JSON file") from None
    except OSError as error:
        raise MachineError(f"{path}: can't be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES:,} bytes, which no config is")
    try:
        data = _parse(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}: line {error.lineno}, column {error.colno}: {error.msg}; the doctor reads JSON"
        ) from None
    except UnicodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except RecursionError:
        raise ConfigError(f"{path}: more than {MAX_DEPTH} levels, which no config has") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise ConfigError(f"{path}: expected a JSON object with keys, got {kind}")
    if len(data) > MAX_KEYS:
        raise ConfigError(f"{path}: more than {MAX_KEYS:,} keys, which no config has")
    return data


def _report(key: str, data: Mapping[str, object]) -> KeyReport:
    info = key_info(key, data)
    if info is None:
        return KeyReport(
            key=key,
            value=data[key],
            labels=("dead",),
            hf_name=None,
            ours=None,
            meaning=f"Not known: no code reads it{did_you_mean(key, known_keys())}",
        )
    return KeyReport(
        key=key,
        value=data[key],
        labels=info.labels,
        hf_name=info.hf_name,
        ours=", ".join(info.fields) or None,
        meaning=info.meaning,
        hf_home=info.hf_home,
    )


def _parse(text: str) -> Any:
    data = json.loads(
        text,
        object_pairs_hook=lambda pairs: _unique(pairs, text),
        parse_constant=_refuse_number,
        parse_float=_finite,
    )
    json.dumps(data, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    level, depth = [data], 0
    while level := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecursionError
        level = [v for each in level for v in (each.values() if isinstance(each, dict) else each)]
    return data


def _unique(pairs: list[tuple[str, Any]], text: str) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) == len(pairs):
        return data
    (key, _), *_ = Counter(name for name, _ in pairs).most_common(1)
    found = re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)
    lines = [str(text.count("\n", 0, match.start()) + 1) for match in islice(found, 3)]
    raise ValueError(f'the key "{key}" stands twice (lines {", ".join(lines)}); keep one')


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON can hold; write another, or null")
