"""The sliced cross-entropy against torch's own, value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from tinygpt.training import cross_entropy
from tinygpt.training.cross_entropy import summed_cross_entropy


def inputs(n=7, c=5, v=11, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, c, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(v, c, generator=generator, dtype=dtype).requires_grad_()
    return hidden, weight, torch.randint(v, (n,), generator=generator)


@pytest.mark.parametrize("size", [11, 22, 33, 10**6], ids=lambda n: f"{n} logits")
def test_loss_and_gradients_are_torchs_whatever_the_slices(size, monkeypatch) -> None:
    monkeypatch.setattr(cross_entropy, "_LARGEST_SLICE", size)
    hidden, weight, targets = inputs()
    (3 * summed_cross_entropy(hidden, weight, targets)).backward()
    found = hidden.grad, weight.grad
    hidden, weight, targets = inputs()
    loss = F.cross_entropy(hidden @ weight.mT, targets, reduction="sum")
    (3 * loss).backward()
    assert torch.allclose(summed_cross_entropy(hidden, weight, targets), loss, rtol=1e-12)
    for mine, its in zip(found, (hidden.grad, weight.grad), strict=True):
        assert torch.allclose(mine, its, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    hidden, weight, targets = inputs(3, 2, 4)
    assert torch.autograd.gradcheck(
        lambda h, w: summed_cross_entropy(h, w, targets), (hidden, weight)
    )


def test_a_target_next_to_impossible_costs_what_it_costs() -> None:
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [-300.0]], requires_grad=True)
    loss = summed_cross_entropy(hidden, weight, torch.tensor([1]))
    assert loss.item() == 300.0


def test_the_logits_never_stand_in_full(monkeypatch) -> None:
    """Counted where they are made: no slice holds more logits than allowed."""
    monkeypatch.setattr(cross_entropy, "_LARGEST_SLICE", 40)
    sizes: list[int] = []
    real = F.linear

    def counted(x, w):
        out = real(x, w)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(cross_entropy.F, "linear", counted)
    hidden, weight, targets = inputs(n=10, v=20)
    summed_cross_entropy(hidden, weight, targets)
    assert sizes == [40] * 5


def test_under_autocast_the_loss_is_float32_and_near() -> None:
    hidden, weight, targets = inputs(n=64, c=32, v=50, dtype=torch.float32)
    exact = summed_cross_entropy(hidden, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = summed_cross_entropy(hidden, weight, targets)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.01)
    rounded.backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32
