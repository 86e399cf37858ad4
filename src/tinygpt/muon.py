"""Muon: the update of a matrix is its momentum, made orthogonal.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The iteration
that orthogonalises is Polar Express (Amsel et al. 2025, arXiv 2505.16932), with the coefficients of
the table's first three steps.

Matrices of one shape are turned as one batch, in float32: torch.optim.Muon takes one at a time, in
bfloat16, which is slow on a CPU that has no instructions for it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonalise"]

_COEFFICIENTS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)
_SAFETY = 1.01  # a norm so much too large keeps rounding from leaving the interval of convergence
_LARGEST_BATCH = 2**25  # numbers in one batch of matrices: 128 MiB


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return roughly the nearest orthogonal matrices: singular values near 1, the same directions.

    Args:
        matrices: (n, rows, columns) float32, rows <= columns.

    Returns:
        (n, rows, columns); zeros stay zeros.
    """
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x = matrices / (_SAFETY * norms + 1e-7)
    gram = torch.bmm(x, x.mT)
    # The iteration depends on the (rows, rows) product alone. Where that is much the smaller one,
    # only it is iterated on, and the factors of the steps are gathered for one product in the end.
    wide = matrices.shape[2] >= 2 * matrices.shape[1]
    gathered: Tensor | None = None
    for n_done, (a, b, c) in enumerate(_COEFFICIENTS, 1):
        last = n_done == len(_COEFFICIENTS)
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        if not wide:
            x = torch.bmm(factor, x)
            gram = gram if last else torch.bmm(x, x.mT)
        else:
            gathered = factor if gathered is None else torch.bmm(factor, gathered)
            gram = gram if last else torch.bmm(factor, torch.bmm(factor, gram))
    return x if gathered is None else torch.bmm(gathered, x)


class Muon:
    """Muon with Nesterov momentum for the matrices of a model's blocks."""

    def __init__(
        self, matrices: Mapping[str, nn.Parameter], *, momentum: float, weight_decay: float
    ) -> None:
        self._matrices = dict(matrices)
        self._momentum, self._weight_decay = momentum, weight_decay
        self._momenta = {name: torch.zeros_like(p) for name, p in matrices.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the matrices from their gradients, at a learning rate."""
        if not self._matrices:
            return
        parameters: list[Tensor] = list(self._matrices.values())
        momenta = list(self._momenta.values())
        gradients = [p.grad for p in parameters if p.grad is not None]
        torch._foreach_lerp_(momenta, gradients, 1 - self._momentum)
        ahead = torch._foreach_lerp(gradients, momenta, self._momentum)
        if self._weight_decay:
            torch._foreach_mul_(parameters, 1 - rate * self._weight_decay)
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for p, change in zip(parameters, ahead, strict=True):
            for own, its in zip(_parts(p), _parts(change), strict=True):
                tall = own.shape[0] > own.shape[1]
                pair = (own.mT, its.mT) if tall else (own, its)
                alike.setdefault(own.shape, []).append(pair)
        for (rows, columns), pairs in alike.items():
            # A tall matrix has more outputs than inputs, and each may move as far as in a square
            # one: Jordan's factor.
            scale = max(1.0, rows / columns) ** 0.5
            at_once = max(1, _LARGEST_BATCH // (rows * columns))
            for begin in range(0, len(pairs), at_once):
                some = pairs[begin : begin + at_once]
                turned = orthogonalise(torch.stack([change for _, change in some]))
                torch._foreach_add_([own for own, _ in some], turned.unbind(), alpha=-rate * scale)

    def state(self) -> dict[str, Tensor]:
        """Return the state by name, e.g. "momentum.transformer.h.0.mlp.c_fc.weight"."""
        return {f"momentum.{name}": tensor for name, tensor in self._momenta.items()}


def _parts(matrix: Tensor) -> tuple[Tensor, ...]:
    """Return the matrices that a parameter is made of: queries, keys and values are three."""
    rows, columns = matrix.shape
    return torch.split(matrix, columns) if rows == 3 * columns else (matrix,)
