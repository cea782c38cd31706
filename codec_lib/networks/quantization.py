"""Ways to treat a quantiser: noise for training, rounding for files, and the gradients in its place."""

import torch
from torch import Tensor


def add_noise(y: Tensor) -> Tensor:
    """`y + u`, u uniform on [-1/2, 1/2): the training stand-in for rounding (Balle et al. 2017, eq. 7)."""
    return y + torch.empty_like(y).uniform_(-0.5, 0.5)


def round_to(y: Tensor, mean: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Quantise the residual to the mean; the one function training, encoder and decoder share.

    Args:
        y: latent, any shape, any real value.
        mean: prediction on the integer grid, broadcastable to `y`.

    Returns:
        `symbol = round(y - mean)` (ties to even) and `y_hat = symbol + mean`, both shaped like `y`.
    """
    symbol = torch.round(y - mean)
    return symbol, symbol + mean


def straight_through(y: Tensor, y_hat: Tensor) -> Tensor:
    """The value of `y_hat` with the gradient of `y` (Theis et al. 2017, eq. 3)."""
    return y + (y_hat - y).detach()


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        # A gradient step moves against `grad`: let it through where x is free, or would rise.
        passes = (x >= ctx.bound) | (grad < 0)
        return grad * passes, None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """`max(x, bound)` whose gradient still reaches an x below the bound if it would raise x."""
    return _LowerBound.apply(x, bound)
