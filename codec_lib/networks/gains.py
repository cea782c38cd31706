"""One network for every rate: gains of y and z, between fixed rate points (Cui et al. 2021, sec. 3).

    x --g_a-- y --* gain-- Q --y_hat--* inverse--g_s-- x_hat
              |              |
             h_a          mean * gain, scale * spread <-- context: y_hat / gain
              |              |
              z --* gain_z-- Q --z_hat--/ gain_z-- h_s

Networks and priors know y and z as they are at the gain 1. Quality is a number from 0 to 5: at whole ones, the rate
points, each channel has a gain of its own, and between them the logarithms are interpolated, as that of lmbda is. The
residual blocks of g_a and g_s, where there are some, have a bias that depends on the rate likewise.

In training every crop of a batch has a quality of its own. A codec has one: `at` folds the gains into a copy of the
model, which is then a model of one rate like any other. What a decoder must repeat is folded with factors that
decimal arithmetic gives, by single products of float32, which are the same on every machine.
"""

import copy
import decimal
from functools import lru_cache

import torch
from torch import Tensor, nn

from codec_lib.networks.layers import Learning, ResidualBlock
from codec_lib.networks.models import Prediction, Rate
from codec_lib.networks.priors.base import Prior
from codec_lib.rates import RATE_POINTS, THOUSAND

STEP = 4096
"""Logarithms to base 2 count as multiples of 1 / STEP."""


class Gains(nn.Module):
    """The tables of the rate points, logarithms to base 2. At first y is only scaled, by sqrt(lmbda) as steps go.

    Args:
        model: the model that they belong to.
        lmbda: what it was trained for; that rate has the gain 1.
    """

    def __init__(self, model: Prior, lmbda: float):
        super().__init__()
        M, points = model.size.M, torch.tensor(RATE_POINTS)
        start = (points / lmbda).log2()[:, None] / 2
        self.gain = nn.Parameter(start.repeat(1, M))
        self.inverse = nn.Parameter(-start.repeat(1, M))
        self.spread = nn.Parameter(start.repeat(1, M))
        self.gain_z = nn.Parameter(start.repeat(1, model.size.N) / 4) if "z" in model.table_counts() else None
        widths = [[b.conv1.out_channels for b in _residual_blocks(t)] for t in (model.g_a, model.g_s)]
        self.shifts_a, self.shifts_s = (
            nn.ParameterList([nn.Parameter(torch.zeros(len(points), n)) for n in each]) for each in widths
        )

    def forward(self, quality: Tensor) -> Rate:
        """The rate of qualities (B), each 0 to 5."""

        def at(table: Tensor) -> Tensor:
            return between(table, quality)[:, :, None, None]

        gain_z = 1.0 if self.gain_z is None else at(self.gain_z).exp2()
        shifts = ([between(table, quality) for table in tables] for tables in (self.shifts_a, self.shifts_s))
        return Rate(at(self.gain).exp2(), at(self.inverse).exp2(), at(self.spread), gain_z, *shifts)

    def learning(self) -> dict[nn.Parameter, Learning]:
        """Tables, no kernels, of which a crop sees two rows."""
        return dict.fromkeys(self.parameters(), Learning(4.0, kernel=False))

    @torch.no_grad()
    def round_(self) -> None:
        """Bring the logarithms to multiples of 1 / STEP; a weight file has them in 8 bits, and `at` rounds again."""
        for table in (self.gain, self.inverse, self.spread, self.gain_z):
            if table is not None:
                table.mul_(STEP).round_().div_(STEP)


def _residual_blocks(transform: nn.Module) -> list[ResidualBlock]:
    """Those that have a bias for each rate, in the order of the data; a transform without them has its gains alone."""
    return [module for module in transform.modules() if isinstance(module, ResidualBlock)]


def between(table: Tensor, quality: Tensor) -> Tensor:
    """Rows of a table of the rate points, (R, ...), at qualities (B), linear between: (B, ...)."""
    low = quality.floor().clamp(0, len(table) - 2).long()
    t = (quality - low).view(-1, *[1] * (table.dim() - 1))
    return table[low] * (1 - t) + table[low + 1] * t


