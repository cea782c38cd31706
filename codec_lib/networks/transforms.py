"""Analysis g_a and synthesis g_s, each defined once, in two styles.

`paper`: 5x5 convolutions of stride 2 with GDN between them (Balle et al. 2017, 2018).

    x --conv 3>N--GDN--conv N>N--GDN--conv N>N--GDN--conv N>M-- y          (H/16, W/16)

`compact`: three residual stages on a linear path that starts as the Karhunen-Loeve transform
(KLT) of photographs, stage by stage; everything else starts at zero.

    x --unshuffle 4--[KLT + near]--res res--unshuffle 2--[..]--res res--unshuffle 2--[..]--res-- y

`g_s` mirrors `g_a`, the KLT transposed. The linear path and y stay in float32; the rest runs in
whatever autocast chooses.

The hyper-transforms h_a and h_s are the same in both styles but for their widths:

    y --conv3--relu--conv5 /2--relu--conv5 /2-- z --Q-- z_hat --deconv5 x2--relu--deconv5 x2--relu--conv3-- psi
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.networks.layers import GDN, ResidualBlock, compress

DOWNSCALE = 16  # pixels a latent position covers, each way, in both styles


def _conv(i: int, o: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 5, stride=2, padding=2)


def _deconv(i: int, o: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=1)


def paper_analysis(N: int, M: int) -> nn.Sequential:
    """g_a of Balle et al. 2018, fig. 4: (B, 3, H, W) in [0, 1] -> (B, M, H/16, W/16)."""
    return nn.Sequential(
        _conv(3, N), GDN(N), _conv(N, N), GDN(N), _conv(N, N), GDN(N), _conv(N, M)
    )  # fmt: skip


def paper_synthesis(N: int, M: int) -> nn.Sequential:
    """g_s of Balle et al. 2018, fig. 4: (B, M, H/16, W/16) -> (B, 3, H, W) near [0, 1]."""
    return nn.Sequential(
        _deconv(M, N), GDN(N, inverse=True), _deconv(N, N), GDN(N, inverse=True),
        _deconv(N, N), GDN(N, inverse=True), _deconv(N, 3),
    )  # fmt: skip


def hyper_analysis(i: int, N: int) -> nn.Sequential:
    """h_a of Balle et al. 2018, fig. 4: (B, i, h, w) -> (B, N, ceil(h / 4), ceil(w / 4))."""
    down = [nn.Conv2d(N, N, 5, stride=2, padding=2) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(i, N, 3, padding=1), nn.ReLU(), down[0], nn.ReLU(), down[1])


def hyper_synthesis(N: int, widths: tuple[int, int], o: int) -> nn.Sequential:
    """h_s of Balle et al. 2018, fig. 4, without its last ReLU: (B, N, h, w) -> (B, o, 4 h, 4 w).

    ReLU throughout (Minnen et al. 2018 have leaky ones), which is exact on a grid of integers.
    """
    a, b = widths
    return nn.Sequential(_deconv(N, a), nn.ReLU(), _deconv(a, b), nn.ReLU(), nn.Conv2d(b, o, 3, padding=1))


class _Mix(nn.Module):
    """A 1x1 linear map in float32 plus a correction from the 3x3 neighbourhood, zero at first.

    The correction runs in whatever autocast chooses, through at most `HIDDEN` channels.
    """

    HIDDEN = 128

    def __init__(self, i: int, o: int):
        super().__init__()
        hidden = min(i, o, self.HIDDEN)
        self.linear = nn.Conv2d(i, o, 1)
        self.near1 = nn.Conv2d(i, hidden, 3, padding=1)
        self.near2 = nn.Conv2d(hidden, o, 1, bias=False)
        nn.init.zeros_(self.near2.weight)
        self.register_buffer("inv_scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        near = self.near2(F.relu(self.near1(compress(x * self.inv_scale)))).float()
        with torch.autocast(x.device.type, enabled=False):
            return self.linear(x) + near


class CompactAnalysis(nn.Module):
    """g_a, compact style: (B, 3, H, W) in [0, 1] -> (B, M, H/16, W/16), float32.

    Args:
        widths: channels at 1/4 and 1/8 of the resolution; the block on y itself has the latter's hidden width.
        M: channels of y.
        blocks: residual blocks at 1/4 and at 1/8.
    """

    FACTORS = (4, 2, 2)

    def __init__(self, widths: tuple[int, int], M: int, blocks: int = 2):
        super().__init__()
        a, b = widths
        self.mixes = nn.ModuleList([_Mix(i, o) for i, o in [(3 * 16, a), (4 * a, b), (4 * b, M)]])
        self.blocks = nn.ModuleList([_blocks(a, blocks), _blocks(b, blocks), nn.Sequential(ResidualBlock(M, b))])

    def forward(self, x: Tensor) -> Tensor:
        for factor, mix, block in zip(self.FACTORS, self.mixes, self.blocks, strict=True):
            x = block(mix(F.pixel_unshuffle(x, factor)))
        return x


class CompactSynthesis(nn.Module):
    """g_s, compact style, the mirror of `CompactAnalysis`: (B, M, H/16, W/16) -> (B, 3, H, W)."""

    FACTORS = (2, 2, 4)

    def __init__(self, widths: tuple[int, int], M: int, blocks: int = 2):
        super().__init__()
        a, b = widths
        self.mixes = nn.ModuleList([_Mix(i, o) for i, o in [(M, 4 * b), (b, 4 * a), (a, 3 * 16)]])
        self.blocks = nn.ModuleList([nn.Sequential(ResidualBlock(M, b)), _blocks(b, blocks), _blocks(a, blocks)])

    def forward(self, y_hat: Tensor) -> Tensor:
        x = y_hat
        for factor, mix, block in zip(self.FACTORS, self.mixes, self.blocks, strict=True):
            x = F.pixel_shuffle(mix(block(x)), factor)
        return x


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(channels) for _ in range(count)])


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


@torch.no_grad()
def initialise_as_klt(g_a: CompactAnalysis, g_s: CompactSynthesis, x: Tensor, step: float) -> Tensor:
    """Make the linear path of both transforms the stage-wise KLT of photographs.

    Args:
        g_a, g_s: fresh transforms of the same widths.
        x: training crops (n, 3, H, W) in [0, 1].
        step: quantiser step on the 0..255 scale that a latent unit should stand for.

    Returns:
        The standard deviation of each channel of y, (M).
    """
    gain = 255.0 / step
    h = x
    for k, factor in enumerate(g_a.FACTORS):
        h = F.pixel_unshuffle(h, factor)
        mix, mirror = g_a.mixes[k], g_s.mixes[len(g_s.mixes) - 1 - k]
        vectors = h.permute(0, 2, 3, 1).flatten(0, 2)
        mean, basis, deviation = principal_components(vectors, mix.linear.out_channels)
        mix.linear.weight.copy_((basis * gain)[:, :, None, None])
        mix.linear.bias.copy_(-(basis @ mean) * gain)
        mirror.linear.weight.copy_((basis.T / gain)[:, :, None, None])
        mirror.linear.bias.copy_(mean)
        h = F.conv2d(h, mix.linear.weight, mix.linear.bias)
        last, gain = deviation * gain, 1.0  # the scale is set once, in the first stage
    return last.float()


@torch.no_grad()
def rescale_latent(g_a: nn.Module, g_s: nn.Module, gain: float) -> None:
    """Multiply y by `gain` without changing what g_s makes of it: a quantiser finer by `gain`.

    This carries transforms trained at one lmbda to another, with gain = sqrt(lmbda / old lmbda).
    """
    if isinstance(g_a, CompactAnalysis):
        last, first = g_a.mixes[-1], g_s.mixes[0]
        for parameter in (last.linear.weight, last.linear.bias, last.near2.weight):
            parameter.mul_(gain)
        for block in (*g_a.blocks[-1], *g_s.blocks[0]):
            block.rescale(gain)
        first.linear.weight.div_(gain)
        first.inv_scale.div_(gain)
    else:
        g_a[-1].weight.mul_(gain)
        g_a[-1].bias.mul_(gain)
        g_s[0].weight.div_(gain)
