"""A pair of transforms that the package does not have, in one file: linear maps of blocks of 16x16 pixels."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from codec_lib import images, registry
from codec_lib.networks.layers import per_channel
from codec_lib.networks.models import Preset
from codec_lib.weights import weight_files

PRESETS = {"blocks": lambda lmbda: Preset("blocks", 16, 24)}


class Analysis(nn.Conv2d):
    """(B, 3, H, W) -> (B, M, H/16, W/16), a linear block transform."""

    def __init__(self, size: Preset):
        super().__init__(3, size.M, 16, 16)
        self.dimensions = ("blocks", size.N, size.M)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        self.weight.mul_(per_channel(gain, 4))
        self.bias.mul_(gain)


class Synthesis(nn.ConvTranspose2d):
    """Back to pixels."""

    def __init__(self, size: Preset):
        super().__init__(size.M, 3, 16, 16)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor) -> None:
        self.weight.div_(per_channel(gain, 4))


@pytest.mark.filterwarnings("ignore:.*fork.*")
@pytest.mark.parametrize("rate", [["--lmbda", 0.025], ["--lmbdas", 0.0035, 0.093]], ids=["one rate", "every rate"])
@pytest.mark.parametrize("model", ["factorized", "hyperprior", "joint", "space-channel"])
def test_transforms_of_ones_own_go_through_all_commands(
    model, rate, monkeypatch, no_mirror, run, tiles, photo, tmp_path
):
    monkeypatch.setitem(sys.modules, "new_transform", sys.modules[__name__])
    monkeypatch.setitem(registry.TRANSFORMS, "blocks", ("new_transform", ("blocks",)))
    picture, file, decoded = (tmp_path / name for name in ("photo.png", "photo.cbk", "decoded.png"))
    Image.fromarray(photo).save(picture)
    choice, weights = ["--model", model, "--preset", "blocks"], ["--weights", tmp_path]
    training = [*rate, "--steps", 2, "--batch-size", 2, "--crop", 64, "--dataset", tiles]
    assert run("train", *choice, *training, "--out", tmp_path)[0] == 0
    assert run("encode", picture, file, *choice, "--quality", 3, *weights)[0] == 0
    assert run("decode", file, decoded, *weights)[0] == 0
    predicted, _ = weight_files.load(model, 3, "blocks", tmp_path).estimate(photo)
    np.testing.assert_array_equal(images.read_image(decoded)[0], predicted)
