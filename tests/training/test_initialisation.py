"""Where training starts: a classical transform codec with fitted priors, or another model at another rate."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from codec_lib import datasets, registry
from codec_lib.metrics import psnr_from_mse
from codec_lib.networks import models
from codec_lib.networks.densities import LOG2_SCALE_MAX, LOG2_SCALE_MIN, gaussian_log_prob
from codec_lib.networks.models import Prediction
from codec_lib.networks.priors.base import Prior
from codec_lib.networks.priors.factorized import FactorizedPrior
from codec_lib.networks.priors.hyperprior import ScaleHyperprior
from codec_lib.training import initialisation

CONDITIONAL = ["hyperprior", "joint", "checkerboard"]


@torch.no_grad()
def predict(model: Prior, x: Tensor) -> Prediction:
    return model.eval()(x)


@torch.no_grad()
def moved(model: Prior, spread: float) -> Prior:
    """A copy with all parameters of the prior moved, so that nothing is left at zero."""
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        if not name.startswith("g_"):
            p.add_(spread * torch.randn(p.shape, generator=generator))
    return model.eval()


@pytest.fixture
def shaped(tiny_model) -> FactorizedPrior:
    """The tiny model with densities that are skewed and bumpy."""
    return moved(tiny_model, 0.5)


def seeded(name: str, x: Tensor, lmbda: float = 0.025) -> Prior:
    """A fresh tiny model started on x."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.make(name, "tiny", lmbda).eval()
        initialisation.initialise(model, x, lmbda)
    return model


# --- starting ---------------------------------------------------------------------------------


def test_a_start_is_repeatable_and_fits_the_densities(tiny_model, crops):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        again = models.make("factorized", "tiny", 0.025)
        before = copy.deepcopy(again)
        initialisation.initialise(again, crops, 0.025)
    for name, value in again.state_dict().items():
        assert torch.equal(value, tiny_model.state_dict()[name]), name
    assert predict(again, crops).bits["y"].sum() > 0
    unfitted = copy.deepcopy(again)
    unfitted.density_y.load_state_dict(before.density_y.state_dict())
    bits = [predict(m, crops).bits["y"].sum().item() for m in (again, unfitted)]
    assert bits[0] < 0.9 * bits[1]


def test_a_start_has_a_step_that_suits_lmbda(crops, monkeypatch):
    """The first linear map is orthonormal times 255 / step, and the step falls as lmbda^(-1/2).

    At high rate the loss lmbda D + R with D = step^2 / 12 and R = 3 (const - log2 step) bits a pixel
    is least at step^2 = 18 / (lmbda ln 2); the start may differ from that by half.
    """
    monkeypatch.setattr(FactorizedPrior, "start", lambda *_: None)  # a fit of densities is not the transforms' matter
    scaled = []
    for lmbda in (0.0067, 0.0483):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = models.make("factorized", "tiny", lmbda)
            initialisation.initialise(model, crops[:2, :, :32, :32], lmbda)
        rows = model.g_a.mixes[0].linear.weight.detach().flatten(1)
        squares = (rows @ rows.T).double()
        square = squares.diagonal().mean().item()
        assert torch.allclose(squares, torch.eye(8, dtype=torch.float64) * square, rtol=1e-5, atol=1e-5 * square)
        scaled.append(255 / math.sqrt(square) * math.sqrt(lmbda))
    assert scaled[0] == pytest.approx(scaled[1], rel=1e-5)
    assert 1 / 1.5 < scaled[0] / math.sqrt(18 / math.log(2)) < 1.5


@torch.no_grad()
def test_the_papers_transforms_begin_near_a_klt(crops):
    """What comes back is close to the picture, and symbols of one step's size cost about what the KLT's do."""
    torch.manual_seed(0)
    model = FactorizedPrior(models.Preset("paper", 128, 192)).eval()
    before = psnr_from_mse((model.g_s(model.g_a(crops)) - crops).square().mean().item())
    initialisation.initialise(model, crops, 0.013)
    y = model.g_a(crops)
    after = psnr_from_mse((model.g_s(y) - crops).square().mean().item())
    rounded = psnr_from_mse((model.g_s(y.round()) - crops).square().mean().item())
    assert before < 15 and after > 26 and rounded > 25
    assert 0.5 < (y.round() == 0).double().mean() < 0.99
    used = model.g_a[2].weight[:48, :12]
    assert used[:, :, 2:4, 2:4].abs().sum() == used.abs().sum() > 0, "only its own patch of 2x2"
    h = crops
    for layer in list(model.g_a)[:-1]:
        h = layer(h)
        deviation = h.std((0, 2, 3))
        assert deviation.min() > 0.1 and deviation.max() < 3, "no channel is too quiet for GDN, and none too loud"


