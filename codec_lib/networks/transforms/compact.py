"""Three residual stages on a linear path that starts as the Karhunen-Loeve transform (KLT) of photographs.

    x --unshuffle 4--[KLT + near]--res res--unshuffle 2--[..]--res res--unshuffle 2--[..]--res-- y

`Synthesis` mirrors `Analysis`, the KLT transposed; everything but the linear path starts at zero. The linear path and y
stay in float32; the rest runs in whatever autocast chooses.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.networks.klt import principal_components, vectors
from codec_lib.networks.layers import ResidualBlock, compress, per_channel
from codec_lib.networks.models import Preset

PRESETS = {
    "compact": lambda lmbda: Preset("compact", 128, 192 if lmbda < 0.02 else 320, (64, 128)),
    "tiny": lambda lmbda: Preset("compact", 16, 12, (8, 16), 1),
}


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
        self.stored_as = {"linear": torch.float16}  # in 8 bits it would cost 0.1 dB

    def forward(self, x: Tensor) -> Tensor:
        near = self.near2(F.relu(self.near1(compress(x * self.inv_scale)))).float()
        with torch.autocast(x.device.type, enabled=False):
            return self.linear(x) + near


class Analysis(nn.Module):
    """g_a: (B, 3, H, W) in [0, 1] -> (B, M, H/16, W/16), float32.

    Args:
        size: `widths`, channels at 1/4 and 1/8 of the resolution; the block on y itself has the latter's hidden width.
            `M`, channels of y. `blocks`, residual blocks at 1/4 and at 1/8.
    """

    FACTORS = (4, 2, 2)

    def __init__(self, size: Preset):
        super().__init__()
        (a, b), M, blocks = size.widths, size.M, size.blocks
        self.mixes = nn.ModuleList([_Mix(i, o) for i, o in [(3 * 16, a), (4 * a, b), (4 * b, M)]])
        self.blocks = nn.ModuleList([_blocks(a, blocks), _blocks(b, blocks), nn.Sequential(ResidualBlock(M, b))])
        self.dimensions = ("compact", size.widths, M, blocks)

    def forward(self, x: Tensor, shifts: Sequence[Tensor] = ()) -> Tensor:
        """`shifts` of the residual blocks, in their order, where there are some; (B, hidden) each."""
        shift = iter(shifts)
        for factor, mix, blocks in zip(self.FACTORS, self.mixes, self.blocks, strict=True):
            x = mix(F.pixel_unshuffle(x, factor))
            for block in blocks:
                x = block(x, next(shift, None))
        return x

    @torch.no_grad()
    def initialise(self, mirror: "Synthesis", x: Tensor, step: float) -> None:
        """Make the linear path of both transforms, fresh ones of the same sizes, the stage-wise KLT of photographs.

        Args:
            mirror: g_s.
            x: training crops (n, 3, H, W) in [0, 1].
            step: quantiser step on the 0..255 scale that a latent unit should stand for.
        """
        gain = 255.0 / step
        h = x
        for factor, mix, back in zip(self.FACTORS, self.mixes, reversed(mirror.mixes), strict=True):
            h = F.pixel_unshuffle(h, factor)
            mean, basis, _ = principal_components(vectors(h), mix.linear.out_channels)
            mix.linear.weight.copy_((basis * gain)[:, :, None, None])
            mix.linear.bias.copy_(-(basis @ mean) * gain)
            back.linear.weight.copy_((basis.T / gain)[:, :, None, None])
            back.linear.bias.copy_(mean)
            h = F.conv2d(h, mix.linear.weight, mix.linear.bias)
            gain = 1.0  # the scale is set once, in the first stage

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Multiply y by `gain`, a number or (M)."""
        last = self.mixes[-1]
        for parameter in (last.linear.weight, last.linear.bias, last.near2.weight):
            parameter.mul_(per_channel(gain, parameter.dim()))
        for block in self.blocks[-1]:
            block.rescale(gain)


class Synthesis(nn.Module):
    """g_s, the mirror of `Analysis`: (B, M, H/16, W/16) -> (B, 3, H, W)."""

    FACTORS = (2, 2, 4)

    def __init__(self, size: Preset):
        super().__init__()
        (a, b), M, blocks = size.widths, size.M, size.blocks
        self.mixes = nn.ModuleList([_Mix(i, o) for i, o in [(M, 4 * b), (b, 4 * a), (a, 3 * 16)]])
        self.blocks = nn.ModuleList([nn.Sequential(ResidualBlock(M, b)), _blocks(b, blocks), _blocks(a, blocks)])

    def forward(self, y_hat: Tensor, shifts: Sequence[Tensor] = ()) -> Tensor:
        """`shifts` as in `Analysis.forward`."""
        x, shift = y_hat, iter(shifts)
        for factor, mix, blocks in zip(self.FACTORS, self.mixes, self.blocks, strict=True):
            for block in blocks:
                x = block(x, next(shift, None))
            x = F.pixel_shuffle(mix(x), factor)
        return x

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Make of gain * y what was made of y; a number, or (M)."""
        for block in self.blocks[0]:
            block.rescale(gain)
        first = self.mixes[0]
        first.linear.weight.div_(per_channel(gain))
        first.inv_scale = first.inv_scale / per_channel(gain)


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(channels) for _ in range(count)])
