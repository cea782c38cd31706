"""Parameters and multiply-accumulates of a model: as they are, and as the fourth report's counter has them.

thop, which the report used, sees plain convolutions only: it misses GDN, the densities and the masked
convolution. Of a transposed convolution it counts a kernel for each output position, four times what
there is to do at stride 2, where each input position meets the kernel once. And the report's checkerboard
runs its entropy parameters twice over all positions; here each position is predicted once.
"""

import math
from collections import Counter

import torch
from torch import Tensor, nn

from codec_lib.networks.densities import UnivariateDensity
from codec_lib.networks.layers import GDN, MaskedConv2d
from codec_lib.networks.priors.base import Prior


def parameters(module: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in module.parameters())


def count(model: Prior, height: int = 512, width: int = 768) -> Counter[str]:
    """The work for one picture, all networks run once.

    It is counted on a tile of 64x64 pixels: height and width count as whole multiples of 64.

    Returns:
        `params` and `macs`, as they are; `thop_params` and `thop_macs`, as thop counts; the MACs of each part that the
        model has, and 0 of any other.
    """
    tiles = -(-height // 64) * -(-width // 64)
    model = type(model)(model.size).train()
    totals, parts = Counter(params=parameters(model)), [name for name, _ in model.named_children()]
    for name, module in model.named_modules():
        part = name.split(".")[0]
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | GDN):
            module.register_forward_hook(_adding(part, totals))
        elif isinstance(module, UnivariateDensity):
            module.log_prob = _counted(module, part, totals)
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    for name in ("thop_macs", *parts):
        totals[name] *= tiles
    totals["macs"] = sum(totals[part] for part in parts)
    return totals


def _adding(part: str, totals: Counter[str]):
    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = inputs[0].shape[2:].numel(), output.shape[2:].numel()
        if isinstance(module, GDN):  # the 1x1 convolution, the square and the product
            totals[part] += after * (module.beta.numel() ** 2 + 2 * module.beta.numel())
            return
        taps = module.taps if isinstance(module, MaskedConv2d) else math.prod(module.kernel_size)
        kernel = taps * module.in_channels * module.out_channels
        totals[part] += kernel * (before if isinstance(module, nn.ConvTranspose2d) else after)
        if not isinstance(module, MaskedConv2d):
            totals["thop_macs"] += kernel * after
            totals["thop_params"] += parameters(module)

    return add


def _counted(density: UnivariateDensity, part: str, totals: Counter[str]):
    log_prob = density.log_prob
    products = sum(H.shape[1] * H.shape[2] for H in density.H) + sum(a.shape[1] for a in density.a)

    def count(x: Tensor, *gain: Tensor | float) -> Tensor:
        totals[part] += 2 * products * x.numel()  # both edges of a bin
        return log_prob(x, *gain)

    return count
