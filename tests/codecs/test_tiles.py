"""A picture is worked on in tiles, and nothing shows where they meet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codec_lib import datasets, images, metrics
from codec_lib.codecs import tiles
from codec_lib.coding.container import unpack
from codec_lib.errors import CodecError
from codec_lib.networks.priors import conditional
from codec_lib.weights import weight_files


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Rows and columns that no number of latent positions covers: uint8 (395, 470, 3)."""
    return images.read_image(datasets.find("embedded")[0])[0][20:415, 10:480]


@pytest.mark.parametrize("align", [1, 4])
@pytest.mark.parametrize("n", [1, 3, 63, 64, 65, 129, 250, 1000])
def test_spans_keep_every_position_once_with_its_margin(n, align):
    spans = tiles.spans(n, 8, align)
    kept = [position for s in spans for position in range(s.first, s.last)]
    assert kept == list(range(n))
    for s in spans:
        assert s.begin == max(0, s.first - 8) and s.end == min(n, s.last + 8)
        assert s.begin % align == 0
        assert s.last - s.first <= tiles.CORE + align
    lengths = [s.last - s.first for s in spans]
    assert max(lengths) - min(lengths) <= 2 * align  # no sliver, whose margin would be most of it


def at_borders_and_elsewhere(difference: np.ndarray) -> tuple[float, float]:
    """Mean of a (H, W) picture within two pixels of where tiles meet, and elsewhere."""
    step = 16
    meets = [np.zeros(side, bool) for side in difference.shape]
    for side, n in zip(meets, difference.shape, strict=True):
        for s in tiles.spans(-(-n // step), tiles.OVERLAP_SYNTHESIS)[1:]:
            side[s.first * step - 2 : s.first * step + 2] = True
    border = meets[0][:, None] | meets[1][None, :]
    return difference[border].mean(), difference[~border].mean()


@pytest.mark.parametrize(("name", "quality"), [("hyperprior", 2), ("space-channel", 0.5)])
def test_tiles_make_no_difference_that_could_be_seen(photograph, monkeypatch, name, quality):
    frozen = weight_files.load(name, quality)
    y, z = frozen.latents(photograph)
    y_hat = torch.round(y)[None]
    whole = frozen.synthesise(y_hat, *photograph.shape[:2])
    monkeypatch.setattr(tiles, "CORE", 8)
    assert len(tiles.spans(y.shape[1], tiles.OVERLAP_SYNTHESIS)) == 4
    y_tiled, z_tiled = frozen.latents(photograph)
    assert (y_tiled - y).abs().max() < 1e-3  # of a quantiser's step
    assert (frozen.rounded(z_tiled) != frozen.rounded(z)).mean() < 1e-3  # what lies between two may fall to either
    tiled = frozen.synthesise(y_hat, *photograph.shape[:2])
    assert abs(metrics.psnr(tiled, photograph) - metrics.psnr(whole, photograph)) < 0.001
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    error = np.abs(tiled.astype(float) - photograph).mean(2)
    before = np.abs(whole.astype(float) - photograph).mean(2)
    at_borders, elsewhere = at_borders_and_elsewhere(error - before)
    assert abs(at_borders) < 0.01 and abs(elsewhere) < 0.01  # grey levels: no seam


AUTOENCODERS = ["maxpool-compact-q2", "strided-compact-q2", "residual-compact-q2", "vae-compact-q4",
                "vector-compact-q4", "resnet18-compact-q4"]  # fmt: skip


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoders_do_not_see_that_there_are_tiles(photograph, monkeypatch, name):
    """Margins are as wide as what the layers see: what is left is rounding in floating point."""
    frozen = weight_files.read(weight_files.WEIGHTS / f"ae-{name}.safetensors")
    whole = frozen.analyse(photograph)
    pixels, _ = frozen.estimate(photograph)
    monkeypatch.setattr(tiles, "CORE", 8)
    assert len(tiles.spans(whole.shape[1], 1, step=frozen.network.downscale)) == 4
    tiled = frozen.analyse(photograph)
    assert (tiled != whole).mean() < 1e-4 and np.abs(tiled - whole).max() <= 1
    monkeypatch.setattr(type(frozen), "analyse", lambda self, pixels: whole)
    differ = frozen.estimate(photograph)[0] != pixels
    assert differ.mean() < 1e-4


@pytest.mark.parametrize("model", ["hyperprior", "joint", "checkerboard"])
def test_side_information_does_not_depend_on_its_strips(codecs, model, monkeypatch):
    prior = codecs[model].prior
    z = torch.randint(-9, 10, (16, 9, 3), generator=torch.Generator().manual_seed(0))
    whole = prior.side_information(z, 34, 11)
    monkeypatch.setattr(conditional, "_AT_ONCE", 1)
    assert torch.equal(prior.side_information(z, 34, 11), whole)


def test_a_large_group_is_coded_in_portions(codecs, photo):
    for frozen in codecs.values():
        portioned = frozen.with_order(replace(frozen.network.order, portion=5))
        data, whole = portioned.encode(photo), frozen.encode(photo)
        np.testing.assert_array_equal(portioned.decode(data), frozen.decode(whole))
        assert (data == whole) == (frozen.model == "joint")  # of which no group is so large


@pytest.mark.parametrize("model", ["hyperprior", "checkerboard"])
def test_files_of_version_1_had_no_portions(model):
    golden = Path(__file__).parents[1] / "golden" / model
    frozen = weight_files.read(golden / "tiny.safetensors")
    container = unpack((golden / "photo-constriction.cbk").read_bytes())
    portioned = frozen.with_order(replace(frozen.network.order, portion=5))
    for stream, symbols in frozen.read_symbols(container).items():
        np.testing.assert_array_equal(portioned.read_symbols(container)[stream], symbols)
    with pytest.raises(CodecError):
        portioned.read_symbols(replace(container, version=2))
