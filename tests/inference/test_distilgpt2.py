"""The real distilgpt2, where its folder is at hand: TINYGPT_DISTILGPT2=/path/to/folder."""

import os
from pathlib import Path

import pytest
import torch

import tinygpt
from tinygpt.config.model_config import PRESETS
from tinygpt.inference.language_model import LanguageModel
from tinygpt.model import costs

FOLDER = os.environ.get("TINYGPT_DISTILGPT2", "")

pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(
        not FOLDER, reason="set TINYGPT_DISTILGPT2 to a folder with distilgpt2's files"
    ),
]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tinygpt.load(Path(FOLDER))


def test_sizes_are_the_presets(lm) -> None:
    sizes = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "activation_function")
    for name in sizes:
        assert getattr(lm.config, name) == getattr(PRESETS["distilgpt2"], name)
    assert costs.n_params(lm.config) == 81_912_576


def test_logits_and_greedy_text_are_transformers(lm) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    text = "The history of the city begins with a small settlement on the river."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert lm.tokenizer.encode(text).tolist() == ids[0].tolist()
    with torch.inference_mode():
        expected = model(ids).logits
        difference = (lm.model(ids) - expected).abs().max()
    assert difference <= 1e-4 * expected.std()
    greedy = model.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1] :]
    assert lm.generate(text, max_new_tokens=40, temperature=0.0) == tokenizer.decode(greedy)


def test_english_costs_about_one_bit_per_byte(lm) -> None:
    """A trained GPT-2 pays 0.8 to 1.6 bits for a byte of plain English; noise pays 4 or more."""
    text = (
        "It was a cold morning in early spring, and the old man walked slowly along the road "
        "towards the village. He had not slept well, and he was thinking about his son. "
    )
    assert 0.6 < lm.evaluate(text).bits_per_byte < 1.8
