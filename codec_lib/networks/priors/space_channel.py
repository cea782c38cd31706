"""The space-channel prior: slices of channels, each in two passes (Minnen and Singh 2020; He et al. 2022, ELIC).

    slice 1:  anchors, the others     psi, anchors around
    slice 2:  anchors, the others     psi, anchors around, 3x3 of slice 1
    slice 3:  anchors, the others     psi, anchors around, 3x3 of slices 1 and 2     ...

The slices grow, for the first channels of y hold most of its energy: ten groups, whatever the size of the picture.
Minnen and Singh's latent residual prediction is left out: with transforms that were trained on rounded latents it came
nearer to y, and yet lost 0.2 to 0.3 dB in the picture.
"""

import itertools
from dataclasses import replace

import torch
from torch import Tensor, nn

from codec_lib.coding import order
from codec_lib.coding.integer_networks import Affine, in_pieces, integer_layers
from codec_lib.coding.order import CHECKERBOARD
from codec_lib.networks.layers import MaskedConv2d, per_channel
from codec_lib.networks.models import Preset
from codec_lib.networks.priors.base import Prior, Visit
from codec_lib.networks.priors.conditional import Conditional, ExactConditional, table_of
from codec_lib.networks.priors.context import continue_side_information, end_in_scales
from codec_lib.networks.priors.hyperprior import ScaleHyperprior
from codec_lib.networks.transforms.hyper import hyper_analysis, hyper_synthesis

SHARES = (1 / 20, 1 / 10, 1 / 5, 2 / 5, 1)
"""Where slices end, as shares of M: 16, 16, 32, 64 and 192 channels of 320."""


QUIET = 0.25
"""The least deviation that a channel counts with; below it, it is nearly always zero."""


