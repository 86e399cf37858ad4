"""The draw follows the softmax that the settings describe, the same on every machine."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinygpt.config.generation_config import GenerationConfig
from tinygpt.config.model_config import ModelConfig
from tinygpt.inference.sampling import _most_likely, generator, lowered, next_id, probabilities

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

V = 12
LOGITS = np.random.default_rng(7).normal(0, 1.5, V).astype(np.float32)

SETTINGS = {
    "plain": GenerationConfig(temperature=1.0),
    "cold": GenerationConfig(temperature=0.5),
    "hot": GenerationConfig(temperature=2.0),
    "top_k": GenerationConfig(temperature=1.0, top_k=4),
    "top_k of all": GenerationConfig(temperature=1.0, top_k=V),
    "top_p": GenerationConfig(temperature=1.0, top_p=0.7),
    "all three": GenerationConfig(temperature=1.3, top_k=8, top_p=0.8),
    "min_p": GenerationConfig(temperature=1.0, min_p=0.2),
    "penalty": GenerationConfig(temperature=1.0, repetition_penalty=1.7),
    "all five": GenerationConfig(
        temperature=1.3, top_k=9, top_p=0.9, min_p=0.15, repetition_penalty=1.4
    ),
}
SEEN = [5, 0, 5, 7]


def target(logits: Any, settings: GenerationConfig, seen: Any = ()) -> list[float]:
    """The distribution as its definition reads, one token at a time, without numpy."""
    penalty = settings.repetition_penalty
    scores = [float(x) for x in logits]
    scores = [
        (x * penalty if x < 0 else x / penalty) if i in seen else x for i, x in enumerate(scores)
    ]
    scores = [x / settings.temperature for x in scores]
    top = max(scores)
    if settings.top_k is not None and settings.top_k < len(scores):
        least = sorted(scores, reverse=True)[settings.top_k - 1]
        scores = [x if x >= least else -math.inf for x in scores]
    weights = [math.exp(x - top) for x in scores]
    p = [w / math.fsum(weights) for w in weights]
    kept, mass = set(), 0.0
    for i in sorted(range(len(p)), key=lambda i: (-p[i], i)):
        if mass < settings.top_p or settings.top_p == 1:
            kept.add(i)
        mass += p[i]
    p = [x if i in kept else 0.0 for i, x in enumerate(p)]
    p = [x if x >= settings.min_p * max(p) else 0.0 for x in p]
    return [x / math.fsum(p) for x in p]


def standard_scores(counts: Any, expected: Any) -> float:
    """How many standard deviations a chi-square statistic lies above its mean (Wilson-Hilferty)."""
    kept = np.asarray(expected) > 0
    assert np.asarray(counts)[~kept].sum() == 0, "an excluded token was drawn"
    n = kept.sum() - 1
    x = ((np.asarray(counts)[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    return float(((x / n) ** (1 / 3) - (1 - 2 / (9 * n))) / math.sqrt(2 / (9 * n)))


class TestDistribution:
    @pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
    def test_frequencies_follow_the_target(self, settings: GenerationConfig) -> None:
        n, rng = 20_000, generator(0)
        counts = np.bincount([next_id(LOGITS, settings, rng, SEEN) for _ in range(n)], minlength=V)
        assert standard_scores(counts, n * np.array(target(LOGITS, settings, SEEN))) < 3

    def test_the_test_would_notice(self) -> None:
        """A temperature 5% off fails it."""
        n, rng = 20_000, generator(0)
        off = GenerationConfig(temperature=1.05)
        counts = np.bincount([next_id(LOGITS, off, rng) for _ in range(n)], minlength=V)
        assert standard_scores(counts, n * np.array(target(LOGITS, SETTINGS["plain"]))) > 3

    @given(
        logits=st.lists(st.integers(-3000, 3000), min_size=1, max_size=20),
        temperature=st.floats(0.05, 5),
        top_k=st.none() | st.integers(1, 25),
        top_p=st.floats(0.01, 1),
        min_p=st.floats(0, 1),
        penalty=st.floats(0.5, 3),
        seen=st.lists(st.integers(0, 19), max_size=5),
    )
    def test_probabilities_are_the_target(
        self,
        logits: list[int],
        temperature: float,
        top_k: int | None,
        top_p: float,
        min_p: float,
        penalty: float,
        seen: list[int],
    ) -> None:
        array = np.array(logits, dtype=np.float32) / 100
        seen = [i for i in seen if i < len(logits)]
        settings = GenerationConfig(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=penalty,
        )
        whole = sorted(target(array, replace(settings, top_p=1.0, min_p=0.0), seen), reverse=True)
        masses = itertools.accumulate(whole)
        assume(top_p == 1 or all(abs(mass - top_p) > 1e-9 for mass in masses))  # no rounding
        assume(all(x == whole[0] or abs(x / whole[0] - min_p) > 1e-9 for x in whole))
        p = probabilities(array, settings, seen)
        assert p.dtype == np.float64
        np.testing.assert_allclose(p, target(array, settings, seen), rtol=1e-9, atol=0)

    @pytest.mark.parametrize(
        ("top_p", "n_kept"),
        [(0.5, 1), (0.50001, 2), (0.75, 2), (0.7501, 3), (0.875, 3), (0.9, 4), (1e-9, 1), (1.0, 4)],
    )
    def test_top_p_keeps_the_smallest_set_that_reaches_p(self, top_p: float, n_kept: int) -> None:
        logits = np.log2(np.array([0.125, 0.5, 0.25, 0.125])) * math.log(2)
        p = probabilities(logits.astype(np.float32), GenerationConfig(temperature=1.0, top_p=top_p))
        kept = np.flatnonzero(p)
        assert list(kept) == sorted([1, 2, 0, 3][:n_kept])
        assert p[1] == p.max() == pytest.approx(0.5 / [0.5, 0.75, 0.875, 1][n_kept - 1])

    def test_top_p_that_is_reached_exactly_keeps_no_more(self) -> None:
        equal = np.zeros(4, np.float32)
        p = probabilities(equal, GenerationConfig(temperature=1.0, top_p=0.5))
        np.testing.assert_array_equal(p, [0.5, 0.5, 0, 0])

    def test_top_k_keeps_ties(self) -> None:
        p = probabilities(
            np.array([1, 3, 2, 2, 0], np.float32), GenerationConfig(temperature=1.0, top_k=2)
        )
        assert list(np.flatnonzero(p)) == [1, 2, 3]

    def test_top_p_comes_after_temperature_and_top_k(self) -> None:
        logits = np.log([0.4, 0.3, 0.2, 0.1]).astype(np.float32)
        both = GenerationConfig(temperature=1.0, top_k=2, top_p=0.5)
        assert list(np.flatnonzero(probabilities(logits, both))) == [0]  # 0.4 / 0.7 >= 0.5
        hot = GenerationConfig(temperature=100.0, top_p=0.5)
        assert list(np.flatnonzero(probabilities(logits, hot))) == [0, 1]

    def test_min_p_comes_last(self) -> None:
        logits = np.log([0.4, 0.3, 0.2, 0.1]).astype(np.float32)
        cold = GenerationConfig(temperature=0.5, min_p=0.3)  # squared: 1, 0.56, 0.25, 0.06
        assert list(np.flatnonzero(probabilities(logits, cold))) == [0, 1]
        both = GenerationConfig(temperature=1.0, min_p=0.3, top_p=0.9)  # 0.4 + 0.3 + 0.2 reach it
        assert list(np.flatnonzero(probabilities(logits, both))) == [0, 1, 2]
        all_ties = GenerationConfig(temperature=1.0, min_p=1.0)
        p = probabilities(np.array([2, 1, 2], np.float32), all_ties)
        np.testing.assert_array_equal(p, [0.5, 0, 0.5])

    def test_penalty_lowers_what_was_seen_once(self) -> None:
        logits = np.array([2, 2, -1, -1], np.float32)
        settings = GenerationConfig(temperature=1.0, repetition_penalty=2.0)
        p = probabilities(logits, settings, [0, 2, 0])
        expected = np.exp([1.0, 2.0, -2.0, -1.0])
        np.testing.assert_allclose(p, expected / expected.sum(), rtol=1e-12)

    def test_logits_are_left_alone(self) -> None:
        before = LOGITS.copy()
        probabilities(LOGITS, SETTINGS["all five"], SEEN)
        np.testing.assert_array_equal(LOGITS, before)


class TestTransformers:
    """The distribution that transformers' `generate` draws from, in its order of processors."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"repetition_penalty": 1.3},
            {"repetition_penalty": 0.7},
            {"min_p": 0.1},
            {"min_p": 0.9},
            {"temperature": 0.6, "top_k": 20},
            {"temperature": 1.5, "top_p": 0.8},
            {"temperature": 2.0, "top_k": 40, "top_p": 0.9, "min_p": 0.2},
            {"top_k": 50, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.2},
            {"temperature": 3.0, "top_k": 90, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 2},
        ],
        ids=str,
    )
    def test_scores_of_generate(
        self,
        tiny_config: ModelConfig,
        make_hf_gpt2: Callable[..., "GPT2LMHeadModel"],
        changes: dict[str, Any],
    ) -> None:
        import torch
        from transformers import GenerationConfig as TheirConfig

        settings = GenerationConfig(**({"temperature": 1.0, "max_new_tokens": 1} | changes))
        model = make_hf_gpt2(replace(tiny_config, vocab_size=300))
        ids = torch.from_numpy(np.random.default_rng(0).integers(0, 300, (20, 16 - 1)))
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=TheirConfig.from_dict(settings.to_dict() | {"pad_token_id": 0}),
            return_dict_in_generate=True,
            output_logits=True,
            output_scores=True,
        )
        theirs = out.scores[0].softmax(-1).numpy()
        ours, without = [], []
        for row, seen in zip(out.logits[0].numpy(), ids.tolist(), strict=True):
            ours.append(probabilities(row, settings, seen))
            without.append(probabilities(row, GenerationConfig(temperature=1.0)))
        np.testing.assert_array_equal(np.array(ours) > 0, theirs > 0)
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-9)
        assert np.abs(np.array(ours) - without).max() > 1e-3  # each setting does something here


