"""5x5 convolutions of stride 2 with GDN between them (Balle et al. 2017, 2018).

x --conv 3>N--GDN--conv N>N--GDN--conv N>N--GDN--conv N>M-- y          (H/16, W/16)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.networks.klt import principal_components, vectors
from codec_lib.networks.layers import GDN, Learning, per_channel
from codec_lib.networks.models import Preset

PRESETS = {"paper": lambda lmbda: Preset("paper", 192, 192 if lmbda < 0.02 else 320)}
"""The papers use wider networks for high rates; a prior may narrow N (`Prior.adapt`)."""


KEPT = (12, 48, 128, 2**31)
"""Directions that the stages of the classical start keep, at most."""

STRONGEST, LEVELLING = 2.0, 0.333
"""After a stage the strongest channel has this deviation; others have less as the power LEVELLING of the KLT's own.

Those of the KLT span three decades. GDN would then divide by its strongest channels alone: its parameters, which move
by the learning rate, would have to grow a hundredfold before the others counted.
"""

AMPLITUDE = 0.5
"""Deviation of the channels that the classical start does not need, random mixtures of all others."""

LEAST_GAMMA = 0.02**2
"""GDN's at the start, off the diagonal; from zero it would hardly learn, for it is kept as a square root."""

LAST, FIRST = 3.0, 0.2
"""How much faster the kernel before y learns than others, and how much slower that after y_hat, as weights go."""


def conv(i: int, o: int) -> nn.Conv2d:
    """Half the resolution: (B, i, H, W) -> (B, o, H/2, W/2)."""
    return nn.Conv2d(i, o, 5, stride=2, padding=2)


def deconv(i: int, o: int) -> nn.ConvTranspose2d:
    """Twice the resolution: (B, i, H, W) -> (B, o, 2 H, 2 W)."""
    return nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=1)


class Analysis(nn.Sequential):
    """g_a of Balle et al. 2018, fig. 4: (B, 3, H, W) in [0, 1] -> (B, M, H/16, W/16)."""

    def __init__(self, size: Preset):
        N, M = size.N, size.M
        super().__init__(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        self.dimensions = ("paper", N, M)
        self.stored_as = {"": torch.float16}  # in 8 bits these and those of g_s would cost 3 % of the loss

    @torch.no_grad()
    def initialise(self, mirror: "Synthesis", x: Tensor, step: float) -> None:
        """Make both transforms nearly the stage-wise KLT of photographs, between GDNs that nearly let pass.

        A stage's KLT of patches of 2x2 sits in the two rows and columns of its kernel that only this patch is under,
        and channels of different energy are brought nearer to each other. Those that it does not use begin at random.

        Args:
            mirror: g_s, fresh and of the same sizes.
            x: training crops (n, 3, H, W) in [0, 1].
            step: quantiser step on the 0..255 scale that a latent unit should stand for.
        """
        h, units = x, torch.ones(3)  # of the channels that carry the KLT, h is `units` times its coefficients
        for k, (layer, back) in enumerate(zip(list(self)[::2], list(mirror)[::-2], strict=True)):
            used, last = len(units), k == len(KEPT) - 1
            patches = vectors(F.pixel_unshuffle(h[:, :used] / per_channel(units), 2))
            mean, basis, deviation = principal_components(patches, min(4 * used, KEPT[k], layer.out_channels))
            deviation = deviation.clamp(min=1e-4 * float(deviation[0])).float()  # zero, of too few crops
            amplitudes = STRONGEST * (deviation / deviation[0]).clamp(min=1e-3) ** LEVELLING
            gains = torch.full_like(amplitudes, 255.0 / step) if last else amplitudes / deviation
            kernels = basis.view(-1, used, 2, 2)
            layer.weight[: len(basis)] = 0.0
            layer.weight[: len(basis), :used, 2:4, 2:4] = kernels * per_channel(gains, 4) / per_channel(units, 3)
            layer.bias[: len(basis)] = -(basis @ mean).float() * gains
            back.weight[:, :used] = 0.0
            back.weight[: len(basis), :used, 2:4, 2:4] = kernels / per_channel(gains, 4) * per_channel(units, 3)
            back.bias[:used] = mean.view(used, 4).mean(1).float() * units
            h, units = layer(h), gains
            if not last:
                level_random(layer, h, len(basis))
                for gdn in (self[2 * k + 1], mirror[5 - 2 * k]):
                    let_pass(gdn, amplitudes)
                h = self[2 * k + 1](h)
        for k, used in enumerate((*KEPT[2::-1], 3)):
            h = mirror[2 * k](h if k == 0 else mirror[2 * k - 1](h))
            level_random(mirror[2 * k], h, used)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Multiply y by `gain`, a number or (M)."""
        self[-1].weight.mul_(per_channel(gain, 4))
        self[-1].bias.mul_(gain)

    def learning(self) -> dict[nn.Parameter, Learning]:
        """A kernel learns faster or slower than others as its weights are larger or smaller."""
        return {self[-1].weight: Learning(LAST)}


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
        return {self[0].weight: Learning(FIRST)}


def level_random(layer: nn.Conv2d | nn.ConvTranspose2d, h: Tensor, used: int) -> None:
    """Bring a layer's output channels from `used` on to mean 0 and AMPLITUDE: its weights, and h, its output."""
    if used >= layer.out_channels:
        return
    rest = h[:, used:]
    mean, factor = rest.mean((0, 2, 3)), AMPLITUDE / rest.std((0, 2, 3)).clamp(min=1e-6)
    outputs = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    outputs[used:] *= per_channel(factor, 4)
    layer.bias[used:] = (layer.bias[used:] - mean) * factor
    h[:, used:] = (rest - per_channel(mean)) * per_channel(factor)


def let_pass(gdn: GDN, amplitudes: Tensor) -> None:
    """Let GDN change its first channels, of these deviations, by 1 % or less, and see a little of all others."""
    gdn.gamma.clamp_(min=LEAST_GAMMA**0.5)
    own = gdn.gamma.diagonal()[: len(amplitudes)]
    own.copy_((0.1 * (AMPLITUDE / amplitudes).square().clamp(max=1)).sqrt())
