from dataclasses import replace

import numpy as np
import pytest
import torch

from tinygpt.config.train_config import OptimConfig
from tinygpt.errors import CheckpointError
from tinygpt.training.optimizer import Optimizer, learning_rate


def test_warm_up_then_linear_decay_to_the_end():
    config = OptimConfig(learning_rate=1.0, final_learning_rate=0.1, warmup_steps=4)
    assert [learning_rate(config, step, 0.0) for step in range(6)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    )
    assert learning_rate(config, 100, 0.5) == pytest.approx(0.55)
    assert learning_rate(config, 100, 1.0) == pytest.approx(0.1)
    assert learning_rate(config, 100, 7.0) == pytest.approx(0.1)  # never below the end


def test_a_budget_shorter_than_the_warm_up_still_ends_at_the_end():
    config = OptimConfig(learning_rate=1.0, warmup_steps=1000)
    rates = [learning_rate(config, step, step / 10) for step in range(11)]
    assert max(rates) < 0.02
    assert rates[-1] == 0.0


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(OptimConfig(learning_rate=0.5, warmup_steps=0), 0, 0.0) == 0.5


ADAMW = OptimConfig(optimizer="adamw")
EITHER = pytest.mark.parametrize("config", [ADAMW, OptimConfig()], ids=lambda c: c.optimizer)


def take_step(model, optimizer, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step(rate)


def test_the_update_is_adamw_as_published(tiny_model):
    """Loshchilov and Hutter 2019, algorithm 2, in float64; only matrices decay."""
    config = replace(ADAMW, weight_decay=0.5, beta1=0.8, beta2=0.9)
    optimizer = Optimizer(tiny_model, config)
    expected = [p.detach().double().numpy() for p in tiny_model.parameters()]
    m = [np.zeros_like(w) for w in expected]
    v = [np.zeros_like(w) for w in expected]
    for t, rate in ((1, 0.01), (2, 0.005)):
        take_step(tiny_model, optimizer, rate, t)
        for i, p in enumerate(tiny_model.parameters()):
            g = p.grad.double().numpy()
            m[i] = 0.8 * m[i] + 0.2 * g
            v[i] = 0.9 * v[i] + 0.1 * g**2
            moved = (m[i] / (1 - 0.8**t)) / (np.sqrt(v[i] / (1 - 0.9**t)) + 1e-8)
            decay = 0.5 if p.ndim == 2 else 0.0
            expected[i] = expected[i] - rate * (moved + decay * expected[i])
    for p, w in zip(tiny_model.parameters(), expected, strict=True):
        assert np.abs(p.detach().numpy() - w).max() < 1e-5


def test_it_is_torchs_own_adamw_to_the_last_bit(tiny_config, make_gpt):
    ours, theirs = make_gpt(tiny_config), make_gpt(tiny_config)
    theirs.load_state_dict(ours.state_dict())
    optimizer = Optimizer(ours, ADAMW)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (ADAMW.beta1, ADAMW.beta2)
    reference = torch.optim.AdamW(groups, lr=0.01, betas=betas, fused=True)
    for seed in range(3):
        take_step(ours, optimizer, 0.01, seed)
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            its.grad = mine.grad.clone()
        reference.step()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest(tiny_model):
    state = Optimizer(tiny_model, OptimConfig()).state()
    for name, p in tiny_model.named_parameters():
        is_muons = ".h." in name and p.ndim == 2
        assert (f"momentum.{name}" in state) == is_muons
        assert (f"exp_avg.{name}" in state) == (f"step.{name}" in state) == (not is_muons)
    assert not any(name.startswith("momentum") for name in Optimizer(tiny_model, ADAMW).state())


def test_muons_rate_follows_adamws_in_proportion(tiny_config, make_gpt):
    before = make_gpt(tiny_config)
    moved = []
    for config in (
        OptimConfig(learning_rate=0.01, matrix_learning_rate=0.1, weight_decay=0),
        OptimConfig(learning_rate=0.02, matrix_learning_rate=0.2, weight_decay=0),
    ):
        model = make_gpt(tiny_config)
        model.load_state_dict(before.state_dict())
        take_step(model, Optimizer(model, config), 0.005, 0)  # half, and a quarter of the peak
        moved.append(
            model.transformer.h[0].mlp.c_fc.weight - before.transformer.h[0].mlp.c_fc.weight
        )
    assert torch.allclose(moved[0], moved[1], atol=1e-6)
    assert moved[0].abs().max() > 1e-3


@EITHER
def test_the_state_is_complete_from_the_start_and_comes_back_bit_for_bit(
    config, tiny_config, make_gpt, tiny_model
):
    optimizer = Optimizer(tiny_model, config)
    assert not any(tensor.any() for tensor in optimizer.state().values())
    take_step(tiny_model, optimizer, 0.01, 0)
    arrays = {k: v.numpy().copy() for k, v in optimizer.state().items()}

    other = make_gpt(tiny_config)
    other.load_state_dict(tiny_model.state_dict())
    restored = Optimizer(other, config)
    restored.load_state(arrays, "test")
    take_step(tiny_model, optimizer, 0.01, 1)
    take_step(other, restored, 0.01, 1)
    for a, b in zip(tiny_model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_refuses_the_state_of_another_model_or_optimizer(tiny_model):
    optimizer = Optimizer(tiny_model, ADAMW)
    arrays = {k: v.numpy() for k, v in optimizer.state().items()}
    name = "exp_avg.transformer.wte.weight"
    with pytest.raises(CheckpointError, match=f"X: 1 optimizer tensor.*{name}"):
        optimizer.load_state({k: v for k, v in arrays.items() if k != name}, "X")
    with pytest.raises(CheckpointError, match=r"has shape \(3,\)"):
        optimizer.load_state(arrays | {name: np.zeros(3, np.float32)}, "X")
    with pytest.raises(CheckpointError, match="another architecture or optimizer"):
        Optimizer(tiny_model, OptimConfig()).load_state(arrays, "X")