class TestGreedy:
    def test_penalty_comes_before_it(self) -> None:
        logits = np.array([3, 2, -1, -2], np.float32)
        settings = GenerationConfig(temperature=0.0, repetition_penalty=2.0)
        assert next_id(logits, settings, generator(0), []) == 0
        assert next_id(logits, settings, generator(0), {0}) == 1
        assert next_id(logits, settings, generator(0), [0, 1]) == 0
        np.testing.assert_array_equal(probabilities(logits, settings, [0]), [0, 1, 0, 0])
        all_negative = np.array([-1, -1.5], np.float32)
        assert next_id(all_negative, settings, generator(0), [0]) == 1

    @pytest.mark.parametrize("seed", range(5))
    def test_top_k_of_one_and_a_tiny_top_p_are_greedy(self, seed: int) -> None:
        logits = np.random.default_rng(seed).normal(size=50).astype(np.float32)
        greedy = next_id(logits, GenerationConfig(temperature=0.0), generator(0))
        assert greedy == int(logits.argmax())
        for settings in (GenerationConfig(top_k=1), GenerationConfig(top_p=1e-6)):
            rng = generator(seed)
            assert {next_id(logits, settings, rng) for _ in range(20)} == {greedy}

    def test_draws_nothing_and_takes_the_first_of_equals(self) -> None:
        rng = generator(3)
        logits = np.array([0, 2, 1, 2], np.float32)
        assert next_id(logits, GenerationConfig(temperature=0.0), rng) == 1
        assert rng.random() == generator(3).random()
        p = probabilities(logits, GenerationConfig(temperature=0.0))
        np.testing.assert_array_equal(p, [0, 1, 0, 0])


