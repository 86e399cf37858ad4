"""Muon: the update of a matrix is its momentum, made orthogonal.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". The iteration
that orthogonalises is Polar Express (Amsel et al. 2025, arXiv 2505.16932), with the coefficients of
the table's first three steps.

Matrices of one shape are turned as one batch, in float32: torch.optim.Muon takes one at a time, in
bfloat16, which is slow on a CPU that has no instructions for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Matrices", "Muon", "orthogonalise", "update"]

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
        matrices: (n, rows, columns) float32.

    Returns:
        (n, rows, columns); zeros stay zeros.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalise(matrices.mT).mT
    gram = torch.bmm(matrices, matrices.mT)
    norms = gram.diagonal(dim1=1, dim2=2).sum(dim=1).sqrt_()[:, None, None]  # of each matrix
    scale = 1 / (_SAFETY * norms + 1e-7)
    gram.mul_(scale).mul_(scale)
    # The iteration depends on the (rows, rows) product alone. Where that is much the smaller one,
    # only it is iterated on, and the factors of the steps are gathered for one product in the end.
    wide = matrices.shape[2] >= 2 * matrices.shape[1]
    x, gathered = matrices, None
    for n_done, (a, b, c) in enumerate(_COEFFICIENTS, 1):
        last = n_done == len(_COEFFICIENTS)
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        if wide:
            gram = gram if last else torch.bmm(factor, torch.bmm(factor, gram))
        if n_done == 1:
            factor.mul_(scale)  # of the matrices themselves, which are the larger ones
        if wide:
            gathered = factor if gathered is None else torch.bmm(factor, gathered)
        else:
            x = torch.bmm(factor, x)
            gram = gram if last else torch.bmm(x, x.mT)
    return x if gathered is None else torch.bmm(gathered, x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrices:
    """Matrices of one shape that are due for an update, which changes them in place."""

    weights: Sequence[Tensor]
    """n tensors of (rows, columns), contiguous float32."""
    gradients: Sequence[Tensor]
    """n tensors of (rows, columns)."""
    momenta: Tensor
    """(n, rows, columns)."""
    momentum: float
    """Nesterov's."""
    keep: float
    """What weight decay leaves of the weights."""
    rate: float
    """Learning rate."""


@torch.no_grad()
def update(due: Matrices) -> None:
    """Update weights and momenta, in torch."""
    ahead = torch.stack(list(due.gradients))
    due.momenta.lerp_(ahead, 1 - due.momentum)
    ahead.lerp_(due.momenta, due.momentum)
    weights = list(due.weights)
    if due.keep != 1:
        torch._foreach_mul_(weights, due.keep)
    at_once = max(1, _LARGEST_BATCH // weights[0].numel())
    for begin in range(0, len(weights), at_once):
        turned = orthogonalise(ahead[begin : begin + at_once])
        torch._foreach_add_(weights[begin : begin + at_once], turned.unbind(), alpha=-due.rate)


class Muon:
    """Muon with Nesterov momentum for the matrices of a model's blocks.

    Matrices of one shape have their momentum in one tensor, so that few operations do it all.

    Args:
        matrices: the parameters by name.
        momentum, weight_decay: as in OptimConfig.
        update: what updates those of one shape.
    """

    def __init__(
        self,
        matrices: Mapping[str, nn.Parameter],
        *,
        momentum: float,
        weight_decay: float,
        update: Callable[[Matrices], None] = update,
    ) -> None:
        self._momentum, self._weight_decay, self._update = momentum, weight_decay, update
        alike: dict[tuple[int, int], dict[str, nn.Parameter]] = {}
        for name, p in matrices.items():
            alike.setdefault(_shape(p), {})[name] = p
        self._groups: list[tuple[list[Tensor], Tensor]] = []
        self._momenta: dict[str, Tensor] = {}
        for shape, some in alike.items():
            momenta = torch.zeros_like(
                torch.cat([p.detach().view(-1, *shape) for p in some.values()])
            )
            self._groups.append((list(some.values()), momenta))
            begin = 0
            for name, p in some.items():
                end = begin + len(p) // shape[0]
                self._momenta[name] = momenta[begin:end].view(p.shape)
                begin = end

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the matrices from their gradients, at a learning rate."""
        for parameters, momenta in self._groups:
            shape = rows, columns = momenta.shape[1:]
            # A tall matrix has more outputs than inputs, and each may move as far as in a square
            # one: Jordan's factor.
            scale = max(1.0, rows / columns) ** 0.5
            gradients = [p.grad for p in parameters if p.grad is not None]
            due = Matrices(
                weights=_parts(parameters, shape),
                gradients=_parts(gradients, shape),
                momenta=momenta,
                momentum=self._momentum,
                keep=1 - rate * self._weight_decay,
                rate=rate * scale,
            )
            self._update(due)

    def state(self) -> dict[str, Tensor]:
        """Return the state by name, e.g. "momentum.transformer.h.0.mlp.c_fc.weight"."""
        return {f"momentum.{name}": tensor for name, tensor in self._momenta.items()}


def _parts(tensors: Sequence[Tensor], shape: torch.Size) -> list[Tensor]:
    return [part for tensor in tensors for part in tensor.view(-1, *shape).unbind()]


def _shape(matrix: Tensor) -> tuple[int, int]:
    """Return the shape of what a parameter is made of: queries, keys and values are three."""
    rows, columns = matrix.shape
    return (columns, columns) if rows == 3 * columns else (rows, columns)
