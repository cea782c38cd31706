"""Starts that follow from statistics: principal components, and channels passed on through layers."""

import torch
from torch import Tensor, nn

_RIDGE = 1e-3


def principal_components(patches: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """The KLT of vectors: (n, d) -> mean (d), basis (keep, d) by falling variance, std (keep).

    Where `keep` exceeds d the extra rows and deviations are zero.
    """
    patches = patches.double()
    mean = patches.mean(0)
    centred = patches - mean
    variance, vectors = torch.linalg.eigh(centred.T @ centred / len(patches))
    order = variance.argsort(descending=True)[:keep]
    basis = torch.zeros(keep, patches.shape[1], dtype=torch.float64)
    deviation = torch.zeros(keep, dtype=torch.float64)
    basis[: len(order)] = vectors[:, order].T
    deviation[: len(order)] = variance[order].clamp(min=0).sqrt()
    return mean, basis, deviation


def regression(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (w, c) and bias (w), float32, that make vectors `wanted` (n, w) of `given` (n, c) by least squares.

    A thousandth of the given values' mean variance is added to each, so that what hardly varies is not relied on.
    """
    at, goal = given.double().mean(0), wanted.double().mean(0)
    centred = given - at
    gram = centred.T @ centred
    gram += _RIDGE * gram.diagonal().mean().clamp(min=1) * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (wanted - goal)).T
    return weight.float(), (goal - weight @ at).float()


def vectors(x: Tensor) -> Tensor:
    """(n, c, H, W) -> (n H W, c)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def pass_on(layer: nn.Module, K: int, kernel: Tensor) -> None:
    """Let each of the first K channels be the kernel's average of itself, and of no other."""
    axes = (1, 0) if isinstance(layer, nn.ConvTranspose2d) else (0, 1)
    weight = layer.weight.permute(*axes, 2, 3)  # (o, i, k, k), a view
    weight[:K] = 0.0
    weight[range(K), range(K)] = kernel
    layer.bias[:K] = 0.0
