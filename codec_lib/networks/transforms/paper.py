"""5x5 convolutions of stride 2 with GDN between them (Balle et al. 2017, 2018).

x --conv 3>N--GDN--conv N>N--GDN--conv N>N--GDN--conv N>M-- y          (H/16, W/16)
"""

import torch
from torch import Tensor, nn

from codec_lib.networks.layers import GDN, per_channel
from codec_lib.networks.models import Preset

PRESETS = {"paper": lambda lmbda: Preset("paper", 192, 192 if lmbda < 0.02 else 320)}
"""The papers use wider networks for high rates; a prior may narrow N (`Prior.adapt`)."""


def conv(i: int, o: int) -> nn.Conv2d:
    """Half the resolution: (B, i, H, W) -> (B, o, H/2, W/2)."""
    return nn.Conv2d(i, o, 5, stride=2, padding=2)


def deconv(i: int, o: int) -> nn.ConvTranspose2d:
    """Twice the resolution: (B, i, H, W) -> (B, o, 2 H, 2 W)."""
    return nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=1)


class Analysis(nn.Sequential):
    """g_a of Balle et al. 2018, fig. 4: (B, 3, H, W) in [0, 1] -> (B, M, H/16, W/16)."""

    random_start = True

    def __init__(self, size: Preset):
        N, M = size.N, size.M
        super().__init__(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        self.dimensions = ("paper", N, M)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Multiply y by `gain`, a number or (M)."""
        self[-1].weight.mul_(per_channel(gain, 4))
        self[-1].bias.mul_(gain)


class Synthesis(nn.Sequential):
    """g_s of Balle et al. 2018, fig. 4: (B, M, H/16, W/16) -> (B, 3, H, W) near [0, 1]."""

    def __init__(self, size: Preset):
        N, M = size.N, size.M
        super().__init__(
            deconv(M, N), GDN(N, inverse=True), deconv(N, N), GDN(N, inverse=True),
            deconv(N, N), GDN(N, inverse=True), deconv(N, 3),
        )  # fmt: skip

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Make of gain * y what was made of y; a number, or (M)."""
        self[0].weight.div_(per_channel(gain, 4))