class TestExtremes:
    @pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-30, 0.7, 1.0, 1e30, 1e308])
    @pytest.mark.parametrize("top_k", [None, 1, 3])
    @pytest.mark.parametrize("top_p", [1e-300, 0.5, 1.0])
    @pytest.mark.parametrize("min_p", [0.0, 1e-300, 1.0])
    def test_large_and_infinite_logits(
        self, temperature: float, top_k: int | None, top_p: float, min_p: float
    ) -> None:
        settings = GenerationConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        inf = math.inf
        for values in (
            [1e4, -1e4, 0, 9999],
            [-inf, -inf, 5, -inf],
            [-inf, 1e4, -1e4, -inf, 3],
            [3e38, -3e38, 0, 1],
            [0, 0, 0, 0],
            [2],
        ):
            logits = np.array(values, dtype=np.float32)
            p = probabilities(logits, settings)
            assert np.isfinite(p).all()
            assert p.sum() == pytest.approx(1)
            assert (p[np.isneginf(logits)] == 0).all()
            assert p[logits.argmax()] == p.max()
            rng = generator(0)
            assert all(p[next_id(logits, settings, rng)] > 0 for _ in range(5))

    @pytest.mark.parametrize("u", [0.0, math.nextafter(1, 0)])
    def test_the_ends_of_the_random_interval(self, u: float) -> None:
        class Fixed:
            def random(self) -> float:
                return u

        rng: Any = Fixed()
        inf = math.inf
        logits = np.array([-inf, 0, 1, -inf, 2, -inf, -inf], np.float32)
        drawn = next_id(logits, GenerationConfig(temperature=1.0), rng)
        assert drawn == (1 if u == 0 else 4)
        for n in (1, 2, 3, 10, 1_000, 50_257):  # sums of 1/n that round up and down
            drawn = next_id(np.zeros(n, np.float32), GenerationConfig(temperature=1.0), rng)
            assert drawn == (0 if u == 0 else n - 1)


