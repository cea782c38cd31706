"""Networks that give the same numbers everywhere: integers held in float64.

A range decoder goes astray if one table index differs, and the sum of floats depends on its order,
which thread counts, memory layouts and devices change. So the networks between z_hat and the tables
are frozen into integers: a value v stands for v / 2^10, a weight w for w / 2^14, and a layer is

    v' = clamp(floor((sum of w v + bias) / 2^14 + 1/2))                 |v| <= 2^26

Every partial sum stays below 2^52, where float64 holds all integers and half integers, so it is exact
in any order. Only matrix products, sums and ReLU are used: no FFT, no Winograd.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from codec_lib.errors import BadData
from codec_lib.networks.densities import LOG2_SCALE_MIN, SCALES, SCALES_PER_OCTAVE, gaussian_bits, log2_scale_of
from codec_lib.networks.layers import MaskedConv2d
from codec_lib.networks.models import FactorizedPrior, Model, ScaleHyperprior

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


def _rescale(total: Tensor) -> Tensor:
    """A sum brought back to the grid, in place."""
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
        _check(self.weight.abs().sum(1), self.bias)

    def total(self, v: Tensor) -> Tensor:
        """The sum before it is brought back to the grid."""
        return nn.functional.linear(v, self.weight, self.bias)

    def __call__(self, v: Tensor) -> Tensor:
        return _rescale(self.total(v))


_AT_ONCE = 4096
"""Positions whose neighbourhoods are gathered for one matrix product: it bounds the memory, to some 100 MiB."""


class Convolution:
    """A convolution of stride 1 that keeps the size: (h, w, i) -> (h, w, o)."""

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
            out[top : top + n] = self.taps(torch.cat(around, 2))
        return out


class Upsampling:
    """A 5x5 transposed convolution of stride 2: (h, w, i) -> (2 h, 2 w, o)."""

    def __init__(self, layer: nn.ConvTranspose2d):
        weight = _integers(layer.weight, WEIGHT_BITS)  # (i, o, 5, 5)
        self.weight = weight.permute(2, 3, 1, 0).reshape(-1, layer.in_channels)  # (5 5 o, i)
        self.bias = _integers(layer.bias, WEIGHT_BITS + VALUE_BITS)
        _check(weight.abs().sum((0, 2, 3)), self.bias)

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
        return _rescale(total[2 : 2 + 2 * h, 2 : 2 + 2 * w])


def _integers(weights: Tensor, bits: int) -> Tensor:
    return torch.round(weights.detach().cpu().double() * 2**bits)


def _check(magnitude: Tensor, bias: Tensor) -> None:
    if not (magnitude * LIMIT + bias.abs() < _LARGEST_SUM).all():  # not a number, either
        raise BadData("The weights are too large for exact integer networks.")


def _relu(v: Tensor) -> Tensor:
    return v.clamp_(min=0)


def _freeze_layer(layer: nn.Module) -> Layer:
    if isinstance(layer, nn.ReLU):
        return _relu
    return Upsampling(layer) if isinstance(layer, nn.ConvTranspose2d) else Convolution(layer)


class ChannelPrior:
    """The factorized prior as a predictor: mean 0, and a table for each channel."""

    def __init__(self, model: FactorizedPrior):
        self.density = model.density_y

    def side_information(self, z: Tensor | None, h: int, w: int) -> Tensor:
        """There is none: (h w, 0)."""
        return torch.zeros(h * w, 0, dtype=torch.float64)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, on the grid, and table of each symbol at n positions, float64 and int64 (n, M)."""
        index = torch.arange(self.density.channels).expand(len(psi), -1)
        return torch.zeros(index.shape, dtype=torch.float64), index

    def bits(self, symbols: Tensor, index: Tensor) -> float:
        """Ideal code length by the density itself, of symbols (n, M)."""
        symbols = symbols.T.float().to(self.density.H[0].device)
        return float(-self.density.log_prob(symbols).double().sum() / math.log(2))


class GaussianPrior:
    """The part of a conditional model that must be repeated exactly: h_s, context, entropy parameters.

    Args:
        model: a conditional model, its weights as they are stored.

    Raises:
        BadData: its weights are too large.
    """

    def __init__(self, model: Model):
        self.M = model.size.M
        self.h_s = [_freeze_layer(layer) for layer in model.h_s]
        self.zero_mean = isinstance(model, ScaleHyperprior)
        if self.zero_mean:
            return
        context: MaskedConv2d = model.context
        self.context = Affine(context.matrix(), context.bias)
        first, *rest = [layer for layer in model.entropy_parameters if isinstance(layer, nn.Conv2d)]
        weight = first.weight.flatten(1)
        P = weight.shape[1] - context.out_channels
        # The first layer sees psi and context side by side: its share of psi is summed once for all positions.
        self.of_psi = Affine(weight[:, :P], first.bias)
        self.of_context = Affine(weight[:, P:], torch.zeros_like(first.bias))
        _check(self.of_psi.weight.abs().sum(1) + self.of_context.weight.abs().sum(1), self.of_psi.bias)
        self.rest = [Affine(layer.weight.flatten(1), layer.bias) for layer in rest]

    def side_information(self, z: Tensor, h: int, w: int) -> Tensor:
        """What z tells of each position.

        Args:
            z: symbols (N, ceil(h / 4), ceil(w / 4)), integers of any type.

        Returns:
            (h w, P), float64: the argument `psi` of `predict`.
        """
        v = to_grid(z.permute(1, 2, 0))
        for layer in self.h_s:
            v = layer(v)
        v = v[:h, :w].flatten(0, 1)
        return v if self.zero_mean else self.of_psi.total(v)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and table of each symbol at single positions.

        Args:
            psi: rows of `side_information`, (n, P).
            around: y_hat of the neighbours, (n, taps, M), on the grid.

        Returns:
            The mean, on the grid, (n, M); the index of the table, int64 (n, M).
        """
        if self.zero_mean:
            return torch.zeros_like(psi), _table(psi)
        n = len(psi)
        if n % 4:  # matrix products of 4, 8, 12 .. rows are faster than of a row less
            psi, around = (nn.functional.pad(t, (*[0] * (2 * t.dim() - 1), -n % 4)) for t in (psi, around))
        context = self.context(around.flatten(1))
        v = _relu(_rescale(self.of_context.total(context).add_(psi)))
        for layer in self.rest[:-1]:
            v = _relu(layer(v))
        v = self.rest[-1](v)
        return v[:n, : self.M], _table(v[:n, self.M :])

    def bits(self, symbols: Tensor, index: Tensor) -> float:
        """Ideal code length by the Gaussians of the tables and their escapes, of symbols (n, M)."""
        return float(gaussian_bits(symbols, log2_scale_of(index.double())).sum())


def freeze(model: Model) -> ChannelPrior | GaussianPrior:
    """The exact prior of y of a model whose weights are as they are stored."""
    return ChannelPrior(model) if isinstance(model, FactorizedPrior) else GaussianPrior(model)


def _table(log2_scale: Tensor) -> Tensor:
    """The table nearest to a scale, given as its log2 on the grid."""
    step = 2.0**VALUE_BITS / SCALES_PER_OCTAVE
    index = (log2_scale / step).add_(0.5 - LOG2_SCALE_MIN * SCALES_PER_OCTAVE)
    return index.floor_().clamp_(0, SCALES - 1).long()
