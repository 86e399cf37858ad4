"""The keyword arguments of `generate` are the fields of GenerationConfig, no more and no fewer."""

import typing

import pytest

from tinygpt.config.generation_config import GenerationConfig, GenerationSettings, changed
from tinygpt.errors import ConfigError


def test_they_are_the_fields_with_their_types() -> None:
    assert typing.get_type_hints(GenerationSettings) == typing.get_type_hints(GenerationConfig)
    assert not GenerationSettings.__required_keys__


def test_only_what_is_given_changes() -> None:
    config = GenerationConfig(temperature=0.5, top_k=7, min_p=0.1)
    settings: GenerationSettings = {"top_k": None, "repetition_penalty": 1.2}
    assert changed(config, settings) == GenerationConfig(
        temperature=0.5, min_p=0.1, repetition_penalty=1.2
    )
    assert changed(config, {}) == config


def test_unknown_and_impossible_settings_are_refused_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        changed(GenerationConfig(), {"temprature": 1.0})
    assert str(caught.value).startswith(
        '"temprature" is not a generation setting; did you mean "temperature"? (known: bos_token_id'
    )
    with pytest.raises(ConfigError, match=r"min_p=2\.0 is not allowed"):
        changed(GenerationConfig(), {"min_p": 2.0})
