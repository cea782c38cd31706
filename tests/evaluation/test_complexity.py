"""Parameters and multiply-accumulates: the report's table, and counts by hand."""

import pytest
import torch

from codec_lib import datasets, registry, tables
from codec_lib.evaluation import complexity
from codec_lib.networks import models
from codec_lib.networks.models import Preset
from codec_lib.networks.priors.joint import JointAutoregressive

REPORTED = {row["model"]: row for row in tables.read_csv(datasets.ROOT / "data" / "reported_complexity.csv")}
CHECKERBOARD_RUNS_ITS_ENTROPY_PARAMETERS_TWICE = 1536 * (768 * 640 + 640 * 512 + 512 * 384)


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, int]]:
    return {name: complexity.count(models.make(name, "paper", 0.0067)) for name in registry.PRIORS}


@pytest.mark.parametrize("name", REPORTED)
def test_counted_like_the_report_the_sizes_are_the_reports(counted, name):
    assert counted[name]["thop_params"] / 1e6 == pytest.approx(REPORTED[name]["params_millions"], abs=5e-4)
    macs = counted[name]["thop_macs"]
    if name == "checkerboard":
        macs += CHECKERBOARD_RUNS_ITS_ENTROPY_PARAMETERS_TWICE
    assert macs / 1e9 == pytest.approx(REPORTED[name]["macs_billions"], abs=0.05)


def test_in_full_there_are_the_published_numbers_of_parameters(counted):
    found = {name: c["params"] for name, c in counted.items()}
    published = {"factorized": 2_997_571, "hyperprior": 5_075_459, "joint": 14_129_891, "checkerboard": 14_129_891}
    assert {name: found[name] for name in published} == published


def test_the_difference_of_the_parameters_is_gdn_density_and_masked_convolution(counted):
    gdn, density = 6 * (192**2 + 192), 58 * 192
    context = 25 * 192 * 384 + 384
    assert counted["joint"]["params"] - counted["joint"]["thop_params"] == gdn + density + context
    gdn, density = 6 * (128**2 + 128), 58 * 128
    assert counted["hyperprior"]["params"] - counted["hyperprior"]["thop_params"] == gdn + density


def test_a_transform_by_hand():
    """128 channels, 192 in the latent: each layer's positions times its kernel, GDN's square, norm and product."""
    counted = complexity.count(models.make("factorized", "paper", 0.0067), 512, 768)
    positions = [384 * 256, 192 * 128, 96 * 64, 48 * 32]
    kernels = [25 * 3 * 128, 25 * 128 * 128, 25 * 128 * 128, 25 * 128 * 192]
    gdn = sum(positions[:3]) * (128**2 + 2 * 128)
    assert counted["g_a"] == sum(p * k for p, k in zip(positions, kernels, strict=True)) + gdn
    assert counted["g_s"] == counted["g_a"]  # each input position meets its kernel once
    assert counted["h_s"] == counted["context"] == 0
    assert counted["density_y"] == 2 * 48 * 32 * 192 * (3 + 9 + 9 + 9 + 3 + 12)


def test_the_masked_convolution_counts_what_it_sees(counted):
    assert counted["joint"]["context"] == counted["checkerboard"]["context"] == 48 * 32 * 12 * 192 * 384


def test_the_parts_are_the_whole(counted):
    for c in counted.values():
        assert c["macs"] == sum(
            v for part, v in c.items() if part not in ("params", "macs", "thop_params", "thop_macs")
        )


def test_work_grows_with_the_tiles_of_64_pixels():
    model = JointAutoregressive(Preset("compact", 16, 12, (8, 16), 1))
    one, six = complexity.count(model, 64, 64), complexity.count(model, 65, 192)
    assert six["macs"] == 6 * one["macs"]
    assert six["params"] == one["params"]


def test_counting_leaves_the_model_as_it_was():
    model = models.make("joint", "tiny", 0.025).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    complexity.count(model)
    assert not model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
