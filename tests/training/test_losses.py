"""The rate-distortion loss by hand, and on fixed crops."""

import copy

import pytest
import torch

from codec_lib.networks.gains import Gained
from codec_lib.networks.models import Prediction
from codec_lib.rates import RATE_POINTS, lmbda_of
from codec_lib.training import every_rate, losses


def test_a_prior_learns_from_the_distortion_too(tiny_models, crops):
    """Where a symbol is zero, y_hat is the mean: the MSE has a gradient there, by way of a g_s that stays."""
    model = copy.deepcopy(tiny_models["joint"]).train()
    for part in (model.g_a, model.g_s):
        part.requires_grad_(False)
    _, _, mse = losses.Loss(model, 0.025)(crops)
    mse.backward()
    assert all(p.grad is None for part in (model.g_a, model.g_s) for p in part.parameters())
    last = model.entropy_parameters[-1].bias.grad
    means, scales = last.chunk(2)
    assert means.abs().max() > 0 and not scales.any()


def test_the_loss_by_hand():
    x = torch.zeros(2, 3, 4, 8)
    x_hat = torch.zeros(2, 3, 4, 8)
    x_hat[0, 0, 0, 0] = 0.5
    prediction = Prediction(x_hat, {"y": torch.tensor([3.0, 5.0]), "z": torch.tensor([1.0, 7.0])})
    loss, bpp, mse = losses.Loss(lambda _: prediction, 0.01)(x)
    assert bpp.item() == 16 / 64
    assert mse.item() == pytest.approx(0.25 / 192)
    assert loss.item() == pytest.approx(0.01 * 65025 * 0.25 / 192 + 0.25)


def test_validation_weighs_pictures_equally_and_keeps_the_mode(tiny_model, crops):
    x = (crops[:5, :, :64, :64] * 255).round().byte()
    tiny_model.train()
    try:
        whole = losses.validate(tiny_model, x, 0.025, batch_size=5)
        assert tiny_model.training
        parts = losses.validate(tiny_model, x, 0.025, batch_size=2)
    finally:
        tiny_model.eval()
    assert parts == pytest.approx(whole, rel=1e-5)
    assert losses.validate(tiny_model, x, 0.025) == pytest.approx(whole, rel=1e-5)  # no noise, whatever the mode
    assert not tiny_model.training


def test_a_range_is_validated_at_its_whole_qualities_and_the_mean_is_by_the_usual_loss(tiny_model, crops):
    x, gained = (crops[:2, :, :64, :64] * 255).round().byte(), Gained(copy.deepcopy(tiny_model), 0.025)
    gained.gains.round_()
    each = losses.validate_range(gained, x, (0.012, RATE_POINTS[-1]))
    assert list(each) == [2, 3, 4, 5]
    assert each[3] == losses.validate(gained.at(3000), x, lmbda_of(3))
    mean = losses.mean(each)
    assert mean["val_bpp"] == pytest.approx(sum(figures["val_bpp"] for figures in each.values()) / 4)
    assert mean["val_loss"] == pytest.approx(sum(f["val_loss"] / every_rate.usual_loss(q) for q, f in each.items()) / 4)