class TestGenerator:
    def test_same_key_same_draws(self) -> None:
        assert list(generator(5, 2).random(9)) == list(generator(5, 2).random(9))

    def test_every_seed_and_sample_has_its_own(self) -> None:
        seeds = [0, 1, 2, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]
        keys = list(itertools.product(seeds, range(4)))
        assert len({generator(*key).random() for key in keys}) == len(keys)

    def test_draws_are_the_same_on_every_machine(self) -> None:
        """Philox 4x64-10 of Salmon et al. 2011, written out: key (seed, sample index)."""
        mask = 2**64 - 1

        def block(counter: int, key: tuple[int, int]) -> list[int]:
            x, (k0, k1) = [counter, 0, 0, 0], key
            for _ in range(10):
                a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
                x = [(b >> 64) ^ x[1] ^ k0, b & mask, (a >> 64) ^ x[3] ^ k1, a & mask]
                k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
            return x

        for key in ((0, 0), (1, 0), (0, 1), (2**64 - 1, 7)):
            expected = [word >> 11 for counter in (1, 2) for word in block(counter, key)]
            rng = generator(*key)
            assert [rng.random() * 2**53 for _ in range(8)] == expected


def test_openais_penalties() -> None:
    logits = np.array([1, 2, 3, -4], np.float32)
    out = lowered(logits, {1: 3, 3: 1}, presence=0.5, frequency=0.25)
    assert out.tolist() == [1, 2 - 0.5 - 0.75, 3, -4 - 0.5 - 0.25]
    assert logits.tolist() == [1, 2, 3, -4]
    assert lowered(logits, {}, presence=1, frequency=1).tolist() == logits.tolist()


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 8.0])
@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.9, 0.999999])
def test_top_p_of_many_tokens_is_that_of_a_whole_sort(spread: float, top_p: float) -> None:
    logits = np.random.default_rng(3).normal(0, spread, 20_000).round(1)  # many tie
    p = np.exp(logits) / np.exp(logits).sum()
    actual = _most_likely(p, top_p)
    order = np.argsort(-p, kind="stable")
    p[order[p[order].cumsum() - p[order] >= top_p]] = 0
    assert np.array_equal(actual, p)
