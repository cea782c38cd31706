"""Settings that make no sense are refused before any work."""

import math

from torch import nn

from codec_lib import datasets, limits, rates
from codec_lib.codecs.gained import thousandths_within
from codec_lib.errors import Unsupported
from codec_lib.training.settings import LENGTHS, Settings
from codec_lib.weights.weight_files import Frozen


def check(settings: Settings, model: nn.Module, source: Frozen | None) -> None:
    """Refuse (`Unsupported`) settings that make no sense for this model and what it begins from."""
    given = [v for v in (getattr(settings, name) for name in LENGTHS) if v is not None]
    if len(given) != 1 or not 0 < given[0] < math.inf:
        raise Unsupported("Give exactly one of --steps, --epochs and --minutes, above zero.")
    wrong = [name for name in ("lmbda", "batch_size", "crop", "lr") if not 0 < getattr(settings, name) < 2**31]
    if wrong:
        raise Unsupported(f"The {wrong[0].replace('_', ' ')} must be above zero, and not far too large.")
    limits.check_size(settings.crop, settings.crop)
    if settings.lmbdas is not None:
        low, high = settings.lmbdas
        if not rates.RATE_POINTS[0] <= low < high <= rates.RATE_POINTS[-1]:
            raise Unsupported(
                f"A range of lmbda must rise and lie between {rates.RATE_POINTS[0]} and {rates.RATE_POINTS[-1]}."
            )
        if not thousandths_within(settings.lmbdas):
            raise Unsupported(f"The range of lmbda from {low} to {high} holds no quality of three decimals; widen it.")
        if settings.prior_only and source is not None and source.quality is None:
            first, *_, last = source.lmbdas
            if not first <= low < high <= last:
                raise Unsupported(f"A prior alone keeps the gains of its start, which has them for {first} to {last}.")
    if not 0 <= settings.last_lr <= 1:
        raise Unsupported(f"The last learning rate must be a share of the highest, 0 to 1, not {settings.last_lr}.")
    if not 0 <= settings.average < 1:
        raise Unsupported(f"The decay of the average must be at least 0 and below 1, not {settings.average}.")
    if not 0 < settings.smallest_scale <= settings.largest_scale < math.inf:
        scales = f"{settings.smallest_scale} and {settings.largest_scale}"
        raise Unsupported(f"The smallest scale must be above 0 and at most the largest, not {scales}.")
    if not 0 <= settings.seed < 2**31:
        raise Unsupported(f"The seed must be from 0 to {2**31 - 1}, not {settings.seed}.")
    if settings.crop % model.downscale:
        raise Unsupported(f"The crop must be a multiple of {model.downscale} pixels, not {settings.crop}.")
    if settings.prior_only and not hasattr(model, "of_transforms"):
        raise Unsupported(f"The model {settings.model} has no prior that could be trained alone.")
    if {"kodak", "photographs"} & set(datasets.named(settings.dataset)):
        raise Unsupported(f"The data set {settings.dataset} is for testing only; train on other pictures.")
    if settings.random_start and source is not None:
        raise Unsupported("A run cannot begin both at random and from other weights; leave --random-start out.")
