"""Nats per token against brute force, one token at a time, and against models that are uniform."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.config.model_config import ModelConfig
from tinygpt.errors import DataError
from tinygpt.evaluation.token_nll import Scorer, score_tokens
from tinygpt.inference.torch_session import TorchSession
from tinygpt.model.gpt import GPT
from tinygpt.training.val_loss import n_windows, val_loss

SHAPE = ModelConfig(
    vocab_size=9,
    n_positions=16,
    n_embd=32,
    n_layer=2,
    n_head=2,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
    initializer_range=0.5,
)


def random_gpt(n_positions: int = 16) -> GPT:
    shape = replace(SHAPE, n_positions=n_positions)
    return GPT(shape, torch.Generator().manual_seed(0)).eval()


def uniform_gpt() -> GPT:
    model = random_gpt()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    return model


def brute_force(model: GPT, prefix: list[int], ids: list[int], context: int, stride: int):
    """One target at a time, from the definition: the window that first reaches it scores it."""
    sequence, out = [*prefix, *ids], []
    first = max(1, len(prefix))
    window_end = max(first, context)  # the first window's inputs end before this index
    for target in range(first, len(sequence)):
        while target > window_end:
            window_end += stride
        end = min(window_end, len(sequence) - 1)
        begin = max(0, end - context)
        with torch.inference_mode():
            logits = model(torch.tensor([sequence[begin:target]]))[0, -1].double()
        nats = -torch.log_softmax(logits, -1)[sequence[target]].item()
        out.append((nats, target - begin))
    return out


@settings(max_examples=25, deadline=None)
@given(
    n_prefix=st.integers(0, 20),
    n=st.integers(2, 40),
    context=st.integers(1, 8),
    stride=st.integers(1, 8),
    batch_size=st.integers(1, 4),
)
def test_equals_brute_force_one_token_at_a_time(n_prefix, n, context, stride, batch_size) -> None:
    stride = min(stride, context)
    model = random_gpt(8)
    rng = np.random.default_rng(n)
    prefix = rng.integers(0, 9, n_prefix).astype(np.int32)[-max(1, context - 1) :]
    ids = rng.integers(0, 9, n).astype(np.int32)
    (found,) = score_tokens(model, prefix, ids, context, [stride], batch_size=batch_size)
    expected = brute_force(model, prefix.tolist(), ids.tolist(), context, stride)
    if not len(prefix):  # nothing stands before the first one
        expected = [(math.log(9), 0), *expected]
    np.testing.assert_allclose(found.nats, [nats for nats, _ in expected], rtol=1e-4, atol=1e-5)
    assert found.context.tolist() == [seen for _, seen in expected]


@settings(max_examples=25, deadline=None)
@given(
    n_prefix=st.integers(0, 9),
    n=st.integers(2, 60),
    context=st.integers(1, 8),
    stride=st.integers(1, 8),
    batch_size=st.integers(1, 4),
)
def test_two_strides_at_once_equal_two_passes(n_prefix, n, context, stride, batch_size) -> None:
    model, rng = random_gpt(8), np.random.default_rng(n)
    prefix, ids = rng.integers(0, 9, n_prefix)[-max(1, context - 1) :], rng.integers(0, 9, n)
    strides = [min(stride, context), context]
    both = score_tokens(model, prefix, ids, context, strides, n_best=2, batch_size=batch_size)
    for found, alone in zip(both, strides, strict=True):
        (expected,) = score_tokens(model, prefix, ids, context, [alone])
        np.testing.assert_allclose(found.nats, expected.nats, rtol=1e-5, atol=1e-6)
        assert found.context.tolist() == expected.context.tolist()


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
def test_logits_in_pieces_are_those_of_the_whole_window(n) -> None:
    model = random_gpt(1024)
    ids = np.random.default_rng(n).integers(0, 9, n + 1)
    (found,) = score_tokens(model, ids[:1], ids[1:], 1024, [1024], n_best=9)
    with torch.inference_mode():
        logits = model(torch.from_numpy(ids[None, :-1]))[0].double()
    expected = torch.log_softmax(logits, -1)
    own = expected[torch.arange(n), torch.from_numpy(ids[1:])]
    np.testing.assert_allclose(found.nats, -own.numpy(), rtol=1e-4, atol=1e-5)
    assert (
        found.ranks.tolist()
        == ((logits > logits.gather(1, torch.from_numpy(ids[1:, None]))).sum(1) + 1).tolist()
    )
    order = torch.from_numpy(found.best_ids)
    np.testing.assert_allclose(
        found.best_probabilities, expected.exp().gather(1, order).numpy(), rtol=1e-4
    )
    assert (np.diff(found.best_probabilities) <= 0).all()


def test_a_session_scores_as_the_model_that_it_runs() -> None:
    model = random_gpt(1024)
    ids = np.random.default_rng(5).integers(0, 9, 1500)
    scorer = Scorer(TorchSession(model), model.config, "torch")
    for strides in ([512], [512, 1024]):
        for a, b in zip(
            score_tokens(model, ids[:9], ids[9:], 1024, strides, n_best=3),
            score_tokens(scorer, ids[:9], ids[9:], 1024, strides, n_best=3),
            strict=True,
        ):
            np.testing.assert_allclose(a.nats, b.nats, rtol=1e-4, atol=1e-5)
            assert a.context.tolist() == b.context.tolist()


def test_stride_one_gives_every_target_the_whole_context() -> None:
    model = random_gpt(8)
    ids = np.random.default_rng(0).integers(0, 9, 30).astype(np.int32)
    (found,) = score_tokens(model, ids[:7], ids[7:], 8, [1])
    for i, target in enumerate(range(7, 30)):
        window = torch.from_numpy(ids[max(0, target - 8) : target].astype(np.int64))[None]
        logits = model(window)[0, -1]
        # The very first window scores two targets, the first of them with one token less.
        assert found.nats[i] == pytest.approx(
            F.cross_entropy(logits, torch.tensor(int(ids[target]))).item(), rel=1e-4
        )


def test_val_loss_scores_disjoint_windows() -> None:
    model = random_gpt()
    ids = np.random.default_rng(3).integers(0, 9, 41).astype(np.int32)
    result = val_loss(model, ids, 8, batch_size=2)
    expected, count = 0.0, 0
    for begin in range(0, 40, 8):
        row = torch.from_numpy(ids[begin : begin + 9].astype(np.int64))
        logits = model(row[None, :-1])[0]
        expected += F.cross_entropy(logits, row[1:], reduction="sum").item()
        count += len(row) - 1
    assert (result.n_tokens, count) == (40, 40)
    assert result.loss == pytest.approx(expected / 40, rel=1e-5)
    assert n_windows(41, 8) == 5


def test_val_loss_last_window_may_be_short() -> None:
    model = uniform_gpt()
    ids = np.random.default_rng(3).integers(0, 9, 44).astype(np.int32)
    result = val_loss(model, ids, 8)
    assert (result.n_tokens, n_windows(44, 8)) == (43, 6)
    assert result.loss == pytest.approx(math.log(9), rel=1e-6)


def test_val_loss_of_chosen_windows_and_until_a_deadline() -> None:
    model = uniform_gpt()
    ids = np.zeros(81, np.int32)
    chosen = val_loss(model, ids, 8, windows=[0, 4, 9])
    assert chosen.n_tokens == 24
    stopped = val_loss(model, ids, 8, batch_size=2, deadline=lambda: True)
    assert stopped.n_tokens == 16
    with pytest.raises(DataError, match="no target"):
        val_loss(model, ids[:1], 8)


def test_the_training_mode_stays_as_it_was() -> None:
    model = uniform_gpt().train()
    val_loss(model, np.zeros(20, np.int32), 8)
    assert model.training
    score_tokens(model, np.zeros(1, np.int32), np.zeros(20, np.int32), 8, [4])
    assert model.training

    def stop(_: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        score_tokens(model, np.zeros(1, int), np.zeros(20, int), 8, [4], progress=stop)
    assert model.training


def test_sums_are_float64() -> None:
    """In float32 the sum of so many equal nats would be off by more than 1e-6 of itself."""
    model = uniform_gpt()
    ids = np.zeros(40_001, np.int32)
    (found,) = score_tokens(model, ids[:1], ids[1:], 16, [16], batch_size=512)
    nats = found.nats
    assert nats.dtype == np.float64
    one = float(nats[0])
    assert set(nats.tolist()) == {one}
    whole = val_loss(model, ids, 16, batch_size=4096)
    assert whole.loss == pytest.approx(one, rel=1e-12)
