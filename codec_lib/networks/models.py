"""Models with a prior: their sizes by preset, what they say of a picture, and how one is made by its name."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from codec_lib import registry


@dataclass(frozen=True)
class Preset:
    """Sizes of a model: `style` of the transforms, N and M, and the widths of the compact style."""

    style: str
    N: int
    M: int
    widths: tuple[int, int] = (0, 0)
    blocks: int = 2


class Prediction(NamedTuple):
    """What a model says of a batch: `x_hat` (B, 3, H, W) and `bits` a stream name -> (B,)."""

    x_hat: Tensor
    bits: dict[str, Tensor]


class Rate(NamedTuple):
    """What the qualities of a batch make of a model for every rate, each broadcast to (B, channels, 1, 1).

    Attributes:
        gain, inverse: factors of y before rounding, and of y_hat after it.
        spread: log2 of the factor of the scales.
        gain_z: factor of z before rounding.
        shifts_a, shifts_s: of the residual blocks of g_a and g_s, (B, hidden) each.
    """

    gain: Tensor | float = 1.0
    inverse: Tensor | float = 1.0
    spread: Tensor | float = 0.0
    gain_z: Tensor | float = 1.0
    shifts_a: Sequence[Tensor] = ()
    shifts_s: Sequence[Tensor] = ()


ONE_RATE = Rate()
"""Of a model that has only one."""


def preset(name: str, lmbda: float, model: str = "factorized") -> Preset:
    """The sizes called `name` of a model at a rate point; `Unsupported` if there is no such preset or model."""
    module = importlib.import_module(registry.TRANSFORMS[registry.style_of(name)][0])
    return registry.entry(model).load().adapt(module.PRESETS[name](lmbda), lmbda)


def make_transforms(size: Preset) -> tuple[nn.Module, nn.Module]:
    """g_a and g_s of a preset."""
    module = importlib.import_module(registry.TRANSFORMS[size.style][0])
    return module.Analysis(size), module.Synthesis(size)


def make(name: str, preset_name: str, lmbda: float) -> nn.Module:
    """A fresh model, a `priors.base.Prior`, by its public name; `Unsupported` as `preset`."""
    return registry.entry(name, registry.PRIORS).load()(preset(preset_name, lmbda, name))
