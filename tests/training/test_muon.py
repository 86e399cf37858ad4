"""Muon against its definition: singular values, momentum, and which matrices are cut how."""

import numpy as np
import pytest
import torch

from tinygpt.training import muon
from tinygpt.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 64), (5, 1, 7), (1, 32, 128)])
def test_singular_values_come_near_one_and_the_directions_stay(shape) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(matrices)
    values = torch.linalg.svdvals(found)
    large = torch.linalg.svdvals(matrices) > 0.02 * torch.linalg.matrix_norm(matrices)[:, None]
    assert (values[large] > 0.15).all()  # what three steps reach (paper, figure 1)
    assert (values < 1.9).all()
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    in_its_axes = u.mT @ found @ v.mT
    off_diagonal = in_its_axes - torch.diag_embed(in_its_axes.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 1e-3


def test_zeros_stay_zeros_and_the_scale_does_not_matter() -> None:
    matrices = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(1))
    assert not orthogonalise(torch.zeros(1, 4, 9)).any()
    assert torch.allclose(orthogonalise(matrices), orthogonalise(1e4 * matrices), atol=1e-4)


def polar_express(matrix: np.ndarray) -> np.ndarray:
    """The published iteration, on one whole matrix in float64."""
    x = matrix / (1.01 * np.linalg.norm(matrix) + 1e-7)
    for a, b, c in muon._COEFFICIENTS:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def test_the_short_cut_over_the_product_is_the_published_iteration() -> None:
    matrices = torch.randn(4, 32, 128, generator=torch.Generator().manual_seed(2))
    found = orthogonalise(matrices).double().numpy()
    expected = np.stack([polar_express(matrix.double().numpy()) for matrix in matrices])
    assert np.abs(found - expected).max() < 1e-4


def test_a_step_follows_the_definition(make_gpt, tiny_config) -> None:
    """Nesterov momentum, decay, three matrices in c_attn; two steps, in float64 by hand."""
    model = make_gpt(tiny_config)
    matrices = {n: p for n, p in model.named_parameters() if ".h." in n and p.ndim == 2}
    expected = {n: p.detach().double().numpy().copy() for n, p in matrices.items()}
    momenta = {n: np.zeros_like(w) for n, w in expected.items()}
    optimizer = Muon(matrices, momentum=0.8, weight_decay=0.5)
    generator = torch.Generator().manual_seed(0)
    for rate in (0.1, 0.05):
        for p in matrices.values():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step(rate)
        for name, p in matrices.items():
            g = p.grad.double().numpy()
            momenta[name] = 0.8 * momenta[name] + 0.2 * g
            ahead = 0.2 * g + 0.8 * momenta[name]
            if name.endswith("c_attn.weight"):
                update = np.concatenate([polar_express(part) for part in np.split(ahead, 3)])
            elif name.endswith("c_fc.weight"):
                update = 2 * polar_express(ahead.T).T  # four times as tall as wide
            else:
                update = polar_express(ahead)
            expected[name] = expected[name] * (1 - 0.5 * rate) - rate * update
    for name, p in matrices.items():
        assert np.abs(p.detach().numpy() - expected[name]).max() < 1e-4, name


def test_large_matrices_are_turned_in_parts(monkeypatch) -> None:
    def run() -> torch.Tensor:
        weights = [torch.nn.Parameter(torch.zeros(8, 8)) for _ in range(3)]
        generator = torch.Generator().manual_seed(0)
        for p in weights:
            p.grad = torch.randn(8, 8, generator=generator)
        matrices = {f"h.{i}.attn.c_proj.weight": p for i, p in enumerate(weights)}
        Muon(matrices, momentum=0.9, weight_decay=0.0).step(1.0)
        return torch.stack([p.detach() for p in weights])

    whole = run()
    monkeypatch.setattr(muon, "_LARGEST_BATCH", 64)
    sizes: list[int] = []
    real = muon.orthogonalise
    monkeypatch.setattr(
        muon, "orthogonalise", lambda matrices: sizes.append(len(matrices)) or real(matrices)
    )
    assert torch.allclose(run(), whole, atol=1e-6)
    assert sizes == [1, 1, 1]
