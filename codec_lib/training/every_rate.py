"""Training one network for a range of rates: each crop has a quality of its own, and each rate weighs alike."""

import math

import torch
from torch import Tensor, nn

from codec_lib.networks.gains import Gained, between
from codec_lib.rates import RATE_POINTS, loss, position_of

USUAL_LOSS = (0.45, 0.66, 0.90, 1.22, 1.62, 2.15)
"""About what a hyperprior's loss is at the rate points: losses are divided by it, so that no rate outweighs another."""

LOW_FIRST = 1.3
"""Qualities are low + (high - low) u^1.3, u uniform: low rates, which gain from more steps, have a larger share."""


class EveryRateLoss(nn.Module):
    """The mean over a batch of each crop's loss by the usual one, as a module for DistributedDataParallel.

    Args:
        model: in training mode.
        lmbdas: lowest and highest.
    """

    def __init__(self, model: Gained, lmbdas: tuple[float, float]):
        super().__init__()
        self.model = model
        self.low, self.high = map(position_of, lmbdas)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, H, W) in [0, 1] -> loss, bpp, MSE (of the [0, 1] scale), scalars."""
        quality = self.qualities(len(x)).to(x.device)
        prediction = self.model(x, quality)
        bpp = sum(prediction.bits.values()) / x[0, 0].numel()  # (B)
        mse = (prediction.x_hat.float() - x).square().mean((1, 2, 3))
        lmbda = between(torch.tensor(RATE_POINTS, device=x.device).log(), quality).exp()
        usual = between(torch.tensor(USUAL_LOSS, device=x.device), quality)
        return (loss(lmbda, bpp, mse) / usual).mean(), bpp.mean(), mse.mean()

    def qualities(self, count: int) -> Tensor:
        """So many of the range, one in each of as many equal parts of u."""
        u = (torch.arange(count) + torch.rand(count)) / count
        return self.low + (self.high - self.low) * u**LOW_FIRST


def validated(lmbdas: tuple[float, float]) -> list[float]:
    """The whole qualities of a range, at which it is validated; its ends where there are none."""
    low, high = map(position_of, lmbdas)
    return [float(q) for q in range(math.ceil(low - 1e-6), math.floor(high + 1e-6) + 1)] or [low, high]


def usual_loss(quality: float) -> float:
    """Of `USUAL_LOSS`, between its points."""
    return between(torch.tensor(USUAL_LOSS), torch.tensor([quality])).item()


@torch.no_grad()
def carry_over(gained: Gained, source: Gained, x: Tensor) -> None:
    """Start from a model for every rate: all of the same prior, else its transforms, gains and, if it can, its z.

    Args:
        gained, source: of transforms of the same sizes.
        x: photographs (n, 3, H, W) in [0, 1].
    """
    mine, theirs = gained.state_dict(), source.state_dict()
    alike = mine.keys() == theirs.keys() and all(mine[name].shape == theirs[name].shape for name in mine)
    shared = [name for name in mine if alike or (_of_any_prior(name) and name in theirs)]
    gained.load_state_dict(mine | {name: theirs[name] for name in shared})
    if not alike:
        middle = torch.full((len(x),), (len(RATE_POINTS) - 1) / 2, device=x.device)
        rate = gained.gains(middle)
        y = gained.model.g_a(x, rate.shifts_a)
        if not gained.model.continue_from(source.model, 1.0, y):
            gained.model.start(y)


def _of_any_prior(name: str) -> bool:
    return name.startswith(("model.g_a.", "model.g_s.", "gains."))
