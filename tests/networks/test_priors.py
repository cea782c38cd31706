"""What a model says a picture costs, against the same sum written out in float64; sizes."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr
from torch import Tensor

from codec_lib import rates, registry
from codec_lib.errors import CodecError, Unsupported
from codec_lib.networks import models
from codec_lib.networks.models import Prediction
from codec_lib.networks.priors import conditional as conditional_module
from codec_lib.networks.priors.base import Prior
from codec_lib.networks.priors.factorized import FactorizedPrior
from codec_lib.training import initialisation


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

    def bits_y(y_hat, *gain):
        counted.append(y_hat)
        return FactorizedPrior.bits_y(model, y_hat, *gain)

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
    initialisation.carry_over(model, tiny_model, gain**2, 1.0)
    evaluated = predict(model, crops)[0].bits["y"].sum().item()
    assert mean_training_bits(model, crops, 8) > margin * evaluated


@pytest.mark.parametrize("gain", [1.0, 8.0, 32.0])
def test_the_two_estimates_agree_where_the_step_is_fine(tiny_model, crops, gain):
    model = FactorizedPrior(tiny_model.size).eval()
    initialisation.carry_over(model, tiny_model, gain**2, 1.0)
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


# --- models with side information -------------------------------------------------------------


@pytest.fixture(params=["hyperprior", "joint", "checkerboard"])
def conditional(request, tiny_models) -> Prior:
    """A copy of each such model in float64, its prior moved so that z and the context matter everywhere."""
    model = copy.deepcopy(tiny_models[request.param]).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith(("h_", "context", "entropy_parameters")):
                p.add_(0.05 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model.eval()


def latent(h: int = 5, w: int = 7, seed: int = 0) -> Tensor:
    return 4 * torch.randn(2, 12, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def context_of(model: Prior, known: np.ndarray, y: int, x: int) -> np.ndarray:
    """The masked convolution at one position of `known` (B, M, h, w) with zeros beyond it: (B, 2 P)."""
    weight, bias = (p.detach().numpy() for p in (model.context.weight, model.context.bias))
    total = np.tile(bias, (len(known), 1))
    for dy, dx in model.order.offsets():
        if 0 <= y + dy < known.shape[2] and 0 <= x + dx < known.shape[3]:
            total += known[:, :, y + dy, x + dx] @ weight[:, :, dy + 2, dx + 2].T
    return total


def parameters_at(model: Prior, psi: np.ndarray, known: np.ndarray, y: int, x: int) -> tuple:
    """Mean and log2 of the scale at one position, (B, M) each, by the papers' formulas."""
    if model.name == "hyperprior":
        return np.zeros_like(psi[:, :, y, x]), psi[:, :, y, x]
    h = np.concatenate([psi[:, :, y, x], context_of(model, known, y, x)], 1)
    for k in (0, 2, 4):
        layer = model.entropy_parameters[k]
        h = h @ layer.weight.detach().numpy()[:, :, 0, 0].T + layer.bias.detach().numpy()
        h = np.maximum(h, 0) if k < 4 else h
    return h[:, :12], h[:, 12:]


def symbol_bits(residual: np.ndarray, log2_scale: np.ndarray) -> np.ndarray:
    """As a file has them: where an escape of 16 bits and a byte for every 7 bits of the distance is cheaper, that."""
    escape = 16 + 8 * np.ceil(np.ceil(np.log2(2 * np.abs(residual) + 2)) / 7)
    return np.minimum(gaussian_bits(residual, log2_scale), escape)


def gaussian_bits(residual: np.ndarray, log2_scale: np.ndarray) -> np.ndarray:
    scale, far = 2.0 ** np.clip(log2_scale, -3, 7), np.abs(residual)
    upper, lower = log_ndtr((0.5 - far) / scale), log_ndtr((-0.5 - far) / scale)
    return -(upper + np.log1p(-np.exp(lower - upper))) / math.log(2)


def bits_of_z(model: Prior, z: Tensor) -> list[float]:
    log_p = model.density_z.log_prob(z.transpose(0, 1).flatten(1)).view(16, len(z), -1)
    return (-log_p.sum((0, 2)) / math.log(2)).tolist()


