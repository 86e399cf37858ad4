"""A config examined: a label for every key, contradictions, notes, and the split: a `Diagnosis`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tinygpt.doctor.faults import contradictions
from tinygpt.doctor.fields import flat, foreign_model_type, key_info, named, plain
from tinygpt.doctor.file import ConfigFile
from tinygpt.doctor.keys import LABELS
from tinygpt.doctor.notes import nearest, notes
from tinygpt.doctor.split import Split, split_config

__all__ = ["Diagnosis", "KeyReport", "count_labels", "diagnose", "examine"]

_TABLES = ("train", "optim", "corpus", "tokenizer")  # of a training.json


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """One key of a config, explained."""

    key: str
    """As the file writes it, with the tables around it: model.n_layer."""
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
            "value": plain(self.value),
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


def diagnose(file: ConfigFile) -> Diagnosis:
    """Examine a config with what its file says beyond its keys.

    Raises:
        ConfigError: two keys with the same path.
    """
    found = examine(file.data)
    faults, remarks = _beside(named(flat(file.data)), file.n_token_ids)
    return replace(
        found,
        contradictions=(*found.contradictions, *faults),
        notes=(*file.notes, *found.notes, *remarks),
    )


def examine(data: Mapping[str, object]) -> Diagnosis:
    """Label every key of a config, tables in tables laid flat, and name what is wrong with it.

    Raises:
        ConfigError: data is not a mapping with texts as keys.
    """
    data = flat(data)
    counts = count_labels(data)
    remarks = list(notes(data))
    one_table = foreign_model_type(data) is None and not any("." in key for key in data)
    if one_table and {"architecture", "training"} <= counts.keys():
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


def _report(key: str, data: Mapping[str, object]) -> KeyReport:
    info, foreign = key_info(key, data), foreign_model_type(data)
    if info is not None:
        return KeyReport(
            key=key,
            value=data[key],
            labels=info.labels,
            hf_name=info.hf_name if foreign is None else key,
            ours=", ".join(info.fields) or None if foreign is None else None,
            meaning=info.meaning,
            hf_home=info.hf_home if foreign is None else None,
        )
    meaning = f"Not known: no code reads it{nearest(key)}"
    if foreign is not None:
        meaning = "Of another kind of model; GPT-2 does not have it."
    return KeyReport(
        key=key,
        value=data[key],
        labels=("dead",) if foreign is None else ("architecture",),
        hf_name=None if foreign is None else key,
        ours=None,
        meaning=meaning,
    )


def _beside(
    names: Mapping[str, tuple[str, object]], n_ids: int | None
) -> tuple[list[str], list[str]]:
    """Hold a config against the tokenizer that lies beside it: contradictions and notes."""
    faults: list[str] = []
    remarks: list[str] = []
    key, size = names.get("vocab_size", ("", None))
    if n_ids is None or type(size) is not int:
        return faults, remarks
    has = f"the tokenizer beside it has {n_ids:,} ids"
    if size < n_ids:
        faults.append(f"{key}={size} but {has}: each id needs its row; set {key}={n_ids}")
    elif size > n_ids:
        remarks.append(f"{key}={size} but {has}: {size - n_ids:,} rows are padding")
    for name in ("bos_token_id", "eos_token_id"):
        key, value = names.get(name, ("", None))
        if type(value) is int and n_ids <= value < size:
            faults.append(f"{key}={value} but {has}: no text gets that id; use one of them or null")
    return faults, remarks
