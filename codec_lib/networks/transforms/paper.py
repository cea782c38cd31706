"""5x5 convolutions of stride 2 with GDN between them (Balle et al. 2017, 2018).

x --conv 3>N--GDN--conv N>N--GDN--conv N>N--GDN--conv N>M-- y          (H/16, W/16)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.networks.klt import principal_components
from codec_lib.networks.layers import GDN, Learning, per_channel
from codec_lib.networks.models import Preset

PRESETS = {"paper": lambda lmbda: Preset("paper", 192, 192 if lmbda < 0.02 else 320)}
"""The papers use wider networks for high rates; a prior may narrow N (`Prior.adapt`)."""


KEPT = (12, 48, 128, 2**31)
"""Directions that the stages of the classical start keep, at most."""

AMPLITUDE = 0.5
"""Of the strongest channel after a stage of it; GDN, at first a division by sqrt(1 + 0.1 x^2), lets those pass."""

SCALE = 90.0
"""About how much larger the kernel before y is than others, and smaller that after y_hat: y counts quantiser steps."""


def conv(i: int, o: int) -> nn.Conv2d:
    """Half the resolution: (B, i, H, W) -> (B, o, H/2, W/2)."""
    return nn.Conv2d(i, o, 5, stride=2, padding=2)


def deconv(i: int, o: int) -> nn.ConvTranspose2d:
    """Twice the resolution: (B, i, H, W) -> (B, o, 2 H, 2 W)."""
    return nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=1)


class Analysis(nn.Sequential):
    """g_a of Balle et al. 2018, fig. 4: (B, 3, H, W) in [0, 1] -> (B, M, H/16, W/16)."""

    random_start = False

    def __init__(self, size: Preset):
        N, M = size.N, size.M
        super().__init__(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        self.dimensions = ("paper", N, M)
        self.stored_as = {"": torch.float16}  # in 8 bits these and those of g_s would cost 3 % of the loss

    @torch.no_grad()
    def initialise(self, mirror: "Synthesis", x: Tensor, step: float) -> None:
        """Make both transforms nearly the stage-wise KLT of photographs, between GDNs that nearly let pass.

        A stage's KLT of patches of 2x2 sits in the two rows and columns of its kernel that only this patch is under;
        channels that it does not use begin with small random kernels.

        Args:
            mirror: g_s, fresh and of the same sizes.
            x: training crops (n, 3, H, W) in [0, 1].
            step: quantiser step on the 0..255 scale that a latent unit should stand for.
        """
        h, used, left = x, 3, 255.0 / step
        for k, (layer, back) in enumerate(zip(list(self)[::2], list(mirror)[::-2], strict=True)):
            vectors = F.pixel_unshuffle(h[:, :used], 2).permute(0, 2, 3, 1).flatten(0, 2)
            mean, basis, deviation = principal_components(vectors, min(4 * used, KEPT[k], layer.out_channels))
            gain = float(AMPLITUDE / deviation[0]) if k < len(KEPT) - 1 else left
            kernels = basis.view(-1, used, 2, 2)
            _place(layer.weight, kernels * gain)
            layer.bias.zero_()[: len(basis)] = -(basis @ mean) * gain
            _place(back.weight, kernels / gain)
            back.bias.zero_()[:used] = mean.view(used, 4).mean(1)
            h, used, left = layer(h), len(basis), left / gain
            if k < len(KEPT) - 1:
                h = self[2 * k + 1](h)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Multiply y by `gain`, a number or (M)."""
        self[-1].weight.mul_(per_channel(gain, 4))
        self[-1].bias.mul_(gain)

    def learning(self) -> dict[nn.Parameter, Learning]:
        """A kernel learns as much faster than others as its weights are larger."""
        return {self[-1].weight: Learning(SCALE)}


class Synthesis(nn.Sequential):
    """g_s of Balle et al. 2018, fig. 4: (B, M, H/16, W/16) -> (B, 3, H, W) near [0, 1]."""

    def __init__(self, size: Preset):
        N, M = size.N, size.M
        super().__init__(
            deconv(M, N), GDN(N, inverse=True), deconv(N, N), GDN(N, inverse=True),
            deconv(N, N), GDN(N, inverse=True), deconv(N, 3),
        )  # fmt: skip
        self.stored_as = {"": torch.float16}

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Make of gain * y what was made of y; a number, or (M)."""
        self[0].weight.div_(per_channel(gain, 4))

    def learning(self) -> dict[nn.Parameter, Learning]:
        """As of `Analysis`."""
        return {self[0].weight: Learning(1 / SCALE)}


def _place(weight: Tensor, kernels: Tensor) -> None:
    """Put kernels (c, i, 2, 2) where those of (c.., i.., 5, 5) meet their own patch; the rest becomes small or zero."""
    c, i = kernels.shape[:2]
    weight.mul_(0.05)
    weight[:c] = 0.0
    weight[:c, :i, 2:4, 2:4] = kernels
