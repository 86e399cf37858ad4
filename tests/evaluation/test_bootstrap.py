"""The interval covers as often as it says, finds what is planted, and pairs the same bytes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygpt.errors import ConfigError, DataError
from tinygpt.evaluation.bootstrap import (
    BLOCK_BYTES,
    Blocks,
    _holm,
    cut_into_blocks,
    paired_differences,
)

N_BLOCKS = 32


def pair(rng: np.random.Generator, worse: float = 0.0) -> dict[str, Blocks]:
    """Two models: blocks that are hard for both, and each model's own luck with each block."""
    n_bytes = np.full(N_BLOCKS, 1024.0)
    n_bytes[-1] = 700
    hard = rng.normal(1.6, 0.15, N_BLOCKS)  # nats per byte
    own = [hard * scale + rng.normal(0, 0.03, N_BLOCKS) for scale in (1.0, 1.0 + worse)]
    return {
        name: Blocks(nats=nats * n_bytes, n_bytes=n_bytes)
        for name, nats in zip(("A", "B"), own, strict=True)
    }


def test_the_interval_covers_zero_in_95_of_100_pairs_without_a_difference() -> None:
    rng, covered = np.random.default_rng(7), 0
    for seed in range(1000):
        (found,) = paired_differences(pair(rng), seed=seed, n_resamples=999)
        spans_zero = found.low <= 0 <= found.high
        assert found.detected == (not spans_zero)
        assert ("no difference detected" in str(found)) == spans_zero
        covered += spans_zero
    assert 930 <= covered <= 970


def test_a_planted_difference_of_two_percent_is_detected() -> None:
    rng = np.random.default_rng(8)
    found = [paired_differences(pair(rng, 0.02), seed=s, n_resamples=999)[0] for s in range(100)]
    assert sum(d.detected and d.high < 0 for d in found) >= 95
    assert str(found[0]).startswith("A is better than B (A minus B: 95% interval -")
    true = -0.02 * 1.6 / math.log(2)
    assert np.mean([d.bits_per_byte for d in found]) == pytest.approx(true, rel=0.1)
    assert sum(d.low <= true <= d.high for d in found) >= 88


def test_pairing_is_what_finds_it() -> None:
    """Unpaired, the blocks' own difficulty drowns a difference of 2%."""
    models = pair(np.random.default_rng(8), 0.02)
    shuffled = Blocks(nats=models["B"].nats[[*range(30, -1, -1), 31]], n_bytes=models["B"].n_bytes)
    assert paired_differences(models)[0].detected
    assert not paired_differences({**models, "B": shuffled})[0].detected


def test_the_figure_is_the_difference_of_bits_per_byte() -> None:
    models = pair(np.random.default_rng(3), 0.05)
    (found,) = paired_differences(models, n_resamples=200)
    a, b = (m.nats.sum() / math.log(2) / m.n_bytes.sum() for m in models.values())
    assert found.bits_per_byte == pytest.approx(a - b, rel=1e-9)
    assert found.low < found.bits_per_byte < found.high
    assert (found.first, found.second, found.n_blocks, found.n_compared) == ("A", "B", 32, 1)


def test_the_same_seed_gives_the_same_answer() -> None:
    models = pair(np.random.default_rng(3))
    one, same, other = (paired_differences(models, seed=s, n_resamples=500) for s in (1, 1, 2))
    assert one == same != other


def test_a_model_against_itself() -> None:
    blocks = pair(np.random.default_rng(3))["A"]
    (found,) = paired_differences({"A": blocks, "again": blocks})
    assert (found.low, found.bits_per_byte, found.high, found.p) == (0, 0, 0, 1)
    assert str(found).startswith("no difference detected between A and again")


def test_above_two_models_the_p_values_are_corrected() -> None:
    rng = np.random.default_rng(4)
    models = pair(rng, 0.02)
    models["C"] = Blocks(nats=models["A"].nats + rng.normal(1, 15, 32), n_bytes=models["A"].n_bytes)
    alone = {
        names: paired_differences({n: models[n] for n in names})[0].p
        for names in (("A", "B"), ("A", "C"), ("B", "C"))
    }
    found = paired_differences(models)
    assert [(d.first, d.second) for d in found] == list(alone)
    assert [d.p for d in found] == _holm(list(alone.values()))
    assert all(d.n_compared == 3 and "Holm" in str(d) for d in found)


def test_holm_by_hand() -> None:
    assert _holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert _holm([0.9, 0.8]) == [1, 1]
    assert _holm([0.04]) == [0.04]


@given(
    tokens=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 9)), min_size=1, max_size=60),
    block_bytes=st.integers(1, 40),
)
def test_blocks_share_a_token_by_its_bytes(tokens, block_bytes) -> None:
    nats, n_bytes = zip(*tokens, strict=True)
    per_byte = np.repeat(np.divide(nats, n_bytes), n_bytes)
    cuts = range(0, len(per_byte), block_bytes)
    found = cut_into_blocks(np.array(nats), n_bytes, block_bytes)
    expected = [per_byte[i : i + block_bytes].sum() for i in cuts]
    np.testing.assert_allclose(found.nats, expected, atol=1e-9)
    assert found.n_bytes.tolist() == [len(per_byte[i : i + block_bytes]) for i in cuts]
    assert found.nats.sum() == pytest.approx(sum(nats))


def test_two_tokenizations_of_the_same_costs_show_no_difference() -> None:
    rng = np.random.default_rng(0)
    by_byte = rng.gamma(2, 0.8, 16 * BLOCK_BYTES)
    one = cut_into_blocks(by_byte, np.ones(len(by_byte)))
    pairs = cut_into_blocks(by_byte.reshape(-1, 2).sum(1), np.full(len(by_byte) // 2, 2))
    (found,) = paired_differences({"bytes": one, "pairs": pairs})
    assert abs(found.bits_per_byte) < 1e-12
    assert len(one.nats) == 16


def test_what_is_refused() -> None:
    models = pair(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least 2"):
        paired_differences({"A": models["A"]})
    few = cut_into_blocks(np.ones(7_000), np.ones(7_000))
    with pytest.raises(DataError, match=r"7 block\(s\) of text are too few"):
        paired_differences({"A": few, "B": few})
    others = cut_into_blocks(np.ones(32_000), np.ones(32_000))
    with pytest.raises(DataError, match="A and B were not scored on the same blocks"):
        paired_differences({"A": models["A"], "B": others})
    with pytest.raises(ConfigError, match="block_bytes=0"):
        cut_into_blocks(np.ones(5), np.ones(5), 0)
