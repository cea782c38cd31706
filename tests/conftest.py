"""What several test files share: photographs, small fitted models, and repeatable property tests."""

import copy
import functools
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from torch import Tensor

from codec_lib import datasets, images, rates, registry
from codec_lib.codecs import autoencoder_codec, freezing
from codec_lib.codecs.codec import Codec
from codec_lib.coding import range_coding
from codec_lib.commands.parser import main
from codec_lib.errors import BadData
from codec_lib.networks import autoencoders, models
from codec_lib.networks.gains import Gained
from codec_lib.networks.priors.base import Prior
from codec_lib.networks.priors.factorized import FactorizedPrior
from codec_lib.training import initialisation
from codec_lib.weights import weight_files

# A job in the background is started with Ctrl-C ignored; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the first call of a torch operator is slow. The same examples each time.
settings.register_profile("codecbook", deadline=None, derandomize=True, database=None)
settings.load_profile("codecbook")

TINY_LMBDA = 0.025

PAIRS = [
    (name, coder)
    for name, prior in registry.PRIORS.items()
    for coder in range_coding.CODERS
    if coder == "constriction" or not prior.load().order.many
]
"""Each model with each entropy coder that it can use: torchac keeps no state, so it cannot serve joint."""


def is_a_sentence(error: Exception) -> bool:
    return re.fullmatch(r"[A-Z][^\n]*\.", str(error)) is not None


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
def tiny_models(crops: Tensor) -> dict[str, Prior]:
    """Each kind of model in the tiny preset, KLT and priors fitted to `crops`; evaluation mode.

    They stand for trained models in the fast tests. Use `copy.deepcopy` before changing one.
    """
    made = {}
    for name in registry.PRIORS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made[name] = models.make(name, "tiny", TINY_LMBDA).eval()
            initialisation.initialise(made[name], crops, TINY_LMBDA)
            let_the_context_speak(made[name])
    return made


@torch.no_grad()
def let_the_context_speak(model: Prior) -> None:
    """Means and scales that depend on context and z a little; a fresh model's means are zero."""
    if model.name != "factorized":
        last = model.readout
        last.weight.add_(0.05 * torch.randn_like(last.weight))


@pytest.fixture(scope="session")
def tiny_model(tiny_models: dict[str, Prior]) -> FactorizedPrior:
    """The factorized prior of `tiny_models`."""
    return tiny_models["factorized"]


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
def codecs(tiny_models: dict[str, Prior]) -> dict[str, Codec]:
    """`tiny_models`, frozen: quality 3."""
    return {name: freezing.freeze(model, "tiny", TINY_LMBDA) for name, model in tiny_models.items()}


@pytest.fixture(scope="session", params=registry.PRIORS)
def each_codec(request, codecs: dict[str, Codec]) -> Codec:
    """The codec of each kind of model in turn."""
    return codecs[request.param]


@pytest.fixture(scope="session", params=PAIRS, ids="-".join)
def pair(request, codecs: dict[str, Codec]) -> tuple[Codec, str]:
    """Each codec with each entropy coder that it can use."""
    name, coder = request.param
    return codecs[name], coder


@pytest.fixture(scope="session")
def tiny_codec(codecs: dict[str, Codec]) -> Codec:
    """`tiny_model`, frozen: quality 3."""
    return codecs["factorized"]


@pytest.fixture(scope="session")
def tiny_codecs(tiny_models: dict[str, Prior]) -> list[Codec]:
    """`tiny_model` carried to the four rate points and frozen; index 0 is quality 1."""
    return [carried_to(lmbda, tiny_models["factorized"]) for lmbda in rates.LMBDAS]


def carried_to(lmbda: float, source: Prior) -> Codec:
    """A tiny model at another rate point, frozen."""
    model = models.make(source.name, "tiny", lmbda)
    initialisation.carry_over(model, source, lmbda, TINY_LMBDA)
    return freezing.freeze(model, "tiny", lmbda)


