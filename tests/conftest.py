"""What several test files share: photographs, a small fitted model, and repeatable property tests."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from codec_lib import codec, datasets, entropy_coding, images, models
from codec_lib.errors import BadData

# No deadline: the first call of a torch operator is slow. The same examples each time.
settings.register_profile("codecbook", deadline=None, derandomize=True, database=None)
settings.load_profile("codecbook")

TINY_LMBDA = 0.025


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A face with background: uint8 (96, 112, 3). Copy before changing."""
    astronaut = images.read_image(datasets.find("embedded")[0])[0]
    pixels = astronaut[40:136, 170:282].copy()
    pixels.flags.writeable = False
    return pixels


@pytest.fixture(scope="session")
def crops() -> Tensor:
    """The middle of each embedded photograph, float32 (7, 3, 96, 96) in [0, 1]."""
    return datasets.centre_crops(datasets.find("embedded"), 96).float() / 255


@pytest.fixture(scope="session")
def tiny_model(crops: Tensor) -> models.FactorizedPrior:
    """A factorized prior of the tiny preset, KLT and densities fitted to `crops`; evaluation mode.

    It stands for every trained model in the fast tests. Use `copy.deepcopy` before changing it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.make("factorized", "tiny", TINY_LMBDA)
        models.initialise(model, crops, TINY_LMBDA)
    return model.eval()


@pytest.fixture(scope="session")
def kodak() -> list[Path]:
    """The paths of the 24 Kodak photographs; skips the test where they are not on this machine."""
    try:
        return datasets.find("kodak")
    except BadData as error:
        if "is not on this machine" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_codecs(tiny_model: models.FactorizedPrior) -> list[codec.Codec]:
    """`tiny_model` carried to the four rate points and frozen; index 0 is quality 1."""
    codecs = []
    for lmbda in models.LMBDAS:
        carried = models.make("factorized", "tiny", lmbda)
        models.carry_over(carried, tiny_model, lmbda, TINY_LMBDA)
        codecs.append(codec.freeze(carried, "tiny", lmbda))
    return codecs


@pytest.fixture(scope="session")
def weights(tiny_codecs: list[codec.Codec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weight files of `tiny_codecs`, for `--weights`. Leave it as it is."""
    folder = tmp_path_factory.mktemp("weights")
    for quality, frozen in enumerate(tiny_codecs, start=1):
        frozen.save(codec.weights_path("factorized", "tiny", quality, folder))
    return folder


@pytest.fixture(scope="session")
def tiny_codec(tiny_model: models.FactorizedPrior) -> codec.Codec:
    """`tiny_model`, frozen: quality 3."""
    return codec.freeze(tiny_model, "tiny", TINY_LMBDA)


@pytest.fixture(params=entropy_coding.CODERS)
def coder(request) -> str:
    """Each entropy coder in turn."""
    return request.param