def z_and_psi(model: Prior, y: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    z = torch.round(model.h_a(model.side_input(y)))
    return z, model.h_s(z)[:, :, :h, :w]


@torch.no_grad()
@pytest.mark.parametrize(("h", "w"), [(5, 7), (4, 8), (1, 1), (3, 9)])
def test_evaluation_rounds_group_after_group(conditional, h, w):
    """In raster order, or anchors first: each mean is of y_hat so far, each y_hat a whole number off its mean."""
    y = latent(h, w)
    y_hat, bits = conditional.code(y)
    z, psi = z_and_psi(conditional, y, h, w)
    psi, known, total = psi.numpy(), np.zeros(y.shape), np.zeros(2)
    places = [(row, column) for row in range(h) for column in range(w)]
    if conditional.name == "checkerboard":
        places.sort(key=lambda place: sum(place) % 2)
    for row, column in places:
        mean, log2_scale = parameters_at(conditional, psi, known, row, column)
        symbol = np.round(y[:, :, row, column].numpy() - mean)
        known[:, :, row, column] = symbol + mean
        total += symbol_bits(symbol, log2_scale).sum(1)
    np.testing.assert_allclose(y_hat, known, rtol=1e-9, atol=1e-9)
    assert list(bits) == ["z", "y"]
    assert bits["y"].tolist() == pytest.approx(total, rel=1e-7)
    assert bits["z"].tolist() == pytest.approx(bits_of_z(conditional, z), rel=1e-9)
    assert (y_hat - y).abs().max() <= 0.5
    if h * w > 1 and conditional.name != "hyperprior":
        assert not torch.equal(y_hat, torch.round(y))


def test_training_sees_noise_where_it_counts_bits_and_rounds_what_is_synthesised(conditional, monkeypatch):
    noise = []

    def add_noise(t):
        noise.append(torch.rand(t.shape, generator=torch.Generator().manual_seed(len(noise))).double() - 0.5)
        return t + noise[-1]

    monkeypatch.setattr(conditional_module, "add_noise", add_noise)
    y = latent().requires_grad_()
    y_hat, bits = conditional.train().code(y)
    of = {n.shape[1:]: n for n in noise}
    assert len(of) == len(noise) == 2
    with torch.no_grad():
        noisy = y + of[y.shape[1:]]
        mean, log2_scale = conditional.predict_all(z_and_psi(conditional, y, 5, 7)[1], noisy)
        torch.testing.assert_close(y_hat, torch.round(y - mean) + mean)
        z_noisy = conditional.h_a(conditional.side_input(y)) + of[(16, 2, 2)]
        expected = gaussian_bits((noisy - mean).numpy(), log2_scale.numpy()).sum((1, 2, 3))
        assert bits["y"].tolist() == pytest.approx(expected, rel=1e-7)
        assert bits["z"].tolist() == pytest.approx(bits_of_z(conditional, z_noisy), rel=1e-9)
    if conditional.name == "hyperprior":
        assert torch.equal(torch.autograd.grad(y_hat.sum(), y, retain_graph=True)[0], torch.ones_like(y))
    bits["y"].sum().backward()
    for name, p in conditional.named_parameters():
        if name.startswith(("h_", "context", "entropy_parameters")):  # h_a only through z rounded
            assert p.grad.isfinite().all() and p.grad.abs().max() > 0, name
    assert all(p.grad is None for p in conditional.density_z.parameters())


def test_the_distortion_moves_means_where_nothing_is_sent(conditional, monkeypatch):
    y, mean = torch.tensor([[-3.2, -0.4, 0.1, 0.4, 7.0]]), torch.full((1, 5), 0.2, requires_grad=True)
    y = y[..., None, None].requires_grad_()
    monkeypatch.setattr(conditional, "predict_all", lambda psi, y_noisy: (mean[..., None, None], torch.zeros_like(y)))
    y_hat, _ = conditional.train()._noisy(y, y)
    assert y_hat.flatten().tolist() == pytest.approx([-2.8, -0.8, 0.2, 0.2, 7.2])
    y_hat.sum().backward()
    assert mean.grad.tolist() == [[0, 0, 1, 1, 0]]
    assert y.grad.flatten().tolist() == [1] * 5


@pytest.mark.parametrize(("h", "w"), [(5, 7), (1, 1), (6, 3)])
@torch.no_grad()
def test_all_positions_at_once_get_what_single_ones_get(conditional, h, w):
    y = latent(h, w)
    psi = z_and_psi(conditional, y, h, w)[1]
    at_once = [t.numpy() for t in conditional.predict_all(psi, y)]
    shown = np.where(conditional.order.shown(h, w), y.numpy(), 0)
    for row in range(h):
        for column in range(w):
            for t, expected in zip(at_once, parameters_at(conditional, psi.numpy(), shown, row, column), strict=True):
                np.testing.assert_allclose(t[:, :, row, column], expected, rtol=1e-9, atol=1e-9)


def test_parameters_depend_on_just_those_that_are_coded_before_and_in_the_mask(conditional):
    h, w = 6, 7
    y = latent(h, w)
    psi, y_noisy = z_and_psi(conditional, y, h, w)[1].detach(), y.requires_grad_()
    times, offsets = conditional.order.times(h, w), conditional.order.offsets()
    both = torch.cat(conditional.predict_all(psi, y_noisy), 1)
    for row in range(h):
        for column in range(w):
            slope = None
            if both.requires_grad:
                (slope,) = torch.autograd.grad(both[:, :, row, column].sum(), y_noisy, retain_graph=True)
            seen = set() if slope is None else set(map(tuple, slope.abs().sum((0, 1)).nonzero().tolist()))
            around = {(row + dy, column + dx) for dy, dx in offsets}
            inside = {(i, j) for i, j in around if 0 <= i < h and 0 <= j < w}
            assert seen == {q for q in inside if times[q] < times[row, column]}


@torch.no_grad()
@pytest.mark.parametrize("mode", [True, False])
def test_streams_are_z_and_y_and_g_s_sees_y_hat(conditional, crops, mode):
    conditional.float().train(mode)
    prediction, y_hat = predict(conditional, crops[:3, :, :80, :])
    assert list(prediction.bits) == ["z", "y"]
    assert all(bits.shape == (3,) and bits.dtype == torch.float32 for bits in prediction.bits.values())
    assert all((bits > 0).all() for bits in prediction.bits.values())
    assert y_hat.shape == (3, 12, 5, 6)
    assert torch.equal(prediction.x_hat, conditional.g_s(y_hat))
    if not mode:
        assert torch.equal(y_hat, conditional.code(conditional.g_a(crops[:3, :, :80, :]))[0])


@torch.no_grad()
def test_what_a_picture_costs_depends_neither_on_its_batch_nor_on_autocast(conditional, crops):
    y = conditional.float().g_a(crops)
    y_hat, together = conditional.code(y)
    for k in range(len(crops)):
        alone_hat, alone = conditional.code(y[[k]])
        torch.testing.assert_close(alone_hat[0], y_hat[k], rtol=1e-3, atol=1e-3)  # errors pass through the means
        assert alone["y"].item() == pytest.approx(together["y"][k].item(), rel=1e-4)
        assert alone["z"].item() == pytest.approx(together["z"][k].item(), rel=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_half = conditional.code(y)
    assert torch.equal(in_half[0], y_hat)
    assert all(torch.equal(in_half[1][stream], together[stream]) for stream in together)


def test_outliers_cost_many_bits_with_finite_gradients(conditional):
    conditional.float().train()
    for outlier in (-30_000.0, 30_000.0):
        y = torch.zeros(1, 12, 4, 4)
        y[0, 3, 2, 2] = outlier
        _, bits = conditional.code(y.requires_grad_())
        assert bits["y"].isfinite().all() and bits["y"].item() > 1000
        sum(b.sum() for b in bits.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in conditional.parameters())
        assert y.grad.isfinite().all()


@torch.no_grad()
def test_what_h_a_sees_of_y():
    """Amplitudes, or signs too, continued at the border to whole blocks of 4x4 positions."""
    latent_ = latent().float()
    y = torch.cat([latent_, latent_[..., -1:]], 3)  # 5x7 -> 5x8
    y = torch.cat([y] + 3 * [y[:, :, -1:]], 2)  # -> 8x8
    for name, paper, compact in [
        ("hyperprior", t := torch.log2(1 + y.abs() / 2), t),
        ("joint", t, torch.cat([t, t * y.sign()], 1)),
        ("checkerboard", t, torch.cat([t, t * y.sign()], 1)),
    ]:
        for size, expected in ((models.Preset("paper", 8, 12), paper), (models.preset("tiny", 0.025), compact)):
            model = registry.PRIORS[name].load()(size)
            model.inv_scale.fill_(0.5)
            torch.testing.assert_close(model.side_input(latent_), expected)
            assert model.h_a(expected).shape == (2, size.N, 2, 2)
            assert "inv_scale" in model.state_dict() and "inv_scale" not in dict(model.named_parameters())


@pytest.mark.parametrize(
    ("name", "N", "expected"),
    [("hyperprior", 128, 5_075_459), ("joint", 192, 14_129_891), ("checkerboard", 192, 14_129_891)],
)
def test_conditional_models_have_as_many_parameters_as_compressai_counts(name, N, expected):
    """Less the auxiliary quantiles."""
    model = models.make(name, "paper", 0.013)
    assert (model.size.N, model.size.M) == (N, 192)
    assert sum(p.numel() for p in model.parameters()) == expected


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
    assert rates.LMBDAS == (0.0067, 0.013, 0.025, 0.0483)


def test_tiny_is_tiny_and_the_same_at_every_rate():
    assert len({models.preset("tiny", lmbda) for lmbda in rates.LMBDAS}) == 1
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
    assert "factorized" in message or "compact, tiny, paper" in message
    assert "\n" not in message
    assert message.endswith(".")