@torch.no_grad()
def test_the_papers_priors_with_side_information_begin_ahead_of_the_factorized_prior(photographs):
    """z is worth more than its bits from the start. The checkerboard prior has the joint model's networks."""
    bits, x = {}, photographs[..., :128, :128]
    for name in ("factorized", "hyperprior", "joint", "space-channel"):
        size = replace(models.preset("paper", 0.013), N=64, M=96)  # the same transforms for all, and small ones
        torch.manual_seed(0)
        model = registry.PRIORS[name].load()(size).eval()
        initialisation.initialise(model, x, 0.013)
        bits[name] = {stream: value.sum().item() for stream, value in model(x).bits.items()}
    for name in ("hyperprior", "joint", "space-channel"):
        assert sum(bits[name].values()) < 0.98 * bits["factorized"]["y"], name
        assert 0 < bits[name]["z"] < 0.02 * bits[name]["y"], name


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Larger middles of the embedded photographs: (7, 3, 256, 256), 112 positions of z."""
    return datasets.centre_crops(datasets.find("embedded"), 256).float() / 255


@pytest.fixture(scope="module")
def started(photographs) -> dict[str, Prior]:
    """Each conditional model, fresh."""
    return {name: seeded(name, photographs) for name in CONDITIONAL}


@torch.no_grad()
def one_scale_a_channel(y: Tensor) -> float:
    """The least bits of y rounded, by Gaussians of the best scale for each channel."""
    log2_scales = torch.arange(LOG2_SCALE_MIN, LOG2_SCALE_MAX, 1 / 8)[:, None, None, None, None]
    log_p = gaussian_log_prob(torch.round(y)[None], log2_scales.expand(-1, *y.shape)).sum((1, 3, 4))
    return -log_p.amax(0).sum().item() / math.log(2)


@torch.no_grad()
@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_fresh_hyperprior_says_more_than_it_costs(photographs, started, name):
    model = started[name]
    y = model.g_a(photographs)
    z_hat = torch.round(model.h_a(model.side_input(y)))
    mean, log2_scale = model.predict_all(model.side_information(z_hat, y), y)
    bits = {stream: b.sum().item() for stream, b in predict(model, photographs).bits.items()}
    assert mean.any() == (name != "hyperprior")
    assert (y - mean).square().sum() <= y.square().sum()
    assert log2_scale.std((0, 2, 3)).min() > 0.2  # from position to position
    assert (z_hat.flatten(2).transpose(0, 1).flatten(1).std(1) > 0.5).sum() >= 4  # channels that carry something
    assert bits["y"] + bits["z"] < 0.99 * one_scale_a_channel(y)  # which are fitted to this very latent
    assert bits["z"] < 0.1 * bits["y"]


@torch.no_grad()
def test_conditional_models_start_from_the_same_transforms_and_with_a_context_expect_less(photographs, started):
    y = started["joint"].g_a(photographs)
    predictions = []
    for model in started.values():
        z_hat = torch.round(model.h_a(model.side_input(y)))
        predictions.append(model.predict_all(model.side_information(z_hat, y), y)[1])
        torch.testing.assert_close(model.g_a(photographs), y)
    for other in predictions[1:]:
        assert (other - predictions[0]).mean() < 0


# --- carrying over ----------------------------------------------------------------------------


def test_carrying_over_to_the_same_lmbda_changes_nothing(shaped, crops):
    model = FactorizedPrior(shaped.size).eval()
    initialisation.carry_over(model, shaped, 0.013, 0.013)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, shaped.state_dict()[name], rtol=1e-6, atol=1e-7), name
    ours, theirs = predict(model, crops), predict(shaped, crops)
    assert torch.allclose(ours.x_hat, theirs.x_hat, atol=1e-5)
    assert torch.allclose(ours.bits["y"], theirs.bits["y"], rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("lmbda", "old_lmbda"), [(0.0483, 0.025), (0.0067, 0.0268), (0.1, 0.001)])
def test_carrying_over_rescales_the_latent_and_its_density(shaped, crops, lmbda, old_lmbda):
    gain = math.sqrt(lmbda / old_lmbda)
    kept = copy.deepcopy(shaped.state_dict())
    model = FactorizedPrior(shaped.size).eval()
    initialisation.carry_over(model, shaped, lmbda, old_lmbda)
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
    with pytest.raises(RuntimeError, match="size mismatch"):
        initialisation.carry_over(other, tiny_model, 0.025, 0.025)


# --- carrying over, with side information -----------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", CONDITIONAL)
@pytest.mark.parametrize(("lmbda", "old_lmbda"), [(0.0483, 0.025), (0.0067, 0.0268)])
def test_carrying_over_rescales_means_and_scales(tiny_models, crops, name, lmbda, old_lmbda):
    gain = math.sqrt(lmbda / old_lmbda)
    source = moved(tiny_models[name], 0.05)
    kept = copy.deepcopy(source.state_dict())
    model = models.make(name, "tiny", lmbda).eval()
    initialisation.carry_over(model, source, lmbda, old_lmbda)
    y = source.g_a(crops)
    torch.testing.assert_close(model.g_a(crops), gain * y, rtol=1e-5, atol=1e-4 * gain)
    torch.testing.assert_close(model.g_s(gain * y), source.g_s(y), rtol=1e-5, atol=1e-5)
    z = source.h_a(source.side_input(y))
    torch.testing.assert_close(model.h_a(model.side_input(gain * y)), z, rtol=1e-4, atol=1e-4)
    z_hat = torch.round(z)
    assert torch.equal(model.bits_z(z_hat), source.bits_z(z_hat))
    mean, log2_scale = source.predict_all(source.side_information(z_hat, y), y)
    new_mean, new_scale = model.predict_all(model.side_information(z_hat, y), gain * y)
    torch.testing.assert_close(new_mean, gain * mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new_scale, log2_scale + math.log2(gain), rtol=1e-4, atol=1e-4)
    assert name == "hyperprior" or mean.abs().max() > 0.1
    assert all(torch.equal(value, kept[part]) for part, value in source.state_dict().items())


@pytest.mark.parametrize(("ours", "theirs"), [("checkerboard", "joint"), ("joint", "checkerboard")])
def test_models_of_the_same_networks_take_everything(tiny_models, ours, theirs):
    source, model = moved(tiny_models[theirs], 0.05), models.make(ours, "tiny", 0.025)
    initialisation.carry_over(model, source, 0.025, 0.025)
    assert all(torch.equal(value, source.state_dict()[part]) for part, value in model.state_dict().items())
    assert model.order.name == ours or model.order.name == "wavefront"
    assert torch.equal(model.context.mask, torch.tensor(model.order.mask))  # but not what it may look at


@pytest.mark.parametrize(("ours", "theirs"), [("hyperprior", "factorized"), ("factorized", "joint")])
def test_other_kinds_take_the_transforms_and_start_their_prior_afresh(tiny_models, crops, ours, theirs):
    source = tiny_models[theirs]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = models.make(ours, "tiny", 0.1)
        untouched = copy.deepcopy(model)
        initialisation.carry_over(model, source, 0.1, 0.025, crops)
    with torch.no_grad():
        y = source.g_a(crops)
        torch.testing.assert_close(model.g_a(crops), 2 * y, rtol=1e-5, atol=2e-4)
        torch.testing.assert_close(model.g_s(2 * y), source.g_s(y), rtol=1e-5, atol=1e-5)
    untouched.g_a.load_state_dict(model.g_a.state_dict())
    fitted, unfitted = (sum(b.sum() for b in predict(m, crops).bits.values()) for m in (model, untouched))
    assert fitted < 0.9 * unfitted


@pytest.mark.parametrize("name", ["joint", "checkerboard"])
@pytest.mark.parametrize(("lmbda", "old_lmbda"), [(0.025, 0.025), (0.0483, 0.025)])
def test_a_context_model_begins_where_the_hyperprior_has_come_to(started, photographs, name, lmbda, old_lmbda):
    gain, source = math.sqrt(lmbda / old_lmbda), started["hyperprior"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model, plain = (models.make(n, "tiny", lmbda).eval() for n in (name, "hyperprior"))
        for carried in (model, plain):
            initialisation.carry_over(carried, source, lmbda, old_lmbda, photographs)
    with torch.no_grad():
        y = model.g_a(photographs)
        z = source.h_a(source.side_input(y / gain))
        torch.testing.assert_close(model.h_a(model.side_input(y)), z, rtol=1e-4, atol=1e-4)
        z_hat = torch.round(z)
        assert torch.equal(model.bits_z(z_hat), source.bits_z(z_hat))
        mean, log2_scale = model.predict_all(model.side_information(z_hat, y), y)
        difference = log2_scale - source.side_information(z_hat, y) - math.log2(gain)
        offset = difference.flatten(2).median(2).values.median(0).values  # of each channel: what its mean explains
        assert ((difference - offset[:, None, None]).abs() < 1e-3).float().mean() > 0.99
        assert offset.max() <= 1e-4 and offset.min() < -0.05
        assert (y - mean).square().mean() < 0.98 * y.square().mean()
        bits = [sum(m.code(y)[1].values()).sum() for m in (model, plain)]
    assert bits[0] < bits[1]


def test_the_papers_transforms_are_carried_to_a_hyperprior_that_starts_afresh(crops):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        source, model = (m(models.Preset("paper", 8, 12)) for m in (FactorizedPrior, ScaleHyperprior))
        initialisation.carry_over(model, source, 0.05, 0.0125, crops)
    with torch.no_grad():
        torch.testing.assert_close(model.g_a(crops), 2 * source.g_a(crops), rtol=1e-4, atol=1e-5)
    assert all(b.isfinite().all() for b in predict(model, crops).bits.values())
    wider = FactorizedPrior(models.Preset("paper", 9, 12))
    with pytest.raises(RuntimeError, match="size mismatch"):
        initialisation.carry_over(wider, source, 0.05, 0.0125, crops)