def _steps_between(table: Tensor, thousandths: int) -> list[int]:
    """The same at one quality for rounded logarithms, (R, C), in integers: multiples of 1 / STEP, (C)."""
    low = min(thousandths // THOUSAND, len(table) - 2)
    t = thousandths - low * THOUSAND
    steps = (table.detach().double().cpu() * STEP).round().long()
    total = steps[low] * (THOUSAND - t) + steps[low + 1] * t + THOUSAND // 2
    return torch.div(total, THOUSAND, rounding_mode="floor").tolist()


@lru_cache(maxsize=65536)
def _power(steps: int) -> float:
    """2^(steps / STEP) by decimal arithmetic, which rounds alike on every machine, as libraries of floats do not."""
    context = decimal.Context(prec=30)
    return float(context.power(2, context.divide(decimal.Decimal(steps), decimal.Decimal(STEP))))


def _powers(table: Tensor, thousandths: int) -> Tensor:
    """The factors of one quality, float32 (C)."""
    powers = [_power(steps) for steps in _steps_between(table, thousandths)]
    return torch.tensor(powers, dtype=torch.float32, device=table.device)


class Gained(nn.Module):
    """A model and its gains, in training form; `at` makes of it a model of one rate.

    Args:
        model: of any transforms that `rescale` by channel.
        lmbda: what it was trained for.
    """

    def __init__(self, model: Prior, lmbda: float):
        super().__init__()
        self.model, self.gains = model, Gains(model, lmbda)

    @property
    def downscale(self) -> int:
        """Pixels that a latent position covers, each way."""
        return self.model.downscale

    @property
    def dimensions(self) -> tuple:
        """As those of its model."""
        return self.model.dimensions

    def of_transforms(self) -> list[nn.Parameter]:
        """The parameters that priors can share, gains and shifts among them."""
        gains = self.gains
        return [*self.model.of_transforms(), gains.gain, gains.inverse, *gains.shifts_a, *gains.shifts_s]

    def forward(self, x: Tensor, quality: Tensor) -> Prediction:
        """x (B, 3, H, W) in [0, 1], quality (B), 0 to 5; for training, as what is rounded differs with the rate."""
        rate = self.gains(quality)
        y_hat, bits = self.model.code(self.analyse(x, rate) * rate.gain, rate)
        return Prediction(self.synthesise(y_hat * rate.inverse, rate), bits)

    def analyse(self, x: Tensor, rate: Rate) -> Tensor:
        """g_a's y before its gain, float32 (B, M, H/16, W/16)."""
        return (self.model.g_a(x, rate.shifts_a) if rate.shifts_a else self.model.g_a(x)).float()

    def synthesise(self, y: Tensor, rate: Rate) -> Tensor:
        """g_s of y_hat after its inverse gain, (B, 3, H, W)."""
        return self.model.g_s(y, rate.shifts_s) if rate.shifts_s else self.model.g_s(y)

    @torch.no_grad()
    def at(self, thousandths: int) -> Prior:
        """A model of the one quality, 0 to 5000."""
        model, gains = self.prior_at(thousandths), self.gains
        model.g_a, model.g_s = copy.deepcopy(model.g_a), copy.deepcopy(model.g_s)
        quality = torch.tensor([thousandths / THOUSAND])
        for transform, shifts in ((model.g_a, gains.shifts_a), (model.g_s, gains.shifts_s)):
            for block, shift in zip(_residual_blocks(transform), shifts, strict=True):
                block.conv1.bias.add_(between(shift.cpu(), quality)[0].to(block.conv1.bias.device))
        model.g_a.rescale(_powers(gains.gain, thousandths))
        model.g_s.rescale(1 / _powers(gains.inverse, thousandths))
        return model

    @torch.no_grad()
    def prior_at(self, thousandths: int) -> Prior:
        """The same where only the prior is wanted: its transforms are this model's own, not copied and of no rate."""
        model, gains = copy.deepcopy(self.model, {id(t): t for t in (self.model.g_a, self.model.g_s)}), self.gains
        spread = torch.tensor(_steps_between(gains.spread, thousandths), dtype=torch.float32) / STEP
        model.rescale(_powers(gains.gain, thousandths), spread.to(gains.spread.device))
        if gains.gain_z is not None:
            model.rescale_z(_powers(gains.gain_z, thousandths))
        return model
