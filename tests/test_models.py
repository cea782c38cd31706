"""What a model says a picture costs, against the same sum written out in float64; sizes and carrying weights over."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from codec_lib import models
from codec_lib.errors import CodecError, Unsupported
from codec_lib.models import FactorizedPrior, Prediction


def logits(model: FactorizedPrior, y: np.ndarray) -> np.ndarray:
    """The argument of the density's sigmoid by the paper's formulas, float64. (M, n) -> (M, n)."""
    density = model.density_y
    H, b, a = ([p.detach().double().numpy() for p in group] for group in (density.H, density.b, density.a))
    h = y[:, None, :]
    for k in range(len(H)):
        h = np.logaddexp(0, H[k]) @ h + b[k]
        if k < len(a):
            h = h + np.tanh(a[k]) * np.tanh(h)
    return h[:, 0]


def bin_probability(model: FactorizedPrior, y_hat: np.ndarray) -> np.ndarray:
    """c(y_hat + 1/2) - c(y_hat - 1/2), taken on the side where c is small. (M, n) -> (M, n)."""
    lower, upper = logits(model, y_hat - 0.5), logits(model, y_hat + 0.5)
    flip = upper + lower > 0
    lower, upper = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    return 1 / (1 + np.exp(-upper)) - 1 / (1 + np.exp(-lower))


def bits_by_definition(model: FactorizedPrior, y_hat: Tensor) -> list[float]:
    """-log2 p(y_hat), picture by picture. (B, M, h, w)."""
    return [float(-np.log2(bin_probability(model, y.flatten(1).double().numpy())).sum()) for y in y_hat]


@torch.no_grad()
def predict(model: FactorizedPrior, x: Tensor) -> tuple[Prediction, Tensor]:
    """The prediction, and the y_hat that was given to g_s."""
    seen = []
    hook = model.g_s.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    prediction = model(x)
    hook.remove()
    assert len(seen) == 1
    return prediction, seen[0]


@pytest.fixture
def shaped(tiny_model) -> FactorizedPrior:
    """A copy of the tiny model with all parameters moved, so that its densities are skewed and bumpy."""
    model = copy.deepcopy(tiny_model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in (model.density_y.H, model.density_y.b, model.density_y.a):
            for p in group:
                p.add_(0.5 * torch.randn(p.shape, generator=generator))
    return model


# --- evaluation -------------------------------------------------------------------------------


def test_evaluation_rounds_as_a_file_does(tiny_model, crops):
    prediction, y_hat = predict(tiny_model, crops)
    with torch.no_grad():
        y = tiny_model.g_a(crops)
        assert torch.equal(y_hat, torch.round(y))
        assert torch.equal(prediction.x_hat, tiny_model.g_s(y_hat))
    assert not torch.equal(y_hat, y)
    assert y_hat.unique().numel() > 10
    assert prediction.x_hat.shape == crops.shape


@pytest.mark.parametrize("which", ["tiny_model", "shaped"])
def test_bits_are_those_of_the_density(request, crops, which):
    model = request.getfixturevalue(which)
    prediction, y_hat = predict(model, crops)
    assert list(prediction.bits) == ["y"]
    assert prediction.bits["y"].shape == (len(crops),)
    assert prediction.bits["y"].dtype == torch.float32
    assert prediction.bits["y"].tolist() == pytest.approx(bits_by_definition(model, y_hat), rel=2e-5)


def test_bits_of_a_picture_do_not_depend_on_its_neighbours_in_the_batch(shaped, crops):
    together = predict(shaped, crops)[0].bits["y"]
    alone = torch.cat([predict(shaped, x[None])[0].bits["y"] for x in crops])
    assert torch.allclose(together, alone, rtol=1e-5)
    assert together.unique().numel() == len(crops)


def test_channels_are_not_mixed_up(shaped):
    """A latent with one channel set costs what that channel's own density says."""
    zero = torch.zeros(2, 12, 2, 3)
    base = bin_probability(shaped, np.zeros((12, 1)))[:, 0]
    for channel in range(12):
        y_hat = zero.clone()
        y_hat[1, channel] = 3.0
        with torch.no_grad():
            bits = shaped.bits_y(y_hat)
        there = bin_probability(shaped, np.full((12, 1), 3.0))[channel, 0]
        extra = 6 * (math.log2(base[channel]) - math.log2(there))
        assert abs(extra) > 0.1
        assert (bits[1] - bits[0]).item() == pytest.approx(extra, rel=1e-3, abs=1e-3)