@pytest.fixture(scope="session")
def weights(tiny_codecs, codecs, tiny_models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weight files for `--weights`: `tiny_codecs`, and qualities 1 and 3 of the other models.

    Leave it as it is.
    """
    folder = tmp_path_factory.mktemp("weights")
    others = [name for name in registry.PRIORS if name != "factorized"]
    for frozen in [
        *tiny_codecs,
        *(codecs[name] for name in others),
        *(carried_to(rates.LMBDAS[0], tiny_models[name]) for name in others),
    ]:
        weight_files.save(frozen, weight_files.path_of(frozen.model, "tiny", frozen.quality, folder))
    return folder


def random_autoencoder(name: str, B: int, straight_through: bool = False) -> autoencoders.Autoencoder:
    """A tiny autoencoder of random weights whose symbols vary, in evaluation mode; each time a copy of the same."""
    return copy.deepcopy(_random_autoencoder(name, B, straight_through))


@functools.cache
@torch.no_grad()
def _random_autoencoder(name: str, B: int, straight_through: bool) -> autoencoders.Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = autoencoders.make(name, "tiny", B, straight_through)
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))  # biases too
        for _ in range(10):
            model(torch.rand(4, 3, 128, 128))  # statistics for batch normalisation
    return model.eval()


@torch.no_grad()
def with_random_gains(model: Prior, lmbda: float) -> Gained:
    """A model for every rate, whose rate points all differ, and not by one factor; the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = Gained(model, lmbda)
        for table in whole.gains.parameters():
            table.add_(0.05 * torch.randn_like(table))
        whole.gains.inverse.copy_(-whole.gains.gain)
    return whole


@pytest.fixture(scope="session")
def ae_codecs() -> dict[str, autoencoder_codec.AutoencoderCodec]:
    """`random_autoencoder` of each kind with a quantiser of 4 bits, frozen."""
    return {name: autoencoder_codec.freeze(random_autoencoder(name, 4), "tiny") for name in registry.AUTOENCODERS}


@pytest.fixture(scope="session", params=registry.AUTOENCODERS)
def ae_codec(request, ae_codecs) -> autoencoder_codec.AutoencoderCodec:
    """Each of `ae_codecs` in turn."""
    return ae_codecs[request.param]


@pytest.fixture(scope="session")
def ae_weights(ae_codecs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weight files for `--weights`: `ae_codecs`, and ae-strided with 1 bit. Leave it as it is."""
    folder = tmp_path_factory.mktemp("ae_weights")
    coarse = autoencoder_codec.freeze(random_autoencoder("ae-strided", 1), "tiny")
    for frozen in [*ae_codecs.values(), coarse]:
        weight_files.save(frozen, weight_files.path_of(frozen.model, "tiny", frozen.quality, folder))
    return folder


@pytest.fixture(params=range_coding.CODERS)
def coder(request) -> str:
    """Each entropy coder in turn."""
    return request.param


@pytest.fixture
def run(capfd):
    """Run a command in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(a) for a in arguments])
        except SystemExit as end:  # argparse's way
            status = end.code
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def pictures(tmp_path, photo) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(3):
        Image.fromarray(photo[16 * k :]).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def tiles(tmp_path_factory, photo) -> Path:
    """A folder of three pictures large enough for crops of 128. Leave it as it is."""
    folder = tmp_path_factory.mktemp("tiles")
    for k in range(3):
        Image.fromarray(np.tile(photo, (2, 2, 1))[k:]).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def large_and_small(tmp_path_factory, photo) -> list[Path]:
    """One picture large enough for MS-SSIM and one that is not, neither a multiple of 16. Leave them as they are."""
    folder = tmp_path_factory.mktemp("large_and_small")
    large = images.read_image(datasets.find("embedded")[0])[0][:171, 100:289]
    Image.fromarray(large).save(folder / "large.png")
    Image.fromarray(photo[:, :50]).save(folder / "small.png")
    return [folder / "large.png", folder / "small.png"]


@pytest.fixture
def no_mirror(monkeypatch, tmp_path) -> None:
    """A machine that has neither Kodak nor the training pictures."""
    monkeypatch.delenv("CODECBOOK_MIRROR", raising=False)
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
