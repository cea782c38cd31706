"""The factorized prior: Balle et al. 2017 with the density of Balle et al. 2018, appendix 6.1.

x --g_a-- y --Q-- y_hat --g_s-- x_hat
                   |
             p(y_hat) = prod over channels of one UnivariateDensity each
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.order import ONE_GROUP
from codec_lib.networks.densities import UnivariateDensity, density_bits, fit_density, frozen_tables
from codec_lib.networks.models import ONE_RATE, Preset, Rate
from codec_lib.networks.priors.base import ALL, Prior, Soft, Visit, narrow_at_low_rates
from codec_lib.networks.quantization import add_noise, round_to, straight_through


class FactorizedPrior(Prior):
    """One density for each channel of y, whatever the position."""

    name = "factorized"
    table_steps: ClassVar[dict[str, int]] = {"y": 100}
    adapt = staticmethod(narrow_at_low_rates)

    def __init__(self, size: Preset):
        super().__init__(size)
        self.density_y = UnivariateDensity(size.M)

    def code(self, y: Tensor, rate: Rate = ONE_RATE) -> tuple[Tensor, dict[str, Tensor]]:
        y_hat = round_to(y)[1]
        if self.training:
            factor = torch.exp2(torch.as_tensor(rate.spread))
            return straight_through(y, y_hat), {"y": self.bits_y(add_noise(y), factor)}
        return y_hat, {"y": self.bits_y(y_hat)}

    def relaxed(self, y: Tensor, z: None, soft: Soft) -> tuple[Tensor, Tensor, list[Tensor]]:
        y_hat = soft(y)
        return y_hat, self.bits_y(y_hat).sum(), [y_hat]

    def bits_y(self, y_hat: Tensor, gain: float | Tensor = 1.0) -> Tensor:
        """Ideal code length of a latent, bits: (B, M, h, w), `gain` times what the densities know -> (B,)."""
        return density_bits(self.density_y, y_hat, gain)

    def make_tables(self) -> dict[str, Tables]:
        return {"y": frozen_tables(self.density_y)}

    def table_counts(self) -> dict[str, int]:
        return {"y": self.size.M}

    def exact(self) -> "ExactChannels":
        return ExactChannels(self.density_y)

    @torch.no_grad()
    def start(self, y: Tensor) -> None:
        fit_density(self.density_y, y)

    def rescale(self, gain: float | Tensor, spread: Tensor | None = None) -> None:
        self.density_y.rescale(gain if spread is None else spread.exp2())

    def fix_scales(self, log2_scale: Tensor) -> None:
        self.density_y.initialise(2 * torch.exp2(log2_scale))


class ExactChannels:
    """Mean 0, and a table for each channel."""

    order = ONE_GROUP

    def __init__(self, density: UnivariateDensity):
        self.density = density

    def side_information(self, z: Tensor | None, h: int, w: int) -> Tensor:
        return torch.zeros(h * w, 0, dtype=torch.int32)

    def walk(self, psi: Tensor, h: int, w: int, visit: Visit) -> Tensor:
        channels = torch.arange(self.density.channels)
        y_hat = torch.empty(h * w, len(channels), dtype=torch.int32)
        for positions in self.order.groups(h, w):
            index = channels.expand(len(positions), -1)
            mean = torch.zeros(index.shape, dtype=torch.float64)
            y_hat[positions] = visit((positions, ALL), mean, index).to(y_hat.dtype)
        return y_hat.T.view(1, -1, h, w)

    def bits(self, symbols: Tensor, index: Tensor) -> Tensor:
        log_p = self.density.log_prob(symbols.T.float().to(self.density.H[0].device))
        return log_p.double().T / -math.log(2)

    def log2_scale(self, index: Tensor) -> None:
        return None
