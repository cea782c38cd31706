"""Networks that give the same numbers everywhere: integers held in float64.

A range decoder goes astray if one table index differs, and the sum of floats depends on its order,
which thread counts, memory layouts and devices change. So the networks between z_hat and the tables
are frozen into integers: a value v stands for v / 2^10, a weight w for w / 2^14, and a layer is

    v' = clamp(floor((sum of w v + bias) / 2^14 + 1/2))                 |v| <= 2^26

Every partial sum stays below 2^52, where float64 holds all integers and half integers, so it is exact
in any order. Only matrix products, sums and ReLU are used: no FFT, no Winograd.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from codec_lib.errors import BadData

VALUE_BITS, WEIGHT_BITS, LIMIT = 10, 14, 2.0**26
_LARGEST_SUM = 2.0**52

Layer = Callable[..., Tensor]


def to_grid(integers: Tensor) -> Tensor:
    """Integers of any type -> values of the grid, float64; beyond +-2^16 they are clamped."""
    return (integers.double() * 2**VALUE_BITS).clamp_(-LIMIT, LIMIT)


def from_grid(v: Tensor) -> Tensor:
    """What values of the grid stand for, float64, exactly."""
    return v * 2.0**-VALUE_BITS


def plus(v: Tensor, integers: Tensor) -> Tensor:
    """A value of the grid and an integer below 2^31, added; clamped like all values."""
    return (v + integers * 2**VALUE_BITS).clamp_(-LIMIT, LIMIT)


class Affine:
    """`W v + b` on the last dimension: (..., i) -> (..., o), and a ReLU after it if wanted.

    Args:
        weight: (o, i). bias: (o).
        widths: sizes of the parts that the input comes in, one after the other; by default it comes in one.
        rectified: whether values below zero become zero.

    Raises:
        BadData: weights so large that a sum could be inexact.
    """

    def __init__(self, weight: Tensor, bias: Tensor, widths: Sequence[int] | None = None, rectified: bool = False):
        weight, self.bias = _scaled(weight, bias)
        self.weights = [part.contiguous() for part in weight.split(widths or weight.shape[1], 1)]
        self.low = 0.0 if rectified else -LIMIT

    def __call__(self, *parts: Tensor) -> Tensor:
        """A value of the grid for the parts of one; those after the first have two dimensions.

        A part may have no columns instead of its own: it is zero.
        """
        (v, *others), (weight, *more) = parts, self.weights
        total = nn.functional.linear(v, weight if v.shape[-1] else weight[:, :0], self.bias)
        for v, weight in zip(others, more, strict=True):
            if v.shape[1]:
                total.addmm_(v, weight.T)
        return total.floor_().clamp_(self.low, LIMIT)  # the 1/2 is in the bias


_AT_ONCE = 1024
"""Positions whose neighbourhoods go through a matrix product at once: few enough for the processor's cache."""


def in_pieces(network: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    """`network(*inputs)` for a network that treats each row by itself, a few rows at a time."""
    pieces = [network(*rows) for rows in zip(*(v.split(_AT_ONCE) for v in inputs), strict=True)]
    return tuple(torch.cat(outputs) for outputs in zip(*pieces, strict=True))


class Convolution:
    """A convolution of stride 1 that keeps the size: (h, w, i) -> (h, w, o), of the same type."""

    def __init__(self, layer: nn.Conv2d, rectified: bool = False):
        self.k = layer.kernel_size[0]
        weight = layer.weight.permute(0, 2, 3, 1).flatten(1)  # (o, k k i)
        self.taps = Affine(weight, layer.bias, rectified=rectified)

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

    def __init__(self, layer: nn.ConvTranspose2d, rectified: bool = False):
        weight, self.bias = _scaled(layer.weight.transpose(0, 1).flatten(1), layer.bias)  # (o, i 5 5)
        self.weight = weight.unflatten(1, (-1, 25)).permute(2, 0, 1).flatten(0, 1)  # (5 5 o, i)
        self.low = 0.0 if rectified else -LIMIT

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
        return total[2 : 2 + 2 * h, 2 : 2 + 2 * w].floor_().clamp_(self.low, LIMIT)


def _scaled(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (o, i) and bias (o) as integers divided by 2^14, and 1/2 added to the bias.

    The sum is then the value but for its fraction. Powers of two change no bit of a float.

    Raises:
        BadData: weights so large that a sum could be inexact.
    """
    weight = torch.round(weight.detach().cpu().double() * 2**WEIGHT_BITS)
    bias = torch.round(bias.detach().cpu().double() * 2 ** (WEIGHT_BITS + VALUE_BITS))
    if not (weight.abs().sum(1) * LIMIT + bias.abs() < _LARGEST_SUM).all():  # not a number, either
        raise BadData("The weights are too large for exact integer networks.")
    return weight * 2.0**-WEIGHT_BITS, bias * 2.0**-WEIGHT_BITS + 0.5


def integer_layers(network: nn.Sequential, widths: Sequence[int] | None = None) -> list[Layer]:
    """Convolutions of stride 1, 5x5 transposed ones of stride 2, and ReLUs after them, in integers.

    A 1x1 convolution becomes an `Affine`; the first layer, if it is one, may have its input in parts of some `widths`.
    """
    layers: list[Layer] = []
    for layer, following in pairwise([*network, None]):
        rectified = isinstance(following, nn.ReLU)
        if isinstance(layer, nn.ConvTranspose2d):
            layers.append(Upsampling(layer, rectified))
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            layers.append(Affine(layer.weight.flatten(1), layer.bias, None if layers else widths, rectified))
        elif isinstance(layer, nn.Conv2d):
            layers.append(Convolution(layer, rectified))
        elif not isinstance(layer, nn.ReLU):
            raise TypeError(f"{type(layer).__name__} has no form in integers")
    return layers
