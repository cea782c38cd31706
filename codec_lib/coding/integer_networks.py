"""Networks that give the same numbers everywhere: integers held in float64.

A range decoder goes astray if one table index differs, and the sum of floats depends on its order,
which thread counts, memory layouts and devices change. So the networks between z_hat and the tables
are frozen into integers: a value v stands for v / 2^10, a weight w for w / 2^14, and a layer is

    v' = clamp(floor((sum of w v + bias) / 2^14 + 1/2))                 |v| <= 2^26

Every partial sum stays below 2^52, where float64 holds all integers and half integers, so it is exact
in any order. Only matrix products, sums and ReLU are used: no FFT, no Winograd.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from codec_lib.errors import BadData

VALUE_BITS, WEIGHT_BITS, LIMIT = 10, 14, 2.0**26
_LARGEST_SUM = 2.0**52

Layer = Callable[[Tensor], Tensor]


def to_grid(integers: Tensor) -> Tensor:
    """Integers of any type -> values of the grid, float64; beyond +-2^16 they are clamped."""
    return (integers.double() * 2**VALUE_BITS).clamp_(-LIMIT, LIMIT)


def from_grid(v: Tensor) -> Tensor:
    """What values of the grid stand for, float64, exactly."""
    return v * 2.0**-VALUE_BITS


def plus(v: Tensor, integers: Tensor) -> Tensor:
    """A value of the grid and an integer below 2^31, added; clamped like all values."""
    return (v + integers * 2**VALUE_BITS).clamp_(-LIMIT, LIMIT)


def to_value(total: Tensor) -> Tensor:
    """A sum of products brought back to the grid, in place."""
    return total.mul_(2.0**-WEIGHT_BITS).add_(0.5).floor_().clamp_(-LIMIT, LIMIT)


class Affine:
    """`W v + b` on the last dimension: (..., i) -> (..., o).

    Args:
        weight: (o, i). bias: (o).

    Raises:
        BadData: weights so large that a sum could be inexact.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight = _integers(weight, WEIGHT_BITS).contiguous()
        self.bias = _integers(bias, WEIGHT_BITS + VALUE_BITS)
        check_sums(self.weight.abs().sum(1), self.bias)

    def total(self, v: Tensor) -> Tensor:
        """The sum before it is brought back to the grid."""
        return nn.functional.linear(v, self.weight, self.bias)

    def __call__(self, v: Tensor) -> Tensor:
        return to_value(self.total(v))

    def of_zeros(self, n: int) -> Tensor:
        """The same of n rows of zeros, without a product."""
        return to_value(self.bias.clone()).expand(n, -1)


_AT_ONCE = 256
"""Positions whose neighbourhoods go through a matrix product at once: few enough for the processor's cache."""


def in_pieces(network: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    """`network(*inputs)` for a network that treats each row by itself, a few rows at a time."""
    pieces = [network(*rows) for rows in zip(*(v.split(_AT_ONCE) for v in inputs), strict=True)]
    return tuple(torch.cat(outputs) for outputs in zip(*pieces, strict=True))


class Convolution:
    """A convolution of stride 1 that keeps the size: (h, w, i) -> (h, w, o), of the same type."""

    def __init__(self, layer: nn.Conv2d):
        self.k = layer.kernel_size[0]
        weight = layer.weight.permute(0, 2, 3, 1).flatten(1)  # (o, k k i)
        self.taps = Affine(weight, layer.bias)

    def __call__(self, v: Tensor) -> Tensor:
        h, w, _ = v.shape
        k, rows = self.k, max(1, _AT_ONCE // w)
        v = nn.functional.pad(v, (0, 0, k // 2, k // 2, k // 2, k // 2))
        out = v.new_empty(h, w, len(self.taps.bias))
        for top in range(0, h, rows):
            n = min(rows, h - top)
            around = [v[top + dy : top + dy + n, dx : dx + w] for dy in range(k) for dx in range(k)]
            out[top : top + n] = self.taps(torch.cat(around, 2).double())
        return out


class Upsampling:
    """A 5x5 transposed convolution of stride 2: (h, w, i) -> (2 h, 2 w, o)."""

    def __init__(self, layer: nn.ConvTranspose2d):
        weight = _integers(layer.weight, WEIGHT_BITS)  # (i, o, 5, 5)
        self.weight = weight.permute(2, 3, 1, 0).reshape(-1, layer.in_channels)  # (5 5 o, i)
        self.bias = _integers(layer.bias, WEIGHT_BITS + VALUE_BITS)
        check_sums(weight.abs().sum((0, 2, 3)), self.bias)

    def __call__(self, v: Tensor) -> Tensor:
        h, w, _ = v.shape
        rows = max(1, _AT_ONCE // (4 * w))
        total = self.bias.expand(2 * h + 3, 2 * w + 3, -1).clone()
        for top in range(0, h, rows):
            strip = v[top : top + rows]
            taps = nn.functional.linear(strip, self.weight).unflatten(2, (5, 5, -1))  # (n, w, 5, 5, o)
            for dy in range(5):
                for dx in range(5):
                    below = slice(2 * top + dy, 2 * (top + len(strip)) + dy, 2)
                    total[below, dx : dx + 2 * w : 2] += taps[:, :, dy, dx]
        return to_value(total[2 : 2 + 2 * h, 2 : 2 + 2 * w])


def _integers(weights: Tensor, bits: int) -> Tensor:
    return torch.round(weights.detach().cpu().double() * 2**bits)


def check_sums(magnitude: Tensor, bias: Tensor) -> None:
    """Refuse weights, given by the sum of their magnitudes for each output, that could make a sum inexact.

    Raises:
        BadData: they could.
    """
    if not (magnitude * LIMIT + bias.abs() < _LARGEST_SUM).all():  # not a number, either
        raise BadData("The weights are too large for exact integer networks.")


def relu(v: Tensor) -> Tensor:
    """Of values of the grid."""
    return v.clamp_(min=0)


def integer_layer(layer: nn.Module) -> Layer:
    """A ReLU, a convolution of stride 1 or a 5x5 transposed one of stride 2, in integers."""
    if isinstance(layer, nn.ReLU):
        return relu
    return Upsampling(layer) if isinstance(layer, nn.ConvTranspose2d) else Convolution(layer)
