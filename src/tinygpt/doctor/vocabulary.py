"""How many ids the tokenizer beside a config has: what its vocab_size should be."""

import json
from pathlib import Path
from typing import Any

__all__ = ["n_ids_beside"]

MAX_TOKENIZER_BYTES = 32_000_000
"""A tokenizer file beyond that is not counted."""


def n_ids_beside(folder: Path) -> int | None:
    """Count the ids of a folder's tokenizer, 0 to the highest; None if there is none to count.

    A tokenizer.json goes before a vocab.json; one that can't be counted is passed over.
    """
    for name in ("tokenizer.json", "vocab.json"):
        path = folder / name
        try:
            if path.stat().st_size <= MAX_TOKENIZER_BYTES:
                data = json.loads(path.read_bytes())
                return 1 + max(_ids(data if name == "vocab.json" else data["model"]["vocab"], data))
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            ArithmeticError,
            AttributeError,
            RecursionError,
        ):
            continue
    return None


def _ids(vocab: Any, data: Any) -> list[int]:
    added = [int(token["id"]) for token in data.get("added_tokens", ())]
    own = range(len(vocab)) if isinstance(vocab, list) else map(int, vocab.values())
    return [*own, *added]
