"""The univariate densities: what must hold for any parameters, and that a fit fits; the Gaussian by quadrature."""

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from codec_lib.coding.range_coding import Writer
from codec_lib.networks import densities
from codec_lib.networks.densities import PiecewiseLinearDensity, UnivariateDensity

few = settings(max_examples=25)


def randomised(K: int, r: int, spread: float, seed: int, channels: int = 2) -> UnivariateDensity:
    """A density whose free parameters are Gaussian around those of a fresh one; double precision."""
    torch.manual_seed(seed)
    density = UnivariateDensity(channels, K, r, init_scale=2.0).double()
    with torch.no_grad():
        for p in density.parameters():
            p.add_(spread * torch.randn_like(p))
    return density


@st.composite
def univariate(draw, largest: float = 1.0) -> UnivariateDensity:
    K, r, seed = draw(st.integers(0, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 2**31))
    return randomised(K, r, draw(st.floats(0, largest)), seed)


def points(density: UnivariateDensity, x) -> torch.Tensor:
    """The same points in every channel, (C, n), ready for a gradient."""
    x = torch.as_tensor(x, dtype=density.b[0].dtype)
    return x.expand(density.channels, -1).clone().requires_grad_()


@torch.no_grad()
def quantiles(density: UnivariateDensity, logits) -> torch.Tensor:
    """Where the first channel's logit has these values, by bisection. (n) -> (n)."""
    target = torch.as_tensor(logits, dtype=torch.float64)
    low, high = torch.full_like(target, -1.0), torch.full_like(target, 1.0)

    def value(x: torch.Tensor) -> torch.Tensor:
        return density.logits(points(density, x))[0]

    while (value(low) > target).any():
        low *= 2
    while (value(high) < target).any():
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        below = value(middle) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


@few
@given(univariate())
def test_density_integrates_to_one(density):
    # Equal steps of the logit, not of x, so that bumps of any width are met.
    edges = quantiles(density, np.linspace(-30, 30, 41)).tolist()

    def p(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return density.pdf(points(density, x))[0].numpy()

    total = sum(integrate.fixed_quad(p, a, b, n=64)[0] for a, b in pairwise(edges))
    assert total == pytest.approx(1, abs=1e-6)


@few
@given(univariate(largest=30.0))
def test_cumulative_is_monotone_and_bounded_even_for_large_parameters(density):
    x = points(density, torch.linspace(-50, 50, 2001))
    c, p = density.cdf(x), density.pdf(x)
    assert (c.diff() >= 0).all() and (c >= 0).all() and (c <= 1).all()
    assert (p >= 0).all() and p.isfinite().all()


@few
@given(univariate())
def test_cumulative_runs_from_zero_to_one(density):
    c = density.cdf(points(density, quantiles(density, [-40, 40])))[0]
    assert c[0].item() == pytest.approx(0, abs=1e-12) and c[1].item() == pytest.approx(1, abs=1e-12)


@few
@given(univariate(largest=2.0))
def test_pdf_is_the_derivative_of_cdf(density):
    x = points(density, torch.linspace(-20, 20, 201))
    (slope,) = torch.autograd.grad(density.cdf(x).sum(), x)
    torch.testing.assert_close(density.pdf(x), slope, rtol=1e-8, atol=1e-12)


def test_pdf_has_a_right_tail_like_its_left_one():
    # In single precision c is 1 from a logit of 17 on; p must not vanish there.
    density = UnivariateDensity(1, K=0, init_scale=1.0)
    x = torch.tensor([[-50.0, 50.0]])
    p = density.pdf(x)[0]
    assert p[1] > 0
    torch.testing.assert_close(p[0], p[1])


@few
@given(univariate())
def test_log_prob_is_the_log_of_a_difference_of_cdfs(density):
    x = points(density, torch.linspace(-20, 20, 81))
    difference = density.cdf(x + 0.5) - density.cdf(x - 0.5)
    accurate = (density.logits(x + 0.5).abs() < 10) & (density.logits(x - 0.5).abs() < 10) & (difference > 1e-5)
    log_p = density.log_prob(x)
    assert (log_p <= 0).all()
    torch.testing.assert_close(log_p[accurate], difference[accurate].log(), rtol=1e-9, atol=1e-9)


@few
@given(st.floats(-300, 300), st.floats(1e-3, 100))
def test_log_bin_probability_against_sixty_digits(lower, gap):
    upper = lower + gap
    with localcontext(prec=60):

        def sigmoid(x: float) -> Decimal:
            return 1 / (1 + (-Decimal(x)).exp())

        # For large logits the complements, which do not round to 1 even with 60 digits.
        exact = sigmoid(upper) - sigmoid(lower) if lower < 0 else sigmoid(-lower) - sigmoid(-upper)
        expected = float(exact.ln())
    given_logits = [torch.tensor([v], dtype=torch.float64) for v in (lower, upper)]
    assert densities.log_bin_probability(*given_logits).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("distance", [-1e4, -300.0, 300.0, 1e4])
@pytest.mark.parametrize("K", [0, 4])
def test_far_symbols_have_a_finite_cost_and_a_gradient_home(K, distance):
    torch.manual_seed(0)
    density = UnivariateDensity(2, K, init_scale=1.0)  # single precision, as in a codec
    y = points(density, [distance])
    bits = -density.log_prob(y) / math.log(2)
    gradients = torch.autograd.grad(bits.sum(), [y, *density.parameters()])
    assert bits.isfinite().all() and (bits > 100).all()
    assert (gradients[0].sign() == math.copysign(1, distance)).all()
    assert all(g.isfinite().all() for g in gradients) and gradients[1].abs().max() > 0


@few
@given(st.integers(0, 4), st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=4), st.integers(0, 2**31))
def test_initial_width_is_the_one_asked_for_in_each_channel(K, scales, seed):
    torch.manual_seed(seed)
    density = UnivariateDensity(len(scales), K, init_scale=torch.tensor(scales)).double()
    x = points(density, [-1.0, 1.0]) * torch.tensor(scales, dtype=torch.float64)[:, None]
    # A logistic distribution of scale s has the slope 1 / s in its logit everywhere.
    slopes = density.logits(x).diff()[:, 0] / 2
    torch.testing.assert_close(slopes, torch.ones_like(slopes), rtol=1e-4, atol=0)


