"""A run folder appears whole or not at all."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tinygpt.errors import ConfigError
from tinygpt.generation_config import GenerationConfig
from tinygpt.run_folder import create


def test_a_folder_that_appears_while_one_is_made_is_left_alone(
    tmp_path: Path, tiny_config, char_tokenizer
) -> None:
    """A rename would take the place of an empty folder without a word."""
    out = tmp_path / "runs" / "r"
    with pytest.raises(ConfigError, match="exists already"):
        create(
            out,
            config=tiny_config,
            generation_config=GenerationConfig(),
            tokenizer=char_tokenizer,
            recipe=SimpleNamespace(to_dict=dict),
            environment={},
            first_checkpoint=lambda _: out.mkdir(),
        )
    assert list(out.iterdir()) == []
    assert list(out.parent.iterdir()) == [out]
