"""What the tokens of a text cost is what the evaluation adds up, byte for byte."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tinygpt.config.model_config import ModelConfig
from tinygpt.evaluation.bits_per_byte import summary
from tinygpt.evaluation.token_losses import by_context, score_text
from tinygpt.model.gpt import GPT
from tinygpt.tokenizers.char_byte import CharTokenizer

TEXT = "the cat sat on the mat; the dog sat on the log\n" * 4


def gpt(vocab_size: int, n_positions: int = 16) -> GPT:
    config = ModelConfig(
        vocab_size=vocab_size, n_positions=n_positions, n_embd=32, n_layer=1, n_head=2
    )
    config = replace(config, initializer_range=0.5)
    return GPT(config, torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("prefix", ["", "on the log\n"])
@pytest.mark.parametrize("stride", [1, 8, 16])
def test_they_add_up_to_the_evaluation(byte_bpe, prefix, stride) -> None:
    for tokenizer in (CharTokenizer.from_text(TEXT), byte_bpe([("t", "h"), ("th", "e")])):
        model = gpt(tokenizer.vocab_size)
        (costs,) = score_text(model, tokenizer, TEXT, prefix=prefix, strides=[stride])
        e = summary(costs)
        assert e.stride == stride
        assert math.fsum(costs.nats.tolist()) == pytest.approx(e.total_nats, rel=1e-12)
        assert costs.n_bytes.sum() == e.n_bytes == len(TEXT)
        assert len(costs.nats) == len(costs.context_bytes) == e.n_tokens
        assert costs.bytes_per_token == pytest.approx(e.n_bytes / e.n_tokens)


def test_unknown_characters_stand_where_they_are_in_the_text() -> None:
    tokenizer, text = CharTokenizer.from_text("the \n"), "he ä het €€ eht"
    model = gpt(tokenizer.vocab_size)
    (costs,) = score_text(model, tokenizer, text, prefix="the ", escape=0.01)
    e = summary(costs)
    assert math.fsum(costs.nats.tolist()) == pytest.approx(e.total_nats, rel=1e-12)
    assert costs.n_bytes.tolist() == [len(c.encode()) for c in text]
    unknown = [i for i, c in enumerate(text) if c in "ä€"]
    assert np.flatnonzero(costs.context_bytes < 0).tolist() == unknown
    assert costs.nats[3] == pytest.approx(-math.log(0.01) + 16 * math.log(2))
    (costs,) = score_text(model, tokenizer, "ää", escape=0.01)
    nothing = summary(costs)
    assert (len(costs.nats), costs.bytes_per_token) == (2, 1.0)
    assert costs.nats.sum() == pytest.approx(nothing.total_nats)
    assert by_context(costs) == ()


def test_context_is_what_the_window_holds() -> None:
    tokenizer = CharTokenizer.from_text(TEXT)
    model = gpt(tokenizer.vocab_size, 8)
    (costs,) = score_text(model, tokenizer, TEXT[:40], prefix="the cat", strides=[8])
    # Seven characters of prefix leave room for one target; then windows stand side by side.
    assert costs.context_bytes.tolist() == [
        7,
        8,
        *range(1, 9),
        *range(1, 9),
        *range(1, 9),
        *range(1, 9),
        *range(3, 9),  # the last window is no shorter than the others
    ]
    (costs,) = score_text(model, tokenizer, TEXT[:40], prefix="the cat", strides=[4])
    assert set(costs.context_bytes.tolist()[2:]) == {5, 6, 7, 8}
    (bare,) = score_text(model, tokenizer, TEXT[:10], strides=[8])  # a newline stands before it
    assert bare.context_bytes.tolist()[:4] == [0, 1, 2, 3]


def test_bins_of_context_hold_every_byte_once() -> None:
    n = np.array([0, 32, 33, 64, 65, 200, -1])
    tokenizer = CharTokenizer.from_text(TEXT)
    (scored,) = score_text(gpt(tokenizer.vocab_size), tokenizer, TEXT[:7])
    sizes = np.array([1, 1, 2, 2, 4, 4, 3])
    found = by_context(
        replace(scored, nats=np.full(7, math.log(2)), n_bytes=sizes, context_bytes=n)
    )
    assert [(b.begin_bytes, b.end_bytes) for b in found] == [
        (0, 32),
        (33, 64),
        (65, 128),
        (129, 256),
    ]
    assert [b.n_bytes for b in found] == [2, 4, 4, 4]
    assert [b.bits_per_byte for b in found] == [1.0, 0.5, 0.25, 0.25]


def test_blocks_are_of_equal_bytes_whatever_the_tokens(byte_bpe) -> None:
    blocks = []
    for tokenizer in (CharTokenizer.from_text(TEXT), byte_bpe([("t", "h"), ("th", "e")])):
        (costs,) = score_text(gpt(tokenizer.vocab_size), tokenizer, TEXT, prefix="log\n")
        blocks.append(costs.blocks(16))
        assert blocks[-1].nats.sum() == pytest.approx(costs.nats.sum())
    assert blocks[0].n_bytes.tolist() == blocks[1].n_bytes.tolist()
    assert len(blocks[0].n_bytes) == math.ceil(len(TEXT) / 16)
