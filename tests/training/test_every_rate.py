"""Training for a range of lmbda: every crop has a rate, and what comes out is a codec of any quality."""

import dataclasses

import pytest
import torch

from codec_lib.datasets import RandomCrops, open_pictures
from codec_lib.errors import Unsupported
from codec_lib.rates import RATE_POINTS, lmbda_of, position_of
from codec_lib.training import every_rate, training
from codec_lib.training.publishing import release
from codec_lib.training.runs import Settings
from codec_lib.weights import weight_files

SETTINGS = Settings(
    "hyperprior", 0.018, lmbdas=(0.0035, 0.093), preset="tiny", steps=3, batch_size=2, crop=64, optimiser="muon",
    precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiles, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    settings = dataclasses.replace(SETTINGS, dataset=str(tiles))
    run = training.train(settings, out, progress=False, validations=1)
    return run, *release(run, out, progress=False)


@pytest.mark.parametrize("quality", [0, 0.3, 1, 2.5, 4.999, 5])
def test_position_is_the_inverse_of_lmbda(quality):
    assert position_of(lmbda_of(quality)) == pytest.approx(quality, abs=1e-9)


def test_low_rates_have_a_larger_share():
    torch.manual_seed(0)
    loss = every_rate.EveryRateLoss(torch.nn.Identity(), (RATE_POINTS[0], RATE_POINTS[-1]))
    drawn = torch.stack([loss.qualities(8) for _ in range(500)])
    assert drawn.min() >= 0 and drawn.max() <= 5
    assert 1.8 < drawn.mean() < 2.05  # 5 / (1 + 1.6)
    assert (drawn.diff(dim=1) > 0).all(), "each crop of a batch from its own part of the range"


def test_a_run_leaves_a_codec_of_every_quality(trained, photo):
    run, path, card = trained
    assert path.name == "hyperprior-tiny.safetensors"
    assert card["lmbdas"] == (0.0035, 0.093) and card["digest"] == weight_files.read(path).digest.hex()
    assert all(table.grad is not None for table in run.model.gains.parameters())
    sizes = [len(weight_files.load("hyperprior", q, folder=path.parent).encode(photo)) for q in (0, 2.4, 5)]
    assert sizes == sorted(sizes)
    assert {"val_loss", "val_bpp", "val_psnr"} <= run.rows[-1].keys()


def test_another_prior_begins_on_its_transforms_and_leaves_them_alone(trained, tiles, tmp_path):
    _, path, _ = trained
    settings = dataclasses.replace(SETTINGS, model="space-channel", dataset=str(tiles), prior_only=True)
    run = training.train(settings, tmp_path, source=weight_files.read(path), progress=False, validations=1)
    before = weight_files.read(path).network
    assert torch.equal(run.model.model.g_a.mixes[0].linear.weight, before.model.g_a.mixes[0].linear.weight)
    assert torch.equal(run.model.gains.gain, before.gains.gain)
    assert not torch.equal(run.model.gains.spread, before.gains.spread)


def test_a_prior_takes_the_transforms_that_were_trained_further(trained, tiles, tmp_path):
    _, path, _ = trained
    common = dataclasses.replace(SETTINGS, lmbdas=(0.0067, 0.013), dataset=str(tiles))
    settings = dataclasses.replace(common, model="joint", prior_only=True, steps=1)
    first = training.train(settings, tmp_path / "prior", source=weight_files.read(path), progress=False)
    prior, _ = release(first, tmp_path / "prior", progress=False)
    further = training.train(
        dataclasses.replace(common, steps=2, lr=1e-2), tmp_path / "further",
        source=weight_files.read(path), progress=False,
    )  # fmt: skip
    transforms, _ = release(further, tmp_path / "further", progress=False)
    run = training.train(
        settings, tmp_path / "last", source=weight_files.read(prior), transforms=weight_files.read(transforms),
        progress=False,
    )  # fmt: skip
    ours, theirs = run.model.state_dict(), weight_files.read(transforms).network.state_dict()
    for name in ("model.g_a.mixes.0.linear.weight", "gains.gain", "gains.inverse"):
        assert torch.equal(ours[name], theirs[name]), name
    assert not torch.equal(ours["gains.gain"], weight_files.read(prior).network.state_dict()["gains.gain"])
    assert run.transforms_from.startswith("hyperprior-tiny ")


def test_sensitivity_tells_what_a_small_error_of_the_latent_costs(trained, tiles):
    """The first-order estimate against g_s itself, a small random error in all of a few channels."""
    gained = weight_files.read(trained[1]).network
    crops = RandomCrops(open_pictures(tiles), 64, progress=False)
    x = torch.stack([crops[i] for i in range(6)]).float() / 255
    weights = every_rate.sensitivity(gained, x, (0.0035, 0.093), probes=32)
    rate = gained.gains(torch.linspace(0, 5, len(x)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        y_hat = (gained.model.g_a(x, rate.shifts_a) * rate.gain).round() * rate.inverse
        for channel in weights.argsort(descending=True)[:4]:
            error = torch.zeros_like(y_hat)
            error[:, channel] = 1e-3 * torch.randn(error[:, channel].shape, generator=generator)
            moved = gained.model.g_s(y_hat + error, rate.shifts_s) - gained.model.g_s(y_hat, rate.shifts_s)
            assert moved.square().sum() / error.square().sum() == pytest.approx(weights[channel].item(), rel=0.35)


@pytest.mark.parametrize("lmbdas", [(0.02, 0.01), (0.001, 0.01), (0.01, 0.2)])
def test_ranges_that_make_no_sense_are_refused(lmbdas, tiles, tmp_path):
    settings = dataclasses.replace(SETTINGS, lmbdas=lmbdas, dataset=str(tiles))
    with pytest.raises(Unsupported, match="range of lmbda"):
        training.train(settings, tmp_path, progress=False)
