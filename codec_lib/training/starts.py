"""What a run begins from, and that a resumed one began from the same."""

import sys

import torch
from torch import Tensor
from tqdm.auto import tqdm

from codec_lib import datasets
from codec_lib.codecs.autoencoder_codec import AutoencoderCodec
from codec_lib.errors import BadData
from codec_lib.networks.resnet18 import PRETRAINED
from codec_lib.registry import AUTOENCODERS
from codec_lib.training import initialisation
from codec_lib.training.runs import Run
from codec_lib.weights.weight_files import Frozen, path_of


def start(run: Run, crops: datasets.RandomCrops, source: Frozen | None, transforms: Frozen | None) -> None:
    """Give a fresh run the weights that it begins with, as `training.train` has them."""
    settings = run.settings
    if source is not None:
        run.started_from = _name(source)
    if settings.model in AUTOENCODERS:
        _start_autoencoder(run, crops, source)
    else:
        x = sample(run, crops, 256).cpu()
        run.model.cpu()  # starts are computed there, where the weights lie that they begin from
        model = run.model if settings.lmbdas is None else run.model.model
        if source is not None and source.quality is None:
            initialisation.carry_over_range(run.model, source.network, x, settings.lmbdas)
        elif source is not None:
            initialisation.carry_over(model, source.network, settings.lmbda, source.lmbda, x)
        elif not settings.random_start:
            initialisation.initialise(model, x, settings.lmbda)
        if transforms is not None:
            run.transforms_from = _name(transforms)
            initialisation.take_transforms(run.model, transforms.network)
        run.model.to(run.device)
    run.average.load_state_dict(run.model.state_dict())


def _start_autoencoder(run: Run, crops: datasets.RandomCrops, source: AutoencoderCodec | None) -> None:
    model = run.model.cpu()
    if source is not None:
        model.start_from(source.network, lambda: sample(run, crops, 256).cpu())
    elif model.pretrained and not run.settings.random_start:
        reason = model.fetch_pretrained()
        if reason is None:
            run.started_from = model.pretrained
        else:
            if run.rank == 0:
                tqdm.write(f"{run.settings.model} begins as a classical transform coder: {reason}.", file=sys.stderr)
            model.start(sample(run, crops, 256).cpu())
    model.to(run.device)


def sample(run: Run, crops: datasets.RandomCrops, count: int) -> Tensor:
    """Crops (count, 3, H, W) in [0, 1] of numbers that no step reaches, always the same."""
    return torch.stack([crops[2**40 + i] for i in range(count)]).to(run.device).float() / 255


def _name(source: Frozen) -> str:
    return f"{path_of(source.model, source.preset, source.quality).stem} {source.digest[:8].hex()}"


def check_origins(run: Run, source: Frozen | None, transforms: Frozen | None) -> None:
    """Refuse to go on with other origins than those that the run had: its card could not tell how it began."""
    pretrained = run.started_from == PRETRAINED
    for option, had, given in (
        ("--start", None if pretrained else run.started_from, source),
        ("--transforms", run.transforms_from, transforms),
    ):
        if had != (None if given is None else _name(given)):
            again = f"had {had} as {option}; give it again" if had else f"had no {option}; leave it out"
            raise BadData(f"The run to be resumed {again}.")