def test_initial_location_is_near_zero():
    torch.manual_seed(0)
    with torch.no_grad():
        c = UnivariateDensity(100, init_scale=5.0).cdf(torch.zeros(100, 1))
    assert c.min() > 0.02 and c.max() < 0.98 and abs(c.mean() - 0.5) < 0.1


@few
@given(univariate(), st.floats(0.01, 100))
def test_rescale_gives_the_density_of_the_multiple(density, gain):
    x = points(density, torch.linspace(-10, 10, 41))
    with torch.no_grad():
        c, p = density.cdf(x), density.pdf(x)
        density.rescale(gain)
        torch.testing.assert_close(density.cdf(gain * x), c, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(density.pdf(gain * x) * gain, p, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("K", "r", "per_channel"), [(0, 3, 2), (1, 3, 13), (2, 3, 28), (3, 3, 43), (4, 3, 58)])
def test_parameter_count(K, r, per_channel):
    density = UnivariateDensity(5, K, r)
    assert sum(p.numel() for p in density.parameters()) == 5 * per_channel


def test_channels_are_independent():
    density = randomised(K=4, r=3, spread=0.5, seed=0, channels=3)
    x = torch.randn(3, 7, dtype=torch.float64)
    with torch.no_grad():
        together = density.log_prob(x)
        for p in density.parameters():
            p[0] = 0.3
        torch.testing.assert_close(density.log_prob(x)[1:], together[1:], rtol=0, atol=0)
        assert not torch.allclose(density.log_prob(x)[0], together[0])


@pytest.mark.parametrize("arguments", [{"K": -1}, {"r": 0}, {"channels": 0}])
def test_impossible_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match="K >= 0"):
        UnivariateDensity(**({"channels": 1} | arguments))


