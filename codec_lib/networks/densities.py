"""Probability models: of one real variable per channel, fitted by likelihood, and a Gaussian given its scale.

All give the probability of a unit-width bin in the log domain, so that a symbol far in
the tail still has a gradient: with c = sigmoid(l) and upper and lower logits u and l,

    log(sigmoid(u) - sigmoid(l)) = logsigmoid(u) + logsigmoid(-l) + log(1 - exp(l - u)).
"""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.coding.integer_tables import WIDEST, Tables, build_tables
from codec_lib.networks.layers import Learning, per_channel
from codec_lib.networks.quantization import add_noise, lower_bound


def log_bin_probability(lower: Tensor, upper: Tensor) -> Tensor:
    """log(sigmoid(upper) - sigmoid(lower)), exact to float precision wherever upper > lower."""
    gap = lower_bound(upper - lower, 1e-6)
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-gap))


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))  # log(expm1(y)) without its overflow


class UnivariateDensity(nn.Module):
    """The non-parametric density of Balle et al. 2018, appendix 6.1, one per channel.

        c = f_{K+1} o f_K o ... o f_1                      cumulative, R -> (0, 1)
        f_k(x) = g_k(H_k x + b_k),  g_k(x) = x + a_k * tanh(x)          1 <= k <= K
        f_{K+1}(x) = sigmoid(H_{K+1} x + b_{K+1})
        H = softplus(H_hat) > 0,    a = tanh(a_hat) in (-1, 1)          so c is monotone

    K counts the hidden layers g_k, as CompressAI and the reports do (the paper's own K also counts
    the sigmoid layer). Each hidden layer has r units: 58 parameters a channel for K = 4, r = 3.

    Args:
        channels: C, independent densities.
        K: hidden layers, >= 0.
        r: units of a hidden layer.
        init_scale: width of the initial density, a number or one per channel.
    """

    def __init__(self, channels: int, K: int = 4, r: int = 3, init_scale: float | Tensor = 10.0):
        super().__init__()
        if K < 0 or r < 1 or channels < 1:
            raise ValueError(f"need K >= 0, r >= 1 and channels >= 1, got {K=}, {r=}, {channels=}")
        self.channels, self.K = channels, K
        sizes = [1] + [r] * K + [1]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.H = nn.ParameterList([nn.Parameter(torch.zeros(channels, o, i)) for o, i in shapes])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(channels, o, 1)) for o, _ in shapes])
        self.a = nn.ParameterList([nn.Parameter(torch.zeros(channels, r, 1)) for _ in range(K)])
        self.stored_as = {"": torch.float32}
        self.initialise(init_scale)

    @torch.no_grad()
    def initialise(self, init_scale: float | Tensor) -> None:
        """Start as a logistic-like density whose width is `init_scale` (number or (C,))."""
        scale = torch.as_tensor(init_scale, dtype=torch.float32).expand(self.channels)
        gain = (1 / scale) ** (1 / (self.K + 1))  # each layer takes an equal part of 1 / scale
        for H, b in zip(self.H, self.b, strict=True):
            value = gain / H.shape[1]
            H.copy_(_inverse_softplus(value)[:, None, None].expand_as(H))
            b.uniform_(-0.5, 0.5)
        self.b[-1].zero_()
        for a in self.a:
            a.zero_()

    def learning(self) -> dict[nn.Parameter, Learning]:
        """Ten times as fast as others: these few parameters see every symbol."""
        return dict.fromkeys(self.parameters(), Learning(10.0))

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        """Become the density of gain * x; a number, or one for each channel (C)."""
        H = F.softplus(self.H[0].double()) / per_channel(gain)
        self.H[0].copy_(_inverse_softplus(H))

    def logits(self, x: Tensor) -> Tensor:
        """The argument of the last sigmoid. (C, n) -> (C, n), increasing in x."""
        h = x[:, None, :]  # (C, 1, n)
        for k, (H, b) in enumerate(zip(self.H, self.b, strict=True)):
            h = torch.matmul(F.softplus(H), h) + b  # (C, r, n)
            if k < self.K:
                h = h + torch.tanh(self.a[k]) * torch.tanh(h)
        return h[:, 0, :]

    def cdf(self, x: Tensor) -> Tensor:
        """c(x) in (0, 1). (C, n) -> (C, n)."""
        return torch.sigmoid(self.logits(x))

    def pdf(self, x: Tensor) -> Tensor:
        """p(x) = f'_{K+1} ... f'_1, the product of the layers' Jacobians. (C, n) -> (C, n)."""
        h = x[:, None, :]
        jacobian = torch.ones_like(h)  # d h / d x
        for k, (H, b) in enumerate(zip(self.H, self.b, strict=True)):
            H = F.softplus(H)
            h, jacobian = torch.matmul(H, h) + b, torch.matmul(H, jacobian)
            if k < self.K:
                a, t = torch.tanh(self.a[k]), torch.tanh(h)
                h, jacobian = h + a * t, jacobian * (1 + a * (1 - t * t))
        slope = torch.sigmoid(h) * torch.sigmoid(-h)  # not c * (1 - c): that is 0 as soon as c rounds to 1
        return (slope * jacobian)[:, 0, :]

    def log_prob(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """log of the probability of [x - 1/2, x + 1/2] / gain, nats. (C, n) -> (C, n), <= 0."""
        return log_bin_probability(self.logits((x - 0.5) / gain), self.logits((x + 0.5) / gain))


def density_bits(density: UnivariateDensity, latent: Tensor, gain: float | Tensor = 1.0) -> Tensor:
    """Ideal code length of a latent whose channels have a density each, bits. (B, M, h, w) -> (B,).

    The latent is `gain` times what the densities are of, a number or (B, M, 1, 1).
    """
    B, M = latent.shape[:2]

    def by_channel(values: Tensor) -> Tensor:
        return values.transpose(0, 1).reshape(M, -1)  # (M, B h w)

    with torch.autocast(latent.device.type, enabled=False):
        gains = by_channel(gain.expand_as(latent)) if torch.is_tensor(gain) and gain.dim() else gain
        log_p = density.log_prob(by_channel(latent), gains)
    return log_p.reshape(M, B, -1).sum((0, 2)) / -math.log(2)


class PiecewiseLinearDensity(nn.Module):
    """A density that is linear between equally spaced knots, zero outside [low, high].

    The knots' heights are softplus of free parameters, normalised by the trapezoid rule, so p
    integrates to 1 exactly and c is a monotone piecewise quadratic.

    Args:
        low, high: support.
        knots: number of knots, >= 2.
    """

    def __init__(self, low: float, high: float, knots: int = 60):
        super().__init__()
        if not (high > low and knots >= 2):
            raise ValueError(f"need high > low and knots >= 2, got {low=}, {high=}, {knots=}")
        self.low, self.high, self.knots = low, high, knots
        self.height = nn.Parameter(torch.zeros(knots))

    def _at(self, x: Tensor) -> tuple[Tensor, float, Tensor, Tensor]:
        """The knots' heights and distance; the knot left of each x, and what part of the way to the next x lies."""
        h = F.softplus(self.height)
        width = (self.high - self.low) / (self.knots - 1)
        position = ((x - self.low) / width).clamp(0, self.knots - 1)
        left = position.floor().long().clamp(max=self.knots - 2)
        return h / (width * (h.sum() - (h[0] + h[-1]) / 2)), width, left, position - left

    def pdf(self, x: Tensor) -> Tensor:
        """p(x) >= 0. (n) -> (n)."""
        p, _, left, t = self._at(x)
        inside = (x >= self.low) & (x <= self.high)
        return torch.where(inside, p[left] * (1 - t) + p[left + 1] * t, torch.zeros_like(x))

    def cdf(self, x: Tensor) -> Tensor:
        """c(x) in [0, 1]. (n) -> (n)."""
        p, width, left, t = self._at(x)
        cells = width * (p[:-1] + p[1:]) / 2
        below = torch.cat([cells.new_zeros(1), cells.cumsum(0)])
        return below[left] + width * (p[left] * t + (p[left + 1] - p[left]) * t * t / 2)


# --- the Gaussian conditional ---------------------------------------------------------------

SCALES_PER_OCTAVE = 16
LOG2_SCALE_MIN, LOG2_SCALE_MAX = -3, 7
SCALES = SCALES_PER_OCTAVE * (LOG2_SCALE_MAX - LOG2_SCALE_MIN) + 1
"""Standard deviations that have a table: 2^-3 to 2^7, sixteen an octave."""

TAIL = 2.0**-17
"""The probability on either side that a table leaves to its escape, at most."""


class _LogNdtr(torch.autograd.Function):
    """log of the normal cumulative; torch's own gradient is off by 1e8 in float32 at -3e4, and infinite beyond."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.special.log_ndtr(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        return grad * math.sqrt(2 / math.pi) / torch.special.erfcx(x * -(0.5**0.5))


def log2_scale_of(table: Tensor | int) -> Tensor | float:
    """log2 of the standard deviation that a table, 0 to SCALES - 1, is made for."""
    return LOG2_SCALE_MIN + table / SCALES_PER_OCTAVE


def gaussian_log_prob(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """log of the mass that N(0, scale^2) has on [residual - 1/2, residual + 1/2], nats.

    The factor of Balle et al. 2018, eq. 8, and of Minnen et al. 2018, eq. 3, in the log domain: however
    many deviations a residual lies out, it still has a gradient. Scales below 2^-3 count as 2^-3, with
    a gradient that can still raise them, and likewise above 2^7.

    Args:
        residual: y_hat - mean, any shape and value.
        log2_scale: log2 of the standard deviation, of the same shape.
    """
    log2_scale = -lower_bound(-lower_bound(log2_scale, LOG2_SCALE_MIN), -LOG2_SCALE_MAX)
    inverse = torch.exp2(-log2_scale)
    far = residual.abs()  # by symmetry the bin's upper edge lies on the side where the mass is small
    upper = _LogNdtr.apply((0.5 - far) * inverse)
    lower = _LogNdtr.apply((-0.5 - far) * inverse)
    gap = lower_bound(upper - lower, 1e-6)
    return upper + torch.log(-torch.expm1(-gap))


def gaussian_bits(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """Ideal code length of symbols under the Gaussian with an escape, bits; for evaluation.

    Far out, where a Gaussian would charge hundreds of bits, a file writes an escape: the last symbol of
    a table, at most 16 bits, and the distance in groups of seven bits. Arguments as `gaussian_log_prob`.
    """
    escape = 16 + 8 * (1 + torch.floor(torch.log2(1 + 2 * residual.abs()) / 7))
    return torch.minimum(gaussian_log_prob(residual, log2_scale) / -math.log(2), escape)


def gaussian_tables() -> Tables:
    """Integer tables of N(0, scale^2) on unit bins around zero, one for each of the `SCALES`, float64.

    A table reaches to where less than `TAIL` is left on either side; the rest is its escape.
    """
    from scipy.special import ndtr, ndtri  # needed by those who make weights, not by those who use them

    probabilities = []
    for k in range(SCALES):
        scale = 2.0 ** log2_scale_of(k)
        reach = max(1, math.ceil(-scale * float(ndtri(TAIL)) - 0.5))
        edges = (np.arange(-reach, reach + 2) - 0.5) / scale
        inside = np.diff(ndtr(edges))
        inside = (inside + inside[::-1]) / 2  # what rounding leaves unequal
        probabilities.append((-reach, np.append(inside, max(1 - inside.sum(), 0.0))))
    return build_tables(probabilities)


def fit(density: nn.Module, negative_log_likelihood, steps: int, lr: float, snapshot=None) -> list[float]:
    """Fit by Adam; the short loop that notebook 01 and the codecs' initialisation share.

    Args:
        density: module whose parameters move.
        negative_log_likelihood: called without arguments each step, gives a scalar in nats.
        steps, lr: number of Adam steps; learning rate, cosine-decayed to 1 % of it.
        snapshot: called as `snapshot(step)` after each step, for convergence curves.

    Returns:
        The loss in bits before each step.
    """
    optimiser = torch.optim.Adam(density.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=lr / 100)
    curve = []
    for step in range(steps):
        optimiser.zero_grad()
        loss = negative_log_likelihood()
        loss.backward()
        optimiser.step()
        schedule.step()
        curve.append(loss.item() / math.log(2))
        if snapshot is not None:
            snapshot(step)
    return curve


@torch.enable_grad()
def fit_density(density: UnivariateDensity, latent: Tensor) -> None:
    """Fit the densities of channels to a latent under noise, (n, M, h, w)."""
    samples = latent.detach().transpose(0, 1).flatten(1)  # (channels, n)
    density.initialise((3 * samples.std(1)).clamp(min=0.5))
    samples = samples[:, torch.randperm(samples.shape[1])[:2048]]
    fit(density, lambda: -density.log_prob(add_noise(samples)).mean(), steps=200, lr=2e-2)


_REACH = 1 << 13  # integers on either side of zero among which a table's support is looked for


@torch.no_grad()
def frozen_tables(density: UnivariateDensity) -> Tables:
    """Integer tables of every channel's unit bins, float64 on the CPU; what a codec stores.

    A table reaches to where less than `TAIL` is left on either side; the rest is its escape.
    """
    exact = copy.deepcopy(density).double().cpu()
    edges = torch.arange(-_REACH, _REACH + 2, dtype=torch.float64) - 0.5
    logits = exact.logits(edges.expand(density.channels, -1))
    below, above = torch.sigmoid(logits).numpy(), torch.sigmoid(-logits).numpy()
    probabilities = []
    for c, rest in zip(below, above, strict=True):
        p = np.diff(c)
        mode = int(p.argmax())
        first = min(mode, int((c[1:] <= TAIL).sum()))  # c rises, rest falls
        last = max(mode, len(p) - 1 - int((rest[:-1] <= TAIL).sum()))
        if last - first + 2 > WIDEST:  # a density this wide keeps its middle
            first = max(first, min(mode - WIDEST // 2, last - WIDEST + 2))
            last = first + WIDEST - 2
        inside = p[first : last + 1]
        probabilities.append((first - _REACH, np.append(inside, max(1 - inside.sum(), 0.0))))
    return build_tables(probabilities)
