"""Layers that torch does not have."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.networks.quantization import lower_bound


class Learning(NamedTuple):
    """How a parameter learns: a module tells it in `learning() -> dict[nn.Parameter, Learning]` of those that differ.

    `rate` multiplies the learning rate. `kernel`: with two or more axes, it is a matrix of input to output, whose
    updates Muon makes orthogonal.
    """

    rate: float = 1.0
    kernel: bool = True


_BETA_MIN = 1e-6
_PEDESTAL = 2.0**-36  # keeps the square root's slope finite at zero


class GDN(nn.Module):
    """Generalised divisive normalisation (Balle et al. 2016, eq. 1; simplified as in 2017, eq. 1).

        y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)        (inverse: times instead of divided)

    `beta` (C) and `gamma` (C, C) are kept as square roots, so that they stay non-negative and
    small values move slowly: C + C^2 parameters.

    Args:
        channels: C.
        inverse: multiply instead of divide (the decoder's IGDN).
    """

    def __init__(self, channels: int, inverse: bool = False):
        super().__init__()
        self.inverse = inverse
        self.beta_bound = (_BETA_MIN + _PEDESTAL) ** 0.5
        self.beta = nn.Parameter(torch.full((channels,), (1 + _PEDESTAL) ** 0.5))
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + _PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        beta = lower_bound(self.beta, self.beta_bound) ** 2 - _PEDESTAL
        gamma = lower_bound(self.gamma, _PEDESTAL**0.5) ** 2 - _PEDESTAL
        norm = F.conv2d(x * x, gamma[:, :, None, None], beta)
        return x * torch.sqrt(norm) if self.inverse else x * torch.rsqrt(norm)

    def learning(self) -> dict[nn.Parameter, Learning]:
        """No kernels: most of gamma begins at zero, with a gradient far smaller than that of the diagonal.

        Made orthogonal as a whole, an update leaves it there, and each channel would be normalised by itself alone.
        """
        return dict.fromkeys((self.beta, self.gamma), Learning(3.0, kernel=False))


def per_channel(values: float | Tensor, dimensions: int = 3) -> float | Tensor:
    """A number as it is, values (C) as (C, 1, ..), of so many dimensions."""
    return values.view(-1, *[1] * (dimensions - 1)) if torch.is_tensor(values) and values.dim() else values


def compress(x: Tensor) -> Tensor:
    """`x / sqrt(1 + |x|)`: linear near 0, a signed square root far out. Any shape.

    Brings channels whose amplitudes span three decades to one range (asinh does so as well, at
    four times the cost on a CPU).
    """
    return _Compress.apply(x)


class _Compress(torch.autograd.Function):
    """`compress` in few passes over memory, which on a CPU is what its gradient costs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        r = x.abs().add_(1).rsqrt_()
        ctx.save_for_backward(r)
        return x * r

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        return (r * r).add_(1).mul_(r).mul_(grad).mul_(0.5)  # (1 + |x| / 2) (1 + |x|)^(-3/2) = r (1 + r^2) / 2


class ResidualBlock(nn.Module):
    """A residual block that can also scale its input: identity at first.

        h = relu(conv1(compress(x * inv_scale)) + shift)
        out = x * (1 + gate(h)) + conv2(h)

    The gate, a 1x1 convolution, is what lets few layers learn divisive normalisation as GDN has it.
    x is float32; the convolutions run in whatever autocast chooses. `inv_scale` is not learned. The shift
    belongs to a rate, where one network serves several (`networks.gains`); a network of one rate has none.

    Args:
        channels: C. hidden: channels of h, C by default.
    """

    def __init__(self, channels: int, hidden: int | None = None):
        super().__init__()
        hidden = hidden or channels
        self.register_buffer("inv_scale", torch.ones(()))
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=1)
        self.gate = nn.Conv2d(hidden, channels, 1)
        for layer in (self.conv2, self.gate):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and, if there is one, the shift (B, hidden) -> (B, C, H, W), float32."""
        h = self.conv1(compress(x * self.inv_scale))
        h = F.relu(h if shift is None else h + shift[:, :, None, None].to(h.dtype))
        return x * (1 + self.gate(h).float()) + self.conv2(h).float()

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Become the block that does to gain * x what this one does to x, times gain; a number, or (C)."""
        self.inv_scale = self.inv_scale / per_channel(gain)
        self.conv2.weight.mul_(per_channel(gain, 4))
        self.conv2.bias.mul_(gain)


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees only part of its window (van den Oord et al. 2016), for contexts.

    The hidden weights exist, as in the papers' counts, but have no effect.

    Args:
        i, o: channels.
        mask: bool (k, k), k odd, which neighbours are seen.
    """

    def __init__(self, i: int, o: int, mask: Tensor):
        super().__init__(i, o, mask.shape, padding=mask.shape[0] // 2)
        self.register_buffer("mask", mask, persistent=False)
        self.taps = int(mask.sum())

    def forward(self, x: Tensor) -> Tensor:
        """(B, i, H, W) -> (B, o, H, W)."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

    def matrix(self) -> Tensor:
        """The weights seen, as a matrix on the flattened neighbours (taps, i): (o, taps i)."""
        return self.weight[:, :, self.mask].transpose(1, 2).flatten(1)

    def at(self, around: Tensor) -> Tensor:
        """The same at single positions: their neighbours (B, n, taps, i), or none (B, n, 0, i) -> (B, n, o)."""
        around = around.flatten(2)
        return F.linear(around, self.matrix()[:, : around.shape[2]], self.bias)
