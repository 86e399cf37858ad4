"""The rules that are printed are those that were applied."""

import dataclasses

import pytest

from tinygpt.comparison.compare import compare
from tinygpt.config.model_config import ModelConfig
from tinygpt.evaluation.eval_texts import Text
from tinygpt.inference.language_model import LanguageModel
from tinygpt.inference.load import untrained
from tinygpt.tokenizers.char_byte import CharTokenizer

LINE = "the cat sat on the mat; the dog sat on the log\n"
TEXT = Text(name="cats", text=LINE * 200, prefix=LINE, source="here")


def lm(name: str, missing: str | None = None) -> LanguageModel:
    tokenizer = CharTokenizer.from_text(LINE)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, n_positions=32, n_embd=8, n_layer=1, n_head=1
    )
    return dataclasses.replace(untrained(name, config, tokenizer, ""), missing_weights=missing)


def rules(*models: LanguageModel, text: Text = TEXT, escape_unknown: bool = True) -> str:
    return "\n".join(compare(list(models), [text], escape_unknown=escape_unknown).rules)


def test_rules_without_an_occasion_are_left_out() -> None:
    one, two, three = (rules(*map(lm, "abc"[:n])) for n in (1, 2, 3))
    assert "same context" in one
    assert "95% interval" not in one
    assert "95% interval" in two
    assert "blocks of 1,024 bytes" in two
    assert "Holm" not in two
    assert "the 3 pairs of each text are corrected by Holm's method" in three
    assert "contamination" not in three  # nothing is known of what they were trained on
    nobody = rules(lm("lost", missing="no weights"))
    assert "same context" not in nobody


def test_too_short_a_text_has_no_rule_of_intervals() -> None:
    short = dataclasses.replace(TEXT, text=LINE * 3)
    assert "95% interval" not in rules(lm("a"), lm("b"), text=short)


@pytest.mark.parametrize(("escape", "word"), [(True, "is paid for by"), (False, "is refused")])
def test_unknown_characters(escape, word) -> None:
    said = rules(lm("a"), escape_unknown=escape)
    assert f"a character outside a character model's vocabulary {word}" in said


def test_who_scored_is_said_once_or_for_each_model() -> None:
    assert rules(lm("a"), lm("b")).count("scored by torch float32") == 1
    other = lm("b")
    other.model.bfloat16()
    said = rules(lm("a"), other)
    assert "scored by: a: torch float32; b: torch bfloat16" in said
