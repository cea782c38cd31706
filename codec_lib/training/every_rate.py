"""Training one network for a range of rates: each crop has a quality of its own, and each rate weighs alike."""

import math

import torch
from torch import Tensor, nn

from codec_lib.networks.gains import Gained, between
from codec_lib.rates import RATE_POINTS, loss, position_of

USUAL_LOSS = (0.45, 0.66, 0.90, 1.22, 1.62, 2.15)
"""About what a hyperprior's loss is at the rate points: losses are divided by it, so that no rate outweighs another."""

LOW_FIRST = 1.6
"""Qualities are low + (high - low) u^1.6, u uniform: low rates, which gain from more steps, have a larger share."""


class EveryRateLoss(nn.Module):
    """The mean over a batch of each crop's loss by the usual one, as a module for DistributedDataParallel.

    The model is in training mode; `lmbdas` are the lowest and the highest.
    """

    def __init__(self, model: Gained, lmbdas: tuple[float, float]):
        super().__init__()
        self.model = model
        self.low, self.high = map(position_of, lmbdas)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, H, W) in [0, 1] -> loss, bpp, MSE (of the [0, 1] scale), scalars."""
        quality = self.qualities(len(x)).to(x.device)
        mse, bits = self.errors(x, quality)
        bpp = sum(bits.values()) / x[0, 0].numel()  # (B)
        lmbda = between(torch.tensor(RATE_POINTS, device=x.device).log(), quality).exp()
        usual = between(torch.tensor(USUAL_LOSS, device=x.device), quality)
        return (loss(lmbda, bpp, mse) / usual).mean(), bpp.mean(), mse.mean()

    def errors(self, x: Tensor, quality: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """MSE (B) and bits by stream, (B) each."""
        prediction = self.model(x, quality)
        return (prediction.x_hat.float() - x).square().mean((1, 2, 3)), prediction.bits

    def qualities(self, count: int) -> Tensor:
        """So many of the range, one in each of as many equal parts of u."""
        u = (torch.arange(count) + torch.rand(count)) / count
        return self.low + (self.high - self.low) * u**LOW_FIRST


class PriorLoss(EveryRateLoss):
    """The same where only the prior learns: g_s is not run, its error is told by that of the latent.

    A prior moves x_hat only by the means that y_hat is rounded about, a little; to first order the error of pixels
    is then that of each channel times how strongly g_s answers to it, its `sensitivity`, (M).
    """

    def __init__(self, model: Gained, lmbdas: tuple[float, float], sensitivity: Tensor):
        super().__init__(model, lmbdas)
        self.sensitivity = sensitivity

    def errors(self, x: Tensor, quality: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """MSE (B), about, and bits by stream, (B) each."""
        rate = self.model.gains(quality)
        y = self.model.analyse(x, rate) * rate.gain
        y_hat, bits = self.model.model.code(y, rate)
        energy = ((y_hat - y) * rate.inverse).square().sum((2, 3))  # (B, M)
        return energy @ self.sensitivity / x[0].numel(), bits


def sensitivity(gained: Gained, x: Tensor, lmbdas: tuple[float, float], probes: int = 4) -> Tensor:
    """By how much the squared error of x_hat grows with that of each channel of g_s's input, (M).

    The mean over positions of the squared columns of the Jacobian, by random signs in pixels (Hutchinson 1989), on
    photographs x (B, 3, H, W) in [0, 1] at rates from the lowest of `lmbdas` to the highest.
    """
    quality = torch.linspace(*map(position_of, lmbdas), len(x), device=x.device)
    with torch.no_grad():
        rate = gained.gains(quality)
        y = gained.analyse(x, rate)
        y_hat = (y * rate.gain).round() * rate.inverse
    y_hat.requires_grad_()
    x_hat, generator = gained.synthesise(y_hat, rate), torch.Generator().manual_seed(0)
    total = torch.zeros(y.shape[1], device=x.device)
    for _ in range(probes):
        signs = (torch.randint(0, 2, x.shape, generator=generator) * 2.0 - 1).to(x.device)
        (gradient,) = torch.autograd.grad((x_hat * signs).sum(), y_hat, retain_graph=True)
        total += gradient.square().mean((0, 2, 3))
    return total / probes


def validated(lmbdas: tuple[float, float]) -> list[float]:
    """The whole qualities of a range, at which it is validated; its ends where there are none."""
    low, high = map(position_of, lmbdas)
    return [float(q) for q in range(math.ceil(low - 1e-6), math.floor(high + 1e-6) + 1)] or [low, high]


def usual_loss(quality: float) -> float:
    """Of `USUAL_LOSS`, between its points."""
    return between(torch.tensor(USUAL_LOSS), torch.tensor([quality])).item()
