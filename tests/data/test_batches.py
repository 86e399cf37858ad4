import hashlib
import math

import numpy as np
import pytest
import torch

from tinygpt.data.batches import batch, evaluation_windows, prepare, split, spread
from tinygpt.data.corpora import Corpus
from tinygpt.errors import DataError, TokenizerError
from tinygpt.tokenizers.char_byte import CharTokenizer


def corpus(text: str) -> Corpus:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Corpus(name="test", text=text, sha256=sha256, source="a test")


@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 1_115_394])
def test_the_last_tenth_is_held_out(n):
    text = "ab" * (n // 2) + "c" * (n % 2)
    train, held_out = split(text)
    assert train + held_out == text
    assert len(train) == int(0.9 * n)


def test_prepare_encodes_both_parts_and_counts():
    text = "é" * 50 + "abcd" * 25
    data = prepare(corpus(text), CharTokenizer.from_text(text), block_size=8)
    assert data.train.dtype == np.int32
    assert (len(data.train), len(data.held_out)) == (135, 15)
    assert data.bytes_per_token == (50 * 2 + 85) / 135
    assert data.counts == {
        "n_characters": 150,
        "n_bytes": 200,
        "n_train_characters": 135,
        "n_train_bytes": 185,
        "n_train_tokens": 135,
        "n_monitor_tokens": 0,
        "n_held_out_characters": 15,
        "n_held_out_tokens": 15,
    }


def test_a_text_of_exactly_one_window_is_enough_and_one_less_is_not():
    text = "abcdefghij" * 2  # 18 characters to train on
    tokenizer = CharTokenizer.from_text(text)
    assert len(prepare(corpus(text), tokenizer, block_size=17).train) == 18
    with pytest.raises(DataError, match=r"18 token\(s\), one window of block_size=18 needs 19"):
        prepare(corpus(text), tokenizer, block_size=18)


def test_refuses_a_held_out_part_without_a_target():
    text = "ab" * 5  # one character is held out
    with pytest.raises(DataError, match=r"held-out part .* has 1 token\(s\), at least 2"):
        prepare(corpus(text), CharTokenizer.from_text(text), block_size=2)


def test_names_a_character_that_the_tokenizer_lacks():
    with pytest.raises(TokenizerError, match="U\\+007A"):
        prepare(corpus("abz" * 20), CharTokenizer("ab"), block_size=2)


IDS = np.arange(1000, dtype=np.int32)


def windows(**changes):
    arguments = {"seed": 1, "step": 2, "batch_size": 4, "block_size": 8} | changes
    return batch(IDS, **arguments)


def test_targets_are_the_inputs_shifted_by_one():
    x, y = windows()
    assert x.shape == y.shape == (4, 8)
    assert x.dtype == torch.int64
    assert torch.equal(y, x + 1)  # the ids count up


def test_a_batch_is_a_pure_function_of_seed_and_step():
    np.random.seed(0)
    x, _ = windows()
    np.random.seed(1)
    assert torch.equal(x, windows()[0])
    assert not torch.equal(x, windows(step=3)[0])
    assert not torch.equal(x, windows(seed=2)[0])


def test_splitting_a_step_into_micro_batches_keeps_its_windows():
    whole, _ = windows(batch_size=12)
    parts = [windows(batch_size=4, micro=i, n_micro=3)[0] for i in range(3)]
    assert torch.equal(whole, torch.cat(parts))


def test_every_start_is_drawn_equally_often():
    n, draws = 20, 20_000
    x, y = batch(IDS[: n + 8], seed=0, step=0, batch_size=draws, block_size=8)
    counts = np.bincount(x[:, 0].numpy(), minlength=n)
    assert len(counts) == n  # from the first window to the last
    assert y.max() == n + 7
    chi_square = ((counts - draws / n) ** 2 / (draws / n)).sum()
    assert chi_square < 43.8  # 99.9% quantile for 19 degrees of freedom


def test_large_seeds_and_steps_are_fine():
    x, _ = windows(seed=2**63 - 1, step=2**40)
    assert x.shape == (4, 8)


@pytest.mark.parametrize(("n_windows", "n"), [(10, 3), (64, 64), (5, 9), (1, 1), (871, 64)])
def test_evaluation_windows_are_distinct_and_evenly_spaced(n_windows, n):
    found = evaluation_windows(n_windows, n)
    assert len(found) == min(n, n_windows)
    assert found[0] == 0
    gaps = np.diff([*found, n_windows])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("n", [1, 2, 7, 64, 871])
def test_every_beginning_of_spread_is_evenly_spread(n):
    order = spread(n)
    assert sorted(order) == list(range(n))
    for k in (1, n // 3, n // 2):
        if k:
            gaps = np.diff([*sorted(order[:k]), n])
            assert gaps.max() <= 2 * 2 ** math.ceil(math.log2(n / k))
