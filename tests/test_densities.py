"""The univariate densities: what must hold for any parameters, and that a fit fits."""

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from codec_lib import densities
from codec_lib.densities import PiecewiseLinearDensity, UnivariateDensity

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


def test_cross_entropy_of_fair_coins_is_one_bit():
    assert densities.cross_entropy_bits(torch.full((10,), 0.5).log2()).item() == 1
