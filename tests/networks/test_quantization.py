"""Noise, rounding, and the two gradients that rounding does not have."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec_lib.networks.quantization import add_noise, lower_bound, round_to, straight_through

reals = st.floats(-1e4, 1e4, width=32)
grid = st.integers(-1000, 1000)


def test_noise_is_uniform_on_one_step():
    y = torch.zeros(200_000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noise = add_noise(y)
    assert noise.min() >= -0.5
    assert noise.max() < 0.5
    assert noise.min() < -0.4999
    assert noise.max() > 0.4999
    # Standard errors over 200,000 draws: 0.00065 of the mean, 0.00017 of the variance 1/12.
    assert noise.mean().abs() < 0.003
    assert (noise.var() - 1 / 12).abs() < 0.001
    assert (y == 0).all()


def test_noise_moves_with_y_and_passes_its_gradient():
    y = torch.linspace(-3, 3, 50, requires_grad=True)
    noisy = add_noise(y)
    assert ((noisy - y).abs() <= 0.5).all()
    assert not torch.equal(noisy, y)
    noisy.sum().backward()
    assert torch.equal(y.grad, torch.ones(50))


@given(y=st.lists(reals, min_size=1, max_size=20), mean=grid)
def test_symbols_are_integers_and_the_reconstruction_is_within_half_a_step(y, mean):
    y = torch.tensor(y)
    symbol, y_hat = round_to(y, float(mean))
    assert torch.equal(symbol, symbol.round())
    assert torch.equal(y_hat, symbol + mean)  # what a decoder computes from the symbols
    assert ((y_hat - y).abs() <= 0.5).all()


@given(symbols=st.lists(st.integers(-30_000, 30_000), min_size=1, max_size=20), mean=grid)
def test_a_reconstruction_is_a_fixed_point(symbols, mean):
    y_hat = torch.tensor(symbols, dtype=torch.float32) + mean
    again, y_again = round_to(y_hat, float(mean))
    assert again.tolist() == symbols
    assert torch.equal(y_again, y_hat)


def test_the_default_mean_is_zero_and_ties_go_to_even():
    y = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, 0.51])
    symbol, y_hat = round_to(y)
    assert symbol.tolist() == [-2, -2, 0, 0, 2, 2, 0, 1]
    assert torch.equal(symbol, y_hat)


def test_a_mean_is_subtracted_before_rounding_and_broadcasts():
    y = torch.tensor([[0.4, 1.4], [7.5, -7.5]])
    mean = torch.tensor([[1.0], [-2.0]])
    symbol, y_hat = round_to(y, mean)
    assert symbol.tolist() == [[-1, 0], [10, -6]]  # 9.5 and -5.5 are ties
    assert y_hat.tolist() == [[0, 1], [8, -8]]


def test_straight_through_has_one_value_and_the_other_gradient():
    y = torch.tensor([0.2, 1.7, -3.4], requires_grad=True)
    scale = torch.tensor(3.0, requires_grad=True)
    y_hat = torch.round(y) * scale
    out = straight_through(y, y_hat)
    assert torch.allclose(out, torch.tensor([0.0, 6.0, -9.0]))
    (out * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert y.grad.tolist() == [1, 10, 100]
    assert scale.grad is None


@given(x=st.lists(reals, min_size=1, max_size=20), bound=st.floats(-10, 10, width=32))
def test_lower_bound_is_the_maximum(x, bound):
    x = torch.tensor(x)
    assert torch.equal(lower_bound(x, bound), torch.maximum(x, torch.tensor(bound)))


@pytest.mark.parametrize(
    ("x", "slope", "expected"),
    [
        (2.0, 1.0, 1.0),  # free: whatever the direction
        (2.0, -1.0, -1.0),
        (1.0, 1.0, 1.0),  # at the bound it counts as free
        (1.0, -1.0, -1.0),
        (0.5, 1.0, 0.0),  # below, and a step against the gradient would lower x further
        (0.5, -1.0, -1.0),  # below, and a step would raise x
        (0.5, 0.0, 0.0),
    ],
)
def test_lower_bound_lets_a_gradient_through_where_x_is_free_or_would_rise(x, slope, expected):
    x = torch.tensor(x, requires_grad=True)
    (slope * lower_bound(x, 1.0)).backward()
    assert x.grad.item() == expected


def test_a_value_below_its_bound_recovers_by_gradient_descent():
    """The plain clamp stays below for ever."""
    distances = {}
    for name, bounded in (("clamp", lambda x: x.clamp(min=0.1)), ("lower_bound", lambda x: lower_bound(x, 0.1))):
        x = torch.tensor(-1.0, requires_grad=True)
        for _ in range(50):
            (slope,) = torch.autograd.grad((bounded(x) - 2).square(), x)
            x = (x - 0.1 * slope).detach().requires_grad_()
        distances[name] = abs(x.item() - 2)
    assert distances["clamp"] == 3
    assert distances["lower_bound"] < 0.01
