"""What a comparison gives: models on scored texts, plain data that report/ draws."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygpt.comparison.config_diff import ConfigKey
from tinygpt.comparison.model_report import ModelReport
from tinygpt.evaluation.baselines import Yardstick
from tinygpt.evaluation.bootstrap import Difference
from tinygpt.storage.files import write_file

__all__ = ["Comparison", "ScoredText"]

SCHEMA_VERSION = 1
"""Of comparison.json: fields are added under it, never renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A text that every model scored."""

    name: str
    source: str
    n_bytes: int
    n_characters: int
    sha256: str
    """Of the scored bytes."""
    prefix_bytes: int
    """Unscored bytes right before them, the same for every model."""
    common_border: bool
    """False if some model has no token that begins where the scored bytes do (boundary.py)."""
    public: bool
    """Of a named corpus, which models trained on web text have probably seen."""
    matched_context_bytes: float | None
    """Bytes of this text that the smallest context holds on average: what `matched` was scored
    with; None where no model was scored."""
    block_bytes: int
    """Of a block of the intervals."""
    differences: tuple[Difference, ...]
    """Of every two models, each with its own full context."""
    matched_differences: tuple[Difference, ...]
    """The same with matched_context_bytes of context."""
    no_interval: str | None
    """Why there are no differences; None where there are."""
    yardsticks: tuple[Yardstick, ...]
    """What the same bytes cost without a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Any number of models on the same texts; `to_json` is comparison.json, schema_version 1."""

    schema_version: int = SCHEMA_VERSION
    tinygpt_version: str
    created: str
    """UTC, ISO 8601."""
    machine: dict[str, Any]
    corpus: dict[str, Any] | None
    """Name (`corpus`) and sha256 of what the first run was trained on."""
    texts: tuple[ScoredText, ...]
    models: tuple[ModelReport, ...]
    yardsticks_from: str | None
    """The model whose training text taught the yardsticks; None if nothing did."""
    config_keys: tuple[ConfigKey, ...]
    """Every key of the models' files, the differing ones first."""
    rules: tuple[str, ...]
    """The rules that were applied, in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return comparison.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_html(self, path: Path | str) -> None:
        """Write the report, one self-contained HTML file; MachineError if the disk refuses."""
        from tinygpt.report import comparison_page  # a floor up: only for who wants it

        write_file(Path(path), comparison_page(self).encode())

    def __repr__(self) -> str:
        """Name the models and the texts."""
        models = ", ".join(model.name for model in self.models)
        return f"<Comparison of {models} on {', '.join(text.name for text in self.texts)}>"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from tinygpt.report import comparison_fragment  # a floor up: only for who looks at it

        return comparison_fragment(self)