@st.composite
def piecewise_linear(draw) -> PiecewiseLinearDensity:
    low, width, knots = draw(st.floats(-50, 50)), draw(st.floats(0.5, 100)), draw(st.integers(2, 40))
    density = PiecewiseLinearDensity(low, low + width, knots).double()
    torch.manual_seed(draw(st.integers(0, 2**31)))
    with torch.no_grad():
        density.height.normal_(0, draw(st.floats(0, 5)))
    return density


@few
@given(piecewise_linear())
def test_piecewise_linear_density_integrates_to_its_cdf(density):
    x = torch.linspace(density.low, density.high, 64 * (density.knots - 1) + 1, dtype=torch.float64)  # knots included
    with torch.no_grad():
        p, c = density.pdf(x[1:-1]), density.cdf(x)
    assert (p >= 0).all() and (c.diff() >= 0).all()
    assert c[0].item() == 0 and c[-1].item() == pytest.approx(1, abs=1e-12)
    # On cells without a knot inside, the trapezoid rule is exact for a line.
    torch.testing.assert_close(c.diff()[1:-1], (p[1:] + p[:-1]) / 2 * x.diff()[1:-1], rtol=1e-6, atol=1e-9)


def test_piecewise_linear_density_ends_at_its_support():
    density = PiecewiseLinearDensity(-2, 3, knots=4)
    outside = torch.tensor([-9.0, -2.01, 3.01, 50.0])
    assert density.pdf(outside).tolist() == [0, 0, 0, 0]
    assert density.cdf(outside).tolist() == pytest.approx([0, 0, 1, 1])
    assert density.pdf(torch.tensor([0.0])).item() == pytest.approx(1 / 5)  # fresh: uniform


@pytest.mark.parametrize("arguments", [(1.0, 1.0, 5), (0.0, 1.0, 1)])
def test_impossible_support_is_refused(arguments):
    with pytest.raises(ValueError, match="knots >= 2"):
        PiecewiseLinearDensity(*arguments)


