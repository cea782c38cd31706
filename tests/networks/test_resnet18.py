"""The classical start of ae-resnet18: what both halves do before anything is learned, and what training keeps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from codec_lib import datasets, metrics
from codec_lib.networks.autoencoders import make
from codec_lib.networks.resnet18 import _shares, klt_stages
from codec_lib.training.runs import Run, Settings


@pytest.fixture(scope="module")
def crops():
    pictures = datasets.RandomCrops(datasets.find("embedded"), 64, progress=False)
    return torch.stack([pictures[i] for i in range(48)]).float() / 255


def started(crops, B=4, seed=0):
    torch.manual_seed(seed)
    model = make("ae-resnet18", "tiny", B)
    model.start(crops)
    return model.eval()


@torch.no_grad()
def psnr(model, x):
    return metrics.psnr_from_mse(F.mse_loss(model(x).x_hat, x).item())


@torch.no_grad()
def test_the_decoder_undoes_the_klt(crops):
    """Of the coefficients it makes what the transposed bases make, but for the little that its blocks add."""
    model, stages = started(crops), klt_stages(crops, (8, 8, 8, 8, 8))
    expected = coefficients = stages[-1][2]
    for mean, basis, _ in reversed(stages):
        expected = F.pixel_shuffle(F.conv2d(expected, basis.T[:, :, None, None], mean), 2)
    for layer in model.g_s[1:]:
        coefficients = layer(coefficients)
    assert F.mse_loss(coefficients + 0.5, expected) < 0.05 * F.mse_loss(crops, expected)


@torch.no_grad()
def test_the_encoder_passes_the_klt_through_its_rectifiers(crops):
    """A regression on its features tells the coefficients, the first ones best."""
    model, wanted = started(crops), klt_stages(crops, (8, 8, 8, 8, 8))[-1][2]
    features = model.g_a.features(2 * crops - 1)
    given = torch.cat([features.permute(0, 2, 3, 1).flatten(0, 2), torch.ones(len(crops) * 4, 1)], 1)
    goal = wanted.permute(0, 2, 3, 1).flatten(0, 2)
    left = goal - given @ torch.linalg.lstsq(given, goal).solution
    assert (features >= 0).all()
    assert left.square().sum() < 0.05 * goal.square().sum()


@torch.no_grad()
def test_a_start_is_far_ahead_of_random_weights(crops):
    torch.manual_seed(0)
    assert psnr(started(crops), crops) > psnr(make("ae-resnet18", "tiny", 4).eval(), crops) + 3


def test_channels_go_where_they_lower_the_error_most():
    assert _shares(torch.tensor([8.0, 4.0, 1.0]), 3, 2) == [2, 1, 0]
    assert sum(_shares(torch.rand(7), 20, 16)) == 20


@torch.no_grad()
def test_another_quantiser_begins_at_networks_that_were_trained(crops):
    """All but the layers next to the quantiser is taken as it is, and what comes out is near what the other gave."""
    source = started(crops)
    model = make("ae-resnet18", "tiny", 10)
    model.start_from(source, lambda: crops)
    mine, theirs = model.eval().state_dict(), source.state_dict()
    changed = {name for name in mine if not torch.equal(mine[name], theirs[name])}
    assert changed == {"g_a.head.weight", "g_a.head.bias", "g_s.0.weight", "g_s.0.bias"}
    assert psnr(model, source(crops).x_hat) > 25
    again = make("ae-resnet18", "tiny", 10)
    again.start_from(model, lambda: crops)
    assert all(torch.equal(tensor, mine[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize("begins", ["classical", "random"])
def test_training_keeps_the_statistics_of_a_classical_start(crops, begins):
    model = started(crops) if begins == "classical" else make("ae-resnet18", "tiny", 4)
    before = {n: t.clone() for n, t in model.state_dict().items() if "running" in n}
    model.train()(crops[:2])
    kept = all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert kept == (begins == "classical")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.training for m in norms} == {begins != "classical"}


def test_the_layers_next_to_the_quantiser_can_learn_alone(crops):
    settings = Settings("ae-resnet18", 0.013, "tiny", steps=1, bits=4, prior_only=True)
    run = Run(settings, started(crops), torch.device("cpu"))
    learning = {name for name, p in run.model.named_parameters() if p.requires_grad}
    assert learning == {"g_a.head.weight", "g_a.head.bias", "g_s.0.weight", "g_s.0.bias"}
