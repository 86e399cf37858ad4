"""The n-gram against a reference written from the definition and a source of known entropy."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.evaluation import ngram
from tinygpt.evaluation.ngram import MAX_ORDER, choose_order, ngram_nats


def reference(train: bytes, before: bytes, text: bytes, order: int) -> list[float]:
    """Interpolated modified Kneser-Ney with dictionaries, one byte at a time."""

    def counts(k: int) -> Counter[bytes]:
        return Counter(train[i : i + k] for i in range(len(train) - k + 1))

    tables = []  # (counts, discounts) of each order
    for k in range(1, order + 1):
        own = counts(k)
        if k < order:  # different bytes on the left instead of occurrences
            own = Counter(gram[1:] for gram in counts(k + 1))
        n = [sum(c == j for c in own.values()) for j in (1, 2, 3, 4)]
        d = [0.5, 1.0, 1.5]
        if all(n):
            y = n[0] / (n[0] + 2 * n[1])
            found = [j - (j + 1) * y * n[j] / n[j - 1] for j in (1, 2, 3)]
            if all(0 < x < j for j, x in enumerate(found, 1)):
                d = found
        followers = defaultdict(dict)
        for gram, c in own.items():
            followers[gram[:-1]][gram[-1:]] = c
        tables.append((followers, [0.0, *d]))

    def probability(context: bytes, byte: bytes) -> float:
        p = 1 / 256
        for k, (followers, d) in enumerate(tables, 1):
            after = followers.get(context[len(context) - k + 1 :], {})
            if after:
                total = sum(after.values())
                c = after.get(byte, 0)
                left = sum(d[min(3, other)] for other in after.values()) / total
                p = (c - d[min(3, c)]) / total + left * p
        return p

    seen = (b"\n" * order + before)[-order:]
    out = []
    for i in range(len(text)):
        out.append(-math.log(probability(seen, text[i : i + 1])))
        seen = (seen + text[i : i + 1])[-order:]
    return out


letters = st.lists(st.sampled_from(b"abc\n"), max_size=60).map(bytes)


@settings(max_examples=150, deadline=None)
@given(train=letters, prefix=letters, text=letters, order=st.integers(1, MAX_ORDER))
def test_equals_the_definition(train, prefix, text, order) -> None:
    np.testing.assert_allclose(
        ngram_nats(train, prefix, text, order), reference(train, prefix, text, order), rtol=1e-9
    )


@settings(max_examples=25, deadline=None)
@given(train=st.binary(max_size=200) | letters, prefix=letters, order=st.integers(1, MAX_ORDER))
def test_probabilities_sum_to_one(train, prefix, order) -> None:
    p = [math.exp(-ngram_nats(train, prefix, bytes([b]), order)[0]) for b in range(256)]
    assert sum(p) == pytest.approx(1, abs=1e-9)
    assert min(p) > 0


def test_one_training_text_is_counted_once_for_several_texts(monkeypatch) -> None:
    counted = []
    count = ngram._counted

    def logged(keys):
        counted.append(len(keys))
        return count(keys)

    monkeypatch.setattr(ngram, "_counted", logged)
    train = b"a rose is a rose is a rose" * 9
    for text in (b"a rose", b"is a daisy"):
        ngram_nats(train, b"", text, 3)
    assert [n for n in counted if n > len(train) - 3] == [len(train) - k for k in range(3)]


def test_unseen_bytes_cost_something_finite() -> None:
    nats = ngram_nats(b"the same, the same, the same" * 40, b"", "é漢\x00".encode(), 7)
    assert np.isfinite(nats).all()
    assert nats.min() > math.log(256)


def markov_chain(n: int) -> tuple[bytes, float, float]:
    """Order 2 over four letters: the text, its entropy rate and its own cost, bits per byte."""
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.full(4, 0.4), (4, 4))  # p[i, j, k]: k after i, j
    step = np.zeros((16, 16))
    for i, j, k in np.ndindex(4, 4, 4):
        step[4 * i + j, 4 * j + k] = p[i, j, k]
    stationary = np.linalg.matrix_power(step, 1000)[0].reshape(4, 4)
    rate = -(stationary[..., None] * p * np.log2(p)).sum()
    cumulative, draws, text, spent = p.cumsum(-1), rng.random(n), [0, 1], 0.0
    for u in draws:
        i, j = text[-2:]
        k = min(3, int(np.searchsorted(cumulative[i, j], u)))
        text.append(k)
        spent -= math.log2(p[i, j, k])
    return bytes(b"abcd"[k] for k in text[2:]), float(rate), spent / n


def test_it_approaches_the_entropy_rate_of_a_markov_source() -> None:
    text, rate, own = markov_chain(120_000)
    assert own == pytest.approx(rate, abs=0.02)
    train, scored = text[:100_000], text[100_000:]
    cost = {
        k: ngram_nats(train, train, scored, k).mean() / math.log(2) for k in range(1, MAX_ORDER + 1)
    }
    assert cost[3] == pytest.approx(rate, abs=0.02)
    assert min(cost[1], cost[2]) > rate + 0.05  # two bytes of context are needed
    assert cost[8] < cost[3] + 0.05  # and more of them do little harm
    assert choose_order(train) == 3


def test_more_training_text_comes_closer() -> None:
    text, _, _ = markov_chain(60_000)
    cost = [ngram_nats(text[:n], b"", text[50_000:], 3).mean() for n in (500, 5_000, 50_000)]
    assert cost == sorted(cost, reverse=True)


def test_uniform_bytes_cost_eight_bits() -> None:
    data = np.random.default_rng(0).bytes(150_000)
    train, scored = data[:130_000], data[130_000:]
    for order in (1, choose_order(train)):
        bits = ngram_nats(train, train, scored, order).mean() / math.log(2)
        assert 7.99 < bits < 8.2


def test_the_order_of_a_short_text_is_at_least_two() -> None:
    assert choose_order(b"") == choose_order(b"abc") == 2
