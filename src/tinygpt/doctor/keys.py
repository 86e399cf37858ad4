"""The keys that configs of GPTs carry: what each one is, HF's name for it, and where we keep it.

The names of nanoGPT, minGPT, HF, the textbooks and our own stand in table.py; a key of ours
takes its meaning from the docstring under its field. diagnose.py does the thinking.
"""

import functools
from dataclasses import dataclass, fields, replace

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.config.schema import field_docs
from tinygpt.config.train_config import CorpusConfig, OptimConfig, TokenizerConfig, TrainConfig
from tinygpt.doctor.table import TABLE

__all__ = ["CLASSES", "LABELS", "KeyInfo", "known_keys", "known_name", "look_up"]

LABELS = ("architecture", "tokenizer", "data", "training", "generation", "runtime", "dead")
"""What a key can be; dead means that no code reads it."""

CLASSES: dict[str, type] = {
    "ModelConfig": ModelConfig,
    "TrainConfig": TrainConfig,
    "OptimConfig": OptimConfig,
    "CorpusConfig": CorpusConfig,
    "TokenizerConfig": TokenizerConfig,
    "GenerationConfig": GenerationConfig,
}
"""Our config classes by name."""

_LABEL_OF = {
    "ModelConfig": "architecture",
    "TrainConfig": "training",
    "OptimConfig": "training",
    "CorpusConfig": "data",
    "TokenizerConfig": "tokenizer",
    "GenerationConfig": "generation",
}


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of one key.

    Attributes:
        hf_name: HF's name, several after commas where one key stands for several; None if none.
        hf_home: the HF class that has it: GPT2Config, TrainingArguments or GenerationConfig.
        fields: our fields that take its value, as "ModelConfig.n_embd".
    """

    labels: tuple[str, ...]
    hf_name: str | None
    hf_home: str | None
    fields: tuple[str, ...]
    meaning: str


_LONGEST = 200
"""Characters of a key; what is longer is not looked up."""


def known_name(key: str) -> str | None:
    """Return the name under which the table knows a key, or None.

    Example:
        >>> known_name("C.model.n_layer"), known_name("BATCH-SIZE"), known_name("zzz")
        ('n_layer', 'batch_size', None)
    """
    return _known_name(key) if len(key) <= _LONGEST else None


def look_up(key: str) -> KeyInfo | None:
    """Return what is known of a key, or None."""
    name = known_name(key)
    if name is None or name in _table():
        return None if name is None else _table()[name]
    info = next(info for pattern, info in _patterns().items() if name.startswith(pattern))
    return replace(info, hf_name=name) if info.hf_name else info


def known_keys() -> list[str]:
    """Return every plain name in the table, for "did you mean"."""
    return [name for name in _table() if "." not in name]


@functools.lru_cache(maxsize=4096)
def _known_name(key: str) -> str | None:
    name = key.lower().replace("-", "_")
    while name:
        if name in _table() or name.startswith(tuple(_patterns())):
            return name
        name = name.partition(".")[2]
    return None


@functools.cache
def _patterns() -> dict[str, KeyInfo]:
    return {name[:-1]: info for name, info in _rows().items() if name.endswith("*")}


@functools.cache
def _table() -> dict[str, KeyInfo]:
    table = {name: info for name, info in _rows().items() if not name.endswith("*")}
    for owner, cls in CLASSES.items():  # a field added later is known without a row
        for field in fields(cls):
            place = f"{owner}.{field.name}"
            row = table.get(field.name, KeyInfo((_LABEL_OF[owner],), None, None, (), ""))
            if not row.fields:
                table[field.name] = replace(row, fields=(place,), meaning=_doc(place))
    return table


def _rows() -> dict[str, KeyInfo]:
    rows: dict[str, KeyInfo] = {}
    labels: tuple[str, ...] = ()
    home = ""
    for line in TABLE.strip().splitlines():
        cells = [cell.strip() for cell in line.strip("[]").split("|")]
        if line.startswith("["):
            labels, home = tuple(cells[0].split()), ([*cells, ""])[1]
            continue
        names, hf_name, ours, meaning = ([*cells, "", "", ""])[:4]
        places = tuple(ours.split())
        for name in names.split():
            rows[name] = KeyInfo(
                labels=labels,
                hf_name=(name if hf_name == "=" else hf_name) or None,
                hf_home=(home if hf_name else "") or None,
                fields=places,
                meaning=meaning or _doc(places[0]),
            )
    return rows


def _doc(place: str) -> str:
    owner, _, name = place.partition(".")
    return field_docs(CLASSES[owner])[name]
