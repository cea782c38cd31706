"""A prior that the package does not have, in one file: the mean-scale hyperprior of Minnen et al. 2018."""

import json

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from codec_lib import images, registry
from codec_lib.evaluation import inspection
from codec_lib.networks.models import Preset
from codec_lib.networks.priors.conditional import ExactConditional, table_of
from codec_lib.networks.priors.hyperprior import ScaleHyperprior
from codec_lib.networks.transforms.hyper import hyper_synthesis
from codec_lib.weights import weight_files


class MeanScaleHyperprior(ScaleHyperprior):
    name = "mean-scale"  # psi is mean and log2 of the scale, P = 2 M

    def __init__(self, size: Preset):
        super().__init__(size)
        self.h_s = hyper_synthesis(size.N, (size.N, size.N), 2 * size.M)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        return psi.chunk(2, 2)

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        return psi.chunk(2, 1)

    def exact(self) -> "ExactMeansAndScales":
        return ExactMeansAndScales(self)


class ExactMeansAndScales(ExactConditional):
    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        return psi[:, : self.M], table_of(psi[:, self.M :])


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_prior_of_ones_own_goes_through_all_commands(monkeypatch, no_mirror, run, tiles, photo, tmp_path):
    entry = registry.Entry(f"{__name__}:MeanScaleHyperprior", 200, "mean-scale", "black", "*", "Minnen et al. 2018")
    monkeypatch.setitem(registry.PRIORS, "mean-scale", entry)
    model, weights = ["--model", "mean-scale"], ["--weights", tmp_path / "mean-scale"]
    picture, file, decoded, csv = (tmp_path / name for name in ("photo.png", "photo.cbk", "decoded.png", "rates.csv"))
    Image.fromarray(photo).save(picture)
    training = ["--lmbda", 0.025, "--preset", "tiny", "--steps", 3, "--batch-size", 2, "--crop", 64, "--dataset", tiles]
    assert run("train", "--model", "hyperprior", *training, "--out", tmp_path)[0] == 0
    start = ["--start", tmp_path / "hyperprior-tiny-q3.safetensors"]  # its h_s has another shape
    assert run("train", *model, *training, *start, "--out", weights[1])[0] == 0
    assert run("encode", picture, file, *model, "--quality", 3, *weights)[0] == 0
    assert json.loads(run("info", file, "--json")[1])["model"] == "mean-scale"
    assert run("decode", file, decoded, *weights)[0] == 0
    frozen = weight_files.load("mean-scale", 3, folder=weights[1])
    np.testing.assert_array_equal(images.read_image(decoded)[0], frozen.estimate(photo)[0])
    seen = inspection.inspect(frozen, photo)
    assert seen.mean.any() and (np.abs(seen.mean) % 1).any() and seen.scale.std() > 0
    assert run("evaluate", *model, "--quality", 3, *weights, "--dataset", tiles, "--csv", csv)[0] == 0
