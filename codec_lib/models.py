"""The rate-distortion models in training form: `forward(x)` gives x_hat and the bits it costs."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec_lib import transforms
from codec_lib.densities import UnivariateDensity, fit
from codec_lib.errors import Unsupported
from codec_lib.quantization import add_noise, round_to, straight_through

LMBDAS = (0.0067, 0.013, 0.025, 0.0483)
"""Rate points of the fourth seed; `quality` is the position in it, from 1."""


def quality_of(lmbda: float) -> int:
    """The rate point nearest to lmbda, from 1."""
    return 1 + min(range(len(LMBDAS)), key=lambda k: abs(math.log(LMBDAS[k] / lmbda)))


@dataclass(frozen=True)
class Preset:
    """Sizes of a model: `style` of the transforms, N and M, and the widths of the compact style."""

    style: str
    N: int
    M: int
    widths: tuple[int, int] = (0, 0)
    blocks: int = 2


def preset(name: str, lmbda: float) -> Preset:
    """The sizes called `name` at a rate point; the papers use wider networks for high rates.

    Raises:
        Unsupported: no preset has that name.
    """
    low = lmbda < 0.02
    sizes = {
        "paper": Preset("paper", 128, 192) if low else Preset("paper", 192, 320),
        "compact": Preset("compact", 128, 192 if low else 320, (64, 128)),
        "tiny": Preset("compact", 16, 12, (8, 16), 1),
    }
    if name not in sizes:
        raise Unsupported(f"There is no preset '{name}'; choose from {', '.join(sizes)}.")
    return sizes[name]


class Prediction(NamedTuple):
    """What a model says of a batch: `x_hat` (B, 3, H, W) and `bits` a stream name -> (B,)."""

    x_hat: Tensor
    bits: dict[str, Tensor]


def make_transforms(size: Preset) -> tuple[nn.Module, nn.Module]:
    """g_a and g_s of a preset."""
    if size.style == "paper":
        return transforms.paper_analysis(size.N, size.M), transforms.paper_synthesis(size.N, size.M)
    return (
        transforms.CompactAnalysis(size.widths, size.M, size.blocks),
        transforms.CompactSynthesis(size.widths, size.M, size.blocks),
    )


def _channels_first(y: Tensor) -> Tensor:
    return y.transpose(0, 1).reshape(y.shape[1], -1)  # (B, M, h, w) -> (M, B h w)


class FactorizedPrior(nn.Module):
    """Balle et al. 2017 with the density of Balle et al. 2018, appendix 6.1.

    x --g_a-- y --Q-- y_hat --g_s-- x_hat
                       |
                 p(y_hat) = prod over channels of one UnivariateDensity each
    """

    name = "factorized"
    downscale = transforms.DOWNSCALE

    def __init__(self, size: Preset):
        super().__init__()
        self.size = size
        self.g_a, self.g_s = make_transforms(size)
        self.density_y = UnivariateDensity(size.M)

    def forward(self, x: Tensor) -> Prediction:
        """x (B, 3, H, W) in [0, 1], H and W multiples of `downscale`.

        In training mode the rate is that of y under uniform noise (an upper bound on average) and g_s
        sees y rounded, with the gradient of y (the mixed quantisation of Minnen and Singh 2020); in
        evaluation mode both see y rounded, exactly as a file has it.
        """
        y = self.g_a(x).float()
        y_hat = round_to(y)[1]
        if self.training:
            return Prediction(self.g_s(straight_through(y, y_hat)), {"y": self.bits_y(add_noise(y))})
        return Prediction(self.g_s(y_hat), {"y": self.bits_y(y_hat)})

    def bits_y(self, y_hat: Tensor) -> Tensor:
        """Ideal code length of a latent, bits. (B, M, h, w) -> (B,)."""
        with torch.autocast(y_hat.device.type, enabled=False):
            log_p = self.density_y.log_prob(_channels_first(y_hat))  # (M, B h w)
        log_p = log_p.reshape(self.size.M, y_hat.shape[0], -1)
        return log_p.sum((0, 2)) / -math.log(2)


def initialise(model: FactorizedPrior, x: Tensor, lmbda: float) -> None:
    """Start a model near a classical transform codec of the photographs x (n, 3, H, W) in [0, 1].

    The compact transforms become the KLT, scaled so that a quantiser step of 1 suits lmbda. At high
    rate a step d costs -log2 d bits and d^2 / 12 of squared error a coefficient, of which the MSE is
    the mean over three samples a pixel, so the optimum is d^2 = 18 / (lmbda ln 2) on the 0..255
    scale. Then the densities are fitted to the latents. The paper's transforms keep torch's random
    start.
    """
    if model.size.style != "compact":
        return
    step = (18 / (lmbda * math.log(2))) ** 0.5
    deviation = transforms.initialise_as_klt(model.g_a, model.g_s, x, step)
    model.density_y.initialise((3 * deviation).clamp(min=0.5))
    with torch.no_grad():
        y = _channels_first(model.g_a(x))
    y = y[:, torch.randperm(y.shape[1])[:2048]]
    fit(model.density_y, lambda: -model.density_y.log_prob(add_noise(y)).mean(), steps=200, lr=2e-2)


@torch.no_grad()
def carry_over(model: FactorizedPrior, source: FactorizedPrior, lmbda: float, old_lmbda: float) -> None:
    """Start a model at lmbda from one of the same sizes trained at old_lmbda.

    Raises:
        ValueError: the sizes differ.
    """
    if model.size != source.size:
        raise ValueError(f"cannot carry weights from {source.size} to {model.size}")
    model.load_state_dict(source.state_dict())
    gain = (lmbda / old_lmbda) ** 0.5
    transforms.rescale_latent(model.g_a, model.g_s, gain)
    model.density_y.rescale(gain)


MODELS = {"factorized": FactorizedPrior}


def make(name: str, preset_name: str, lmbda: float) -> FactorizedPrior:
    """A fresh model by its public name.

    Raises:
        Unsupported: no model or preset has that name.
    """
    if name not in MODELS:
        raise Unsupported(f"There is no model '{name}'; choose from {', '.join(MODELS)}.")
    return MODELS[name](preset(preset_name, lmbda))
