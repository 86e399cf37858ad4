"""Samples of a comparison: recorded as they were drawn, and the same for every model."""

import dataclasses

import pytest

from tinygpt.comparison.samples import (
    SAMPLE_CHARACTERS,
    SAMPLE_SEEDS,
    SAMPLE_TEMPERATURE,
    draw_samples,
)
from tinygpt.config.model_config import ModelConfig
from tinygpt.evaluation.eval_texts import Text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained

TEXT = Text(name="x", prefix="one\ntwo\nthe cat", text=" sat on the mat", source="")


@pytest.fixture
def lm(char_tokenizer) -> LanguageModel:
    """Random weights that count as real here."""
    config = ModelConfig(
        vocab_size=char_tokenizer.vocab_size, n_positions=32, n_embd=16, n_layer=1, n_head=2
    )
    return dataclasses.replace(untrained("x", config, char_tokenizer, ""), missing_weights=None)


def test_the_recorded_seed_and_temperature_give_the_recorded_text(lm) -> None:
    samples = draw_samples(lm, None, TEXT)
    assert tuple(s.seed for s in samples) == SAMPLE_SEEDS
    assert len({s.text for s in samples}) == len(SAMPLE_SEEDS)
    for sample in samples:
        assert sample.temperature == SAMPLE_TEMPERATURE
        again = lm.generate(
            sample.prompt,
            seed=sample.seed,
            temperature=sample.temperature,
            top_k=None,
            top_p=1.0,
            max_new_tokens=SAMPLE_CHARACTERS,
        )
        assert sample.text == again


def test_the_prompt_is_the_end_of_the_prefix(lm) -> None:
    assert {s.prompt for s in draw_samples(lm, None, TEXT)} == {"two\nthe cat"}
    bare = dataclasses.replace(TEXT, prefix="")
    assert draw_samples(lm, None, bare)[0].prompt == " sat on the mat"


def test_what_is_missing_is_said(lm) -> None:
    for model in (lm, None):
        (first, _) = draw_samples(model, "no weights here", TEXT)
        assert (first.text, first.missing) == (None, "no weights here")
    odd = dataclasses.replace(TEXT, prefix="the cät")  # a character that this model lacks
    (first, _) = draw_samples(lm, None, odd)
    assert first.text is None
    assert "ä" in first.missing