def two_bumps() -> torch.Tensor:
    """Samples of N(-3, 1/2) and N(3, 1), half of each, (4000); their entropy is about 2.54 bits."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.concatenate([rng.normal(-3, 0.5, 2000), rng.normal(3, 1.0, 2000)]))


# Both bumps are Gaussian and hardly overlap: 1 bit for which of them, and half of each entropy.
TWO_BUMPS_BITS = 1 + 0.5 * math.log2(2 * math.pi * math.e) + 0.5 * math.log2(0.5)


def test_fit_reaches_the_entropy():
    x = two_bumps()[None]
    torch.manual_seed(0)
    density = UnivariateDensity(1, K=3, init_scale=3.0).double()
    seen = []
    curve = densities.fit(density, lambda: -density.pdf(x).log().mean(), 300, lr=0.05, snapshot=seen.append)
    assert len(curve) == 300 and seen == list(range(300))
    assert curve[0] > TWO_BUMPS_BITS + 0.5
    assert abs(curve[-1] - TWO_BUMPS_BITS) < 0.05


def test_piecewise_linear_fit_reaches_the_entropy():
    x = two_bumps()
    density = PiecewiseLinearDensity(-8, 8, knots=60).double()
    curve = densities.fit(density, lambda: -density.pdf(x).log().mean(), 500, lr=0.1)
    assert curve[0] == pytest.approx(4)  # uniform on a width of 16
    assert abs(curve[-1] - TWO_BUMPS_BITS) < 0.05


# --- the Gaussian conditional ---------------------------------------------------------------


def log_mass(residual: float, scale: float) -> float:
    """log of N(0, scale^2)'s mass on a unit bin around `residual`, by quadrature.

    With a the bin's edge nearer to zero, in deviations, it is the density there times the integral of
    exp(-a t - t^2 / 2) over the width of the bin, 1 / scale, which neither overflows nor vanishes.
    """
    a, width = (abs(residual) - 0.5) / scale, 1 / scale
    last = min(width, 50 / a) if a > 0 else width
    integral = integrate.fixed_quad(lambda t: np.exp(-a * t - t * t / 2), 0, last, n=100)[0]
    return -a * a / 2 - math.log(2 * math.pi) / 2 + math.log(integral)


def mass(residual: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """The same by scipy, where it does not vanish."""
    return stats.norm.sf((abs(residual) - 0.5) / scale) - stats.norm.sf((abs(residual) + 0.5) / scale)


RESIDUALS = [0.0, 0.3, -0.5, 1.0, -2.0, 7.25, 40.0, -300.0, 3e3, -3e4]
LOG2_SCALES = [-3.0, -1.7, 0.0, 2.5, 5.0, 7.0]


@pytest.mark.parametrize(("dtype", "relative", "absolute"), [(torch.float64, 1e-9, 1e-9), (torch.float32, 1e-5, 1e-4)])
def test_the_gaussians_mass_on_a_bin_from_the_middle_to_far_tails(dtype, relative, absolute):
    for log2_scale in LOG2_SCALES:
        residual = torch.tensor(RESIDUALS, dtype=dtype)
        log_p = densities.gaussian_log_prob(residual, torch.full_like(residual, log2_scale))
        expected = [log_mass(r, 2.0**log2_scale) for r in RESIDUALS]
        assert log_p.dtype == dtype
        assert log_p.tolist() == pytest.approx(expected, rel=relative, abs=absolute)


def test_the_gaussians_mass_near_its_mean_is_scipys():
    residual, log2_scale = np.meshgrid(np.linspace(-4, 4, 33), np.linspace(-1, 7, 33))
    log_p = densities.gaussian_log_prob(torch.from_numpy(residual), torch.from_numpy(log2_scale))
    np.testing.assert_allclose(log_p, np.log(mass(residual, 2.0**log2_scale)), rtol=1e-9)


@pytest.mark.parametrize("log2_scale", LOG2_SCALES)
def test_the_gaussians_bins_are_a_probability_distribution(log2_scale):
    for mean in (0.0, 0.37):
        residual = torch.arange(-2000.0, 2001, dtype=torch.float64) - mean
        log_p = densities.gaussian_log_prob(residual, torch.full_like(residual, log2_scale))
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)
        mirrored = densities.gaussian_log_prob(-residual, torch.full_like(residual, log2_scale))
        assert torch.equal(mirrored, log_p)


def slopes(residual: float, log2_scale: float) -> tuple[float, float]:
    """Derivatives of the cost, in single precision, with respect to both."""
    given_values = [torch.tensor(v, requires_grad=True) for v in (residual, log2_scale)]
    return tuple(g.item() for g in torch.autograd.grad(-densities.gaussian_log_prob(*given_values), given_values))


@pytest.mark.parametrize("log2_scale", [*LOG2_SCALES, -3.5, 7.5])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("deviations", [50, 5_000, 240_000])
def test_far_residuals_pull_the_mean_towards_them_and_the_scale_up(log2_scale, sign, deviations):
    scale = 2.0 ** min(max(log2_scale, -3), 7)
    to_residual, to_scale = slopes(sign * (0.5 + deviations * scale), log2_scale)
    assert to_residual * sign * scale == pytest.approx(deviations, rel=0.06)  # as of r^2 / (2 scale^2)
    expected = -(deviations**2) * math.log(2)
    assert to_scale == (0 if log2_scale > 7 else pytest.approx(expected, rel=0.06))


def test_gradients_are_the_derivatives():
    residual = torch.tensor([0.3, -2.0, 7.25, 40.0, -300.0], dtype=torch.float64, requires_grad=True)
    log2_scale = torch.tensor([-2.5, -1.0, 0.5, 3.0, 6.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(densities.gaussian_log_prob, (residual, log2_scale))


def test_scales_are_bounded_with_a_gradient_that_leads_back():
    residual = torch.tensor([0.0, 1.0, -4.0, 1e4])
    for bound, beyond in ((-3.0, -50.0), (7.0, 50.0)):
        at, past = (densities.gaussian_log_prob(residual, torch.full((4,), v)) for v in (bound, beyond))
        assert torch.equal(at, past)
    assert slopes(4.0, -9.0)[1] < 0 == slopes(0.0, -9.0)[1]  # below, one may only want to rise
    assert slopes(0.0, 9.0)[1] > 0 == slopes(1e4, 9.0)[1]


@pytest.fixture(scope="module")
def gaussian() -> list[tuple[float, int, np.ndarray]]:
    """Of each table of the Gaussian: its scale, first symbol, and frequencies, the escape's last."""
    tables = densities.gaussian_tables()
    assert len(tables.widths) == densities.SCALES == 161
    parts = np.split(tables.frequencies, np.cumsum(tables.widths)[:-1])
    scales = [2.0 ** (-3 + k / 16) for k in range(densities.SCALES)]
    return list(zip(scales, tables.offsets.tolist(), parts, strict=True))


