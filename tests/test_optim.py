import numpy as np
import pytest
import torch

from tinygpt.errors import CheckpointError
from tinygpt.optim import (
    learning_rate,
    load_state,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
    state_tensors,
)
from tinygpt.run_config import OptimConfig


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


def test_only_matrices_decay_and_tied_weights_come_once(tiny_model):
    decayed, plain = parameter_groups(tiny_model, 0.1)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim == 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])
    together = [*decayed["params"], *plain["params"]]
    assert {id(p) for p in together} == {id(p) for p in tiny_model.parameters()}
    assert len(together) == len(list(tiny_model.parameters()))


def take_step(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()


def test_the_update_is_adamw_as_published(tiny_model):
    """Loshchilov and Hutter 2019, algorithm 2, in float64."""
    config = OptimConfig(learning_rate=0.01, weight_decay=0.5, beta1=0.8, beta2=0.9)
    optimizer = make_optimizer(tiny_model, config)
    expected = [p.detach().double().numpy() for p in tiny_model.parameters()]
    m = [np.zeros_like(w) for w in expected]
    v = [np.zeros_like(w) for w in expected]
    for t, rate in ((1, 0.01), (2, 0.005)):
        set_learning_rate(optimizer, rate)
        take_step(tiny_model, optimizer, t)
        for i, p in enumerate(tiny_model.parameters()):
            g = p.grad.double().numpy()
            m[i] = 0.8 * m[i] + 0.2 * g
            v[i] = 0.9 * v[i] + 0.1 * g**2
            moved = (m[i] / (1 - 0.8**t)) / (np.sqrt(v[i] / (1 - 0.9**t)) + 1e-8)
            decay = 0.5 if p.ndim == 2 else 0.0
            expected[i] = expected[i] - rate * (moved + decay * expected[i])
    for p, w in zip(tiny_model.parameters(), expected, strict=True):
        assert np.abs(p.detach().numpy() - w).max() < 1e-5


def test_the_state_is_complete_from_the_start_and_comes_back_bit_for_bit(
    tiny_config, make_gpt, tiny_model
):
    config = OptimConfig()
    optimizer = make_optimizer(tiny_model, config)
    first = state_tensors(tiny_model, optimizer)
    assert len(first) == 3 * len(list(tiny_model.parameters()))
    assert not any(tensor.any() for tensor in first.values())
    take_step(tiny_model, optimizer, 0)
    arrays = {k: v.numpy().copy() for k, v in state_tensors(tiny_model, optimizer).items()}

    other = make_gpt(tiny_config)
    other.load_state_dict(tiny_model.state_dict())
    restored = make_optimizer(other, config)
    load_state(other, restored, arrays, "test")
    take_step(tiny_model, optimizer, 1)
    take_step(other, restored, 1)
    for a, b in zip(tiny_model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_refuses_the_state_of_another_model(tiny_model):
    optimizer = make_optimizer(tiny_model, OptimConfig())
    arrays = {k: v.numpy() for k, v in state_tensors(tiny_model, optimizer).items()}
    name = "exp_avg.transformer.wte.weight"
    with pytest.raises(CheckpointError, match=f"X: 1 optimizer tensor.*{name}"):
        load_state(tiny_model, optimizer, {k: v for k, v in arrays.items() if k != name}, "X")
    with pytest.raises(CheckpointError, match=r"has shape \(3,\)"):
        load_state(tiny_model, optimizer, arrays | {name: np.zeros(3, np.float32)}, "X")
