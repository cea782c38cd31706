"""Where a training run starts: near a classical transform codec, or from weights trained before."""

import math

import torch
from torch import Tensor

from codec_lib.codecs.gained import of_transforms
from codec_lib.networks.gains import Gained
from codec_lib.networks.priors.base import Prior
from codec_lib.rates import position_of


@torch.no_grad()
def initialise(model: Prior, x: Tensor, lmbda: float) -> None:
    """Start a model near a classical transform codec of the photographs x (n, 3, H, W) in [0, 1].

    The transforms become the KLT, or nearly, scaled so that a quantiser step of 1 suits lmbda. At high
    rate a step d costs -log2 d bits and d^2 / 12 of squared error a coefficient, of which the MSE is
    the mean over three samples a pixel, so the optimum is d^2 = 18 / (lmbda ln 2) on the 0..255
    scale. Then the priors are fitted to the latents. Transforms without `initialise` begin at random, as their prior
    does.
    """
    if not hasattr(model.g_a, "initialise"):
        return
    model.g_a.initialise(model.g_s, x, (18 / (lmbda * math.log(2))) ** 0.5)
    model.start(model.g_a(x))


@torch.no_grad()
def carry_over(model: Prior, source: Prior, lmbda: float, old_lmbda: float, x: Tensor | None = None) -> None:
    """Start a model at lmbda from one of the same transforms trained at old_lmbda.

    From a model of the same networks everything is taken; else the transforms are, and the prior begins where the
    source's has come to for photographs x (n, 3, H, W) in [0, 1], if it can (`continue_from`), or afresh.

    Raises:
        RuntimeError: the transforms' sizes differ.
    """
    gain = (lmbda / old_lmbda) ** 0.5
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (model, source)]
    alike = model.size == source.size and shapes[0] == shapes[1]
    if alike:
        model.load_state_dict(source.state_dict())
        model.rescale(gain)
    else:
        take_transforms(model, source)
    model.g_a.rescale(gain)
    model.g_s.rescale(gain)
    if not alike:
        _begin(model, source, gain, model.g_a(x))


@torch.no_grad()
def carry_over_range(gained: Gained, source: Gained, x: Tensor, lmbdas: tuple[float, float]) -> None:
    """Start from a model for a range of rates: all of the same prior, else its transforms, gains and, if it can, its z.

    Another prior begins with y of photographs x (n, 3, H, W) in [0, 1] as it is in the middle of the range `lmbdas`.
    """
    mine, theirs = gained.state_dict(), source.state_dict()
    alike = mine.keys() == theirs.keys() and all(mine[name].shape == theirs[name].shape for name in mine)
    shared = [n for n in theirs if alike or (n in mine and n.startswith(("model.g_a.", "model.g_s.", "gains.")))]
    gained.load_state_dict(mine | {n: theirs[n] for n in shared})
    if not alike:
        middle = torch.full((len(x),), sum(map(position_of, lmbdas)) / 2, device=x.device)
        _begin(gained.model, source.model, 1.0, gained.analyse(x, gained.gains(middle)))


def _begin(prior: Prior, source: Prior, gain: float, y: Tensor) -> None:
    """Where another kind of prior has come to, for gain * its y, or afresh."""
    if not prior.continue_from(source, gain, y):
        prior.start(y)


def take_transforms(model: Prior | Gained, source: Prior | Gained) -> None:
    """Give a model the g_a, g_s and gains of another, `RuntimeError` if sizes differ; its prior learns what changed."""
    shared = {n: t for n, t in source.state_dict().items() if of_transforms(n.removeprefix("model."))}
    model.load_state_dict(model.state_dict() | shared)