def test_the_bins_are_a_probability_distribution(shaped):
    symbols = torch.arange(-400.0, 401)
    with torch.no_grad():
        log_p = shaped.density_y.log_prob(symbols.expand(12, -1))
    assert torch.allclose(log_p.double().exp().sum(1), torch.ones(12, dtype=torch.float64), atol=1e-4)


def test_no_latent_costs_less_than_its_empirical_entropy(tiny_model, crops):
    """Gibbs' inequality, channel by channel, over the pictures that the density was fitted to."""
    prediction, y_hat = predict(tiny_model, crops)
    entropy = 0.0
    for channel in y_hat.transpose(0, 1).flatten(1).numpy():
        counts = np.unique(channel, return_counts=True)[1]
        entropy -= (counts * np.log2(counts / counts.sum())).sum()
    bits = prediction.bits["y"].sum().item()
    assert entropy < bits < 1.3 * entropy  # and the fit is not far from it


def test_an_outlier_costs_many_bits_but_not_infinitely_many(tiny_model):
    y_hat = torch.zeros(3, 12, 1, 1)
    y_hat[1:, 0, 0, 0] = torch.tensor([-30_000.0, 30_000.0])
    y_hat.requires_grad_()
    bits = tiny_model.bits_y(y_hat)
    bits.sum().backward()
    assert torch.isfinite(bits).all()
    assert (bits[1:] > 1000).all()
    assert y_hat.grad[1, 0] < 0 < y_hat.grad[2, 0]  # smaller outliers would cost less


def test_bits_stay_exact_under_autocast(tiny_model, crops):
    expected, _ = predict(tiny_model, crops)  # fresh transforms: autocast changes no latent
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction, _ = predict(tiny_model, crops)
    assert torch.equal(prediction.bits["y"], expected.bits["y"])


# --- training ---------------------------------------------------------------------------------