class Slice(nn.Module):
    """Mean and scale of some channels from psi, earlier slices and the slice's own anchors.

    Contexts see each value in units of its channel's deviation, so that quiet channels are heard, and its size besides:
    what is loud in one channel is loud in others, whatever its sign.

    Args:
        before: channels of earlier slices. channels: its own. P: channels of psi. seen: of each context.
    """

    def __init__(self, before: int, channels: int, P: int, seen: int):
        super().__init__()
        self.channels = slice(before, before + channels)
        self.register_buffer("inv_std", torch.ones(before + channels))  # of the channels up to its own; not learned
        self.earlier = nn.Conv2d(2 * before, seen, 3, padding=1) if before else None
        self.anchors = MaskedConv2d(2 * channels, seen, torch.tensor(CHECKERBOARD.mask))
        inputs = P + seen * (2 if before else 1)
        self.entropy_parameters = nn.Sequential(
            nn.Conv2d(inputs, P, 1), nn.ReLU(), nn.Conv2d(P, P, 1), nn.ReLU(), nn.Conv2d(P, 2 * channels, 1)
        )
        self.stored_as = {"entropy_parameters": torch.float16}

    @property
    def layers(self) -> list[nn.Conv2d]:
        """Those of the entropy parameters; the last gives means, then log2 of the scales."""
        return [layer for layer in self.entropy_parameters if isinstance(layer, nn.Conv2d)]

    def context(self, earlier: Tensor) -> Tensor:
        """What earlier slices (B, before, h, w) tell: (B, seen or 0, h, w)."""
        if self.earlier is None:
            return earlier
        return self.earlier(_with_size(earlier * per_channel(self.inv_std[: self.channels.start]), 1))

    def forward(self, psi: Tensor, earlier: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log2 of the scale, (B, channels, h, w), when the anchors `own` are known everywhere."""
        own = _with_size(own * per_channel(self.inv_std[self.channels]), 1)
        seen = torch.cat([psi, self.anchors(own), self.context(earlier)], 1)
        return self.entropy_parameters(seen).chunk(2, 1)

    def at(self, psi: Tensor, context: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """The same at single positions: psi (B, n, P), context (B, n, seen), around (B, n, taps, channels)."""
        own = _with_size(around * self.inv_std[self.channels], 3)
        seen = torch.cat([psi, self.anchors.at(own), context], 2).transpose(1, 2)[..., None]
        return self.entropy_parameters(seen)[..., 0].transpose(1, 2).chunk(2, 2)


def _with_size(values: Tensor, axis: int) -> Tensor:
    """Values and, after them on the axis of channels, what they are without their signs."""
    return torch.cat([values, values.abs()], axis)


class SpaceChannel(Conditional):
    """What is known grows along channels and positions."""

    name = "space-channel"
    order = replace(CHECKERBOARD, many=True)  # in each slice

    def __init__(self, size: Preset):
        super().__init__(size)
        N, M = size.N, size.M
        self.h_a = hyper_analysis(2 * M, N)
        self.h_s = hyper_synthesis(N, (N, N), 2 * N)
        ends = sorted({max(1, round(M * share)) for share in SHARES})
        starts = [0, *ends[:-1]]
        self.slices = nn.ModuleList([Slice(a, b - a, 2 * N, N) for a, b in zip(starts, ends, strict=True)])

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        shown = self.order.shown(*y_noisy.shape[2:]).to(y_noisy.device)
        predicted = [
            part(psi, y_noisy[:, : part.channels.start], y_noisy[:, part.channels] * shown) for part in self.slices
        ]
        means, scales = zip(*predicted, strict=True)
        return torch.cat(means, 1), torch.cat(scales, 1)

    def walk(self, psi: Tensor, like: Tensor, visit: Visit) -> Tensor:
        y_hat = like[:, :0]
        for part in self.slices:
            context = part.context(y_hat).flatten(2).transpose(1, 2)
            own = order.walk(
                self.order, like[:, part.channels],
                lambda at, around, part=part, context=context: part.at(psi[:, at], context[:, at], around),
                lambda at, *prediction, part=part: visit((at, part.channels), *prediction),
            )  # fmt: skip
            y_hat = torch.cat([y_hat, own], 1)
        return y_hat

    def times(self, h: int, w: int) -> Tensor:
        within = self.order.times(h, w)
        passes = within.max() + 1
        channels = [part.channels.stop - part.channels.start for part in self.slices]
        return torch.cat([(passes * k + within).expand(n, h, w) for k, n in enumerate(channels)])

    def exact(self) -> "ExactSpaceChannel":
        return ExactSpaceChannel(self)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor, spread: Tensor | None = None) -> None:
        self.inv_scale = self.inv_scale / per_channel(gain)
        gain = torch.as_tensor(gain).expand(self.size.M)
        spread = gain.log2() if spread is None else spread
        for part in self.slices:
            c, last = part.channels, part.layers[-1]
            n = c.stop - c.start
            part.inv_std.div_(gain[: c.stop])
            last.weight[:n].mul_(gain[c, None, None, None])
            last.bias[:n].mul_(gain[c])
            last.bias[n:].add_(spread[c])

    @torch.no_grad()
    def start(self, y: Tensor) -> None:
        """Begin where a fresh hyperprior does."""
        hyperprior = ScaleHyperprior(self.size)
        hyperprior.start(y)
        self.continue_from(hyperprior, 1.0, y)

    @torch.no_grad()
    def continue_from(self, source: Prior, gain: float, y: Tensor) -> bool:
        """Begin with the scales of a compact hyperprior; the means begin at zero, and learn."""
        if (scales := continue_side_information(self, source, gain, y)) is None:
            return False
        weight, bias = scales
        deviation = y.std((0, 2, 3)).clamp(min=QUIET)
        for part in self.slices:
            part.inv_std.copy_(1 / deviation[: part.channels.stop])
            end_in_scales(part.layers, weight[part.channels], bias[part.channels])
        return True

    @torch.no_grad()
    def fix_scales(self, log2_scale: Tensor) -> None:
        for part in self.slices:
            part.layers[-1].weight.mul_(0.1)
            part.layers[-1].bias[-len(log2_scale[part.channels]) :] = log2_scale[part.channels]


class ExactSlice:
    """A slice in integers."""

    def __init__(self, part: Slice):
        self.channels = part.channels
        before, own = part.inv_std.split([part.channels.start, part.channels.stop - part.channels.start])
        self.earlier = None
        if part.earlier is not None:  # its weight (o, i, 3, 3) as a matrix (o, 9 i), for neighbours row by row
            self.earlier = _affine(part.earlier.weight.permute(0, 2, 3, 1).flatten(1), part.earlier.bias, before)
        self.anchors = _affine(part.anchors.matrix(), part.anchors.bias, own)
        contexts = [context.out_channels for context in (part.anchors, part.earlier) if context is not None]
        widths = part.layers[0].in_channels - sum(contexts), *contexts
        self.entropy_parameters = integer_layers(part.entropy_parameters, widths)

    def predict(self, psi: Tensor, earlier: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, on the grid, and table of each symbol at n positions; earlier (n, 9, before), around (n, taps, ..)."""
        contexts = [_of(self.anchors, around)]
        if self.earlier is not None:
            contexts.append(_of(self.earlier, earlier))
        first, *others = self.entropy_parameters
        v = first(psi.double(), *contexts)
        for layer in others:
            v = layer(v)
        mean, log2_scale = v.chunk(2, 1)
        return mean, table_of(log2_scale)


def _affine(matrix: Tensor, bias: Tensor, inv_std: Tensor) -> Affine:
    """A context in integers: its inputs are not divided by their deviations, and come as values and sizes, apart."""
    matrix = matrix.unflatten(1, (-1, 2, len(inv_std))).transpose(1, 2) * inv_std  # (o, 2, taps, channels)
    return Affine(matrix.flatten(1), bias, (matrix[0, 0].numel(),) * 2)


def _of(context: Affine, neighbours: Tensor) -> Tensor:
    """A context of the neighbours (n, taps, channels) of n positions."""
    values = neighbours.flatten(1).double()
    return context(values, values.abs())


class ExactSpaceChannel(ExactConditional):
    """The same in integers; what earlier slices tell is computed where it is wanted, which bounds the memory."""

    def __init__(self, model: SpaceChannel):
        super().__init__(model)
        self.slices = [ExactSlice(part) for part in model.slices]

    def walk(self, psi: Tensor, h: int, w: int, visit: Visit) -> Tensor:
        like = torch.empty(1, self.M, h, w, dtype=torch.int32)
        known, near = order.framed(like), order.taps(list(itertools.product((-1, 0, 1), repeat=2)), w)
        for part in self.slices:
            earlier = known[0, :, : part.channels.start]
            order.walk(
                self.order, like[:, part.channels],
                lambda at, around, part=part, earlier=earlier: in_pieces(
                    lambda psi, places, around: part.predict(psi, earlier[places[:, None] + near], around),
                    psi[at], order.places(at, w), around[0],
                ),
                lambda at, *prediction, part=part: visit((at, part.channels), *prediction)[None].to(like.dtype),
                known[:, :, part.channels],
            )  # fmt: skip
        return order.unframed(known, h, w)