def test_gaussian_tables_are_symmetric_and_reach_as_far_as_they_must(gaussian):
    assert gaussian[-1][0] == 128
    for scale, offset, frequencies in gaussian:
        inside = frequencies[:-1].astype(np.int64)
        assert offset == -(len(inside) // 2)  # the middle is zero
        assert np.abs(inside - inside[::-1]).max() <= 1
        assert frequencies.sum() == 2**16 and frequencies.min() >= 1
        assert 2 * stats.norm.sf((0.5 - offset) / scale) < 2**-15
        assert len(frequencies) <= max(4, 4 * 4.3 * scale + 8)  # no more than padding makes it


def cost(scale: float, offset: int, frequencies: np.ndarray) -> tuple[float, float]:
    """Bits a symbol of N(0, scale^2) by the table, escapes at two bytes more, and its entropy."""
    p = mass(offset + np.arange(len(frequencies) - 1), scale)
    outside = 2 * stats.norm.sf((0.5 - offset) / scale)
    bits = 16 - np.log2(frequencies)
    return p @ bits[:-1] + outside * (bits[-1] + 16), -(p @ np.log2(p))


def test_the_tables_cost_hardly_more_than_the_gaussian(gaussian):
    """Least frequencies of 1 cost the narrowest tables some 2e-5 bits a symbol, and the widest up to 0.3 %."""
    for scale, *table in gaussian:
        bits, entropy = cost(scale, *table)
        assert entropy < bits < entropy * (1.001 if scale < 40 else 1.003) + 3e-5


def test_a_scale_between_two_tables_costs_hardly_more_either(gaussian):
    excess = []
    for scale, *table in gaussian[16:129]:  # from 1/4 to 32
        for part in (-0.4, -0.2, 0.2, 0.4):  # of the way to the next table
            bits, entropy = cost(scale * 2 ** (part / 16), *table)
            excess.append(bits / entropy - 1)
    assert 0 < max(excess) < 0.004 and np.mean(excess) < 0.001


def test_bits_far_out_are_those_of_an_escape_and_near_those_of_the_gaussian():
    residual = torch.tensor([0.0, 1, 3, 30, 100, 1000, -1000, 1e5])
    log2_scale = torch.zeros(8)
    gaussian = -densities.gaussian_log_prob(residual, log2_scale) / math.log(2)
    bits = densities.gaussian_bits(residual, log2_scale)
    assert torch.equal(bits[:3], gaussian[:3])
    assert bits[3:].tolist() == [24, 32, 32, 32, 40]  # 16 and a byte for every seven bits of the distance
    assert (gaussian[3:] > 100).all()


def test_an_escape_takes_the_bits_that_are_charged_for_it():
    """The stream of one far symbol among many zeros grows by about that."""
    tables = densities.gaussian_tables()
    for far in (30, 1000, 100_000):
        sizes = []
        for value in (0, far):
            symbols = np.zeros(1000, np.int32)
            symbols[500::4] = value
            writer = Writer(tables, "constriction")
            writer.put(symbols, np.full(1000, 48))
            sizes.append(8 * len(writer.finish()))
        charged = densities.gaussian_bits(torch.tensor([float(far)]), torch.zeros(1)).item()
        assert (sizes[1] - sizes[0]) / 125 == pytest.approx(charged, abs=3)