def test_training_counts_the_bits_of_y_with_noise_and_shows_g_s_y_rounded(tiny_model, crops, monkeypatch):
    model = copy.deepcopy(tiny_model).train()
    counted = []

    def bits_y(y_hat):
        counted.append(y_hat)
        return FactorizedPrior.bits_y(model, y_hat)

    monkeypatch.setattr(model, "bits_y", bits_y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prediction, y_hat = predict(model, crops)
        again, _ = predict(model, crops)
    with torch.no_grad():
        y = model.g_a(crops)
        torch.testing.assert_close(y_hat, torch.round(y), rtol=1e-6, atol=1e-5)
        assert torch.equal(prediction.x_hat, model.g_s(y_hat))
    noise = counted[0] - y
    assert noise.abs().max() <= 0.5 + 1e-4
    assert (noise.var() - 1 / 12).abs() < 0.005
    assert prediction.bits["y"].tolist() == pytest.approx(bits_by_definition(model, counted[0]), rel=2e-5)
    assert not torch.equal(again.bits["y"], prediction.bits["y"])


def mean_training_bits(model: FactorizedPrior, x: Tensor, draws: int) -> float:
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return float(np.mean([predict(model, x)[0].bits["y"].sum().item() for _ in range(draws)]))


@pytest.mark.parametrize(("gain", "margin"), [(0.02, 1.4), (0.05, 1.15), (0.1, 1.02)])
def test_the_training_estimate_is_an_upper_bound_of_the_evaluation_estimate_on_average(tiny_model, crops, gain, margin):
    """By more than the noise of eight draws (1.6 %, 0.6 % and 0.3 %), the more the coarser the step is."""
    model = FactorizedPrior(tiny_model.size).eval()
    models.carry_over(model, tiny_model, gain**2, 1.0)
    evaluated = predict(model, crops)[0].bits["y"].sum().item()
    assert mean_training_bits(model, crops, 8) > margin * evaluated


@pytest.mark.parametrize("gain", [1.0, 8.0, 32.0])
def test_the_two_estimates_agree_where_the_step_is_fine(tiny_model, crops, gain):
    model = FactorizedPrior(tiny_model.size).eval()
    models.carry_over(model, tiny_model, gain**2, 1.0)
    evaluated = predict(model, crops)[0].bits["y"].sum().item()
    assert mean_training_bits(model, crops, 8) == pytest.approx(evaluated, rel=0.003)


def test_the_training_estimate_has_a_gradient_for_every_part(tiny_model, crops):
    model = copy.deepcopy(tiny_model).train()
    model(crops).bits["y"].sum().backward()
    parts = {"g_a": model.g_a.mixes[-1].linear.weight, "H": model.density_y.H[0], "a": model.density_y.a[0]}
    for name, p in parts.items():
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


def test_gradients_are_finite_for_any_picture(shaped):
    shaped.train()
    for x in (torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5)):
        shaped.zero_grad()
        prediction = shaped(x)
        (prediction.bits["y"].sum() + prediction.x_hat.square().sum()).backward()
        assert all(torch.isfinite(p.grad).all() for p in shaped.parameters() if p.grad is not None)


# --- starting ---------------------------------------------------------------------------------


def test_a_start_is_repeatable_and_fits_the_densities(tiny_model, crops):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        again = models.make("factorized", "tiny", 0.025)
        before = copy.deepcopy(again)
        models.initialise(again, crops, 0.025)
    for name, value in again.state_dict().items():
        assert torch.equal(value, tiny_model.state_dict()[name]), name
    assert predict(again.eval(), crops)[0].bits["y"].sum() > 0
    unfitted = copy.deepcopy(again)
    unfitted.density_y.load_state_dict(before.density_y.state_dict())
    bits = [predict(m.eval(), crops)[0].bits["y"].sum().item() for m in (again, unfitted)]
    assert bits[0] < 0.9 * bits[1]


def test_a_start_has_a_step_that_suits_lmbda(crops):
    """The first linear map is orthonormal times 255 / step, and the step falls as lmbda^(-1/2).

    At high rate the loss lmbda D + R with D = step^2 / 12 and R = 3 (const - log2 step) bits a pixel
    is least at step^2 = 18 / (lmbda ln 2); the start may differ from that by half.
    """
    scaled = []
    for lmbda in (0.0067, 0.0483):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = models.make("factorized", "tiny", lmbda)
            models.initialise(model, crops[:2, :, :32, :32], lmbda)
        rows = model.g_a.mixes[0].linear.weight.detach().flatten(1)
        squares = (rows @ rows.T).double()
        square = squares.diagonal().mean().item()
        assert torch.allclose(squares, torch.eye(8, dtype=torch.float64) * square, rtol=1e-5, atol=1e-5 * square)
        scaled.append(255 / math.sqrt(square) * math.sqrt(lmbda))
    assert scaled[0] == pytest.approx(scaled[1], rel=1e-5)
    assert 1 / 1.5 < scaled[0] / math.sqrt(18 / math.log(2)) < 1.5


def test_the_papers_transforms_keep_their_random_start(crops):
    model = FactorizedPrior(models.Preset("paper", 4, 6))
    before = copy.deepcopy(model.state_dict())
    models.initialise(model, crops, 0.013)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- carrying over ----------------------------------------------------------------------------


def test_carrying_over_to_the_same_lmbda_changes_nothing(shaped, crops):
    model = FactorizedPrior(shaped.size).eval()
    models.carry_over(model, shaped, 0.013, 0.013)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, shaped.state_dict()[name], rtol=1e-6, atol=1e-7), name
    ours, theirs = predict(model, crops)[0], predict(shaped, crops)[0]
    assert torch.allclose(ours.x_hat, theirs.x_hat, atol=1e-5)
    assert torch.allclose(ours.bits["y"], theirs.bits["y"], rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("lmbda", "old_lmbda"), [(0.0483, 0.025), (0.0067, 0.0268), (0.1, 0.001)])
def test_carrying_over_rescales_the_latent_and_its_density(shaped, crops, lmbda, old_lmbda):
    gain = math.sqrt(lmbda / old_lmbda)
    kept = copy.deepcopy(shaped.state_dict())
    model = FactorizedPrior(shaped.size).eval()
    models.carry_over(model, shaped, lmbda, old_lmbda)
    y = shaped.g_a(crops)
    torch.testing.assert_close(model.g_a(crops), gain * y, rtol=1e-5, atol=1e-4 * gain)
    torch.testing.assert_close(model.g_s(gain * y), shaped.g_s(y), rtol=1e-5, atol=1e-5)
    points = torch.linspace(-20, 20, 81).expand(12, -1)
    torch.testing.assert_close(
        model.density_y.logits(gain * points), shaped.density_y.logits(points), rtol=1e-4, atol=1e-4
    )
    assert all(torch.equal(value, kept[name]) for name, value in shaped.state_dict().items())  # source untouched


def test_carrying_over_between_sizes_is_refused(tiny_model):
    other = FactorizedPrior(models.Preset("compact", 16, 13, (8, 16), 1))
    with pytest.raises(ValueError, match="cannot carry"):
        models.carry_over(other, tiny_model, 0.025, 0.025)


# --- names and sizes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lmbda", "expected"),
    [
        ("paper", 0.0067, ("paper", 128, 192)),
        ("paper", 0.013, ("paper", 128, 192)),
        ("paper", 0.025, ("paper", 192, 320)),
        ("paper", 0.0483, ("paper", 192, 320)),
        ("compact", 0.013, ("compact", 128, 192)),
        ("compact", 0.025, ("compact", 128, 320)),
    ],
)
def test_sizes_are_those_of_the_papers_and_wider_at_the_two_high_rates(name, lmbda, expected):
    size = models.preset(name, lmbda)
    assert (size.style, size.N, size.M) == expected


def test_rate_points_are_those_of_the_fourth_seed():
    assert models.LMBDAS == (0.0067, 0.013, 0.025, 0.0483)


def test_tiny_is_tiny_and_the_same_at_every_rate():
    assert len({models.preset("tiny", lmbda) for lmbda in models.LMBDAS}) == 1
    assert sum(p.numel() for p in models.make("factorized", "tiny", 0.013).parameters()) < 50_000


@pytest.mark.parametrize("name", ["paper", "compact", "tiny"])
def test_a_model_has_the_size_of_its_preset(name):
    model = models.make("factorized", name, 0.0067)
    size = models.preset(name, 0.0067)
    assert model.size == size
    assert model.density_y.channels == size.M
    x = torch.zeros(1, 3, 16, 16)
    prediction, y_hat = predict(model.eval(), x)
    assert y_hat.shape == (1, size.M, 1, 1)
    assert prediction.x_hat.shape == x.shape


@pytest.mark.parametrize(
    ("model", "preset"), [("gan", "tiny"), ("factorized", "huge"), ("", "tiny"), ("factorized", "")]
)
def test_unknown_names_are_refused_with_the_known_ones(model, preset):
    with pytest.raises(Unsupported) as caught:
        models.make(model, preset, 0.013)
    message = str(caught.value)
    assert isinstance(caught.value, CodecError)
    assert "factorized" in message or "paper, compact, tiny" in message
    assert "\n" not in message
    assert message.endswith(".")
