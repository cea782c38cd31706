"""What the package offers, by name: priors, autoencoders and transforms, one line each.

The command line, the container, training, figures and the README go by these tables. They name modules without
importing them, so that reading them costs nothing; `PRIORS["mine"] = Entry(...)` adds one while the process runs.
"""

import importlib
from dataclasses import dataclass

from codec_lib.errors import Unsupported


@dataclass(frozen=True)
class Entry:
    """A learned model.

    Attributes:
        where: "module:Class".
        number: its id in the container, 1 to 255; never used again for another.
        label: its name in figures. colour, marker: of its curves.
        description: a line for the command line.
    """

    where: str
    number: int
    label: str
    colour: str
    marker: str
    description: str

    def load(self) -> type:
        """The class itself."""
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(module), name)


PRIORS: dict[str, Entry] = {
    "factorized": Entry("codec_lib.networks.priors.factorized:FactorizedPrior", 1, "factorized prior", "#0072B2", "o",
                        "one density a channel (Balle et al. 2017, 2018)"),
    "hyperprior": Entry("codec_lib.networks.priors.hyperprior:ScaleHyperprior", 2, "hyperprior", "#D55E00", "s",
                        "scales from side information (Balle et al. 2018)"),
    "joint": Entry("codec_lib.networks.priors.joint:JointAutoregressive", 3, "joint", "#009E73", "^",
                   "means and scales from side information and what is decoded (Minnen et al. 2018)"),
    "checkerboard": Entry("codec_lib.networks.priors.checkerboard:Checkerboard", 4, "checkerboard", "#CC79A7", "D",
                          "the same in two passes (He et al. 2021)"),
}  # fmt: skip

_AUTOENCODERS = "codec_lib.networks.autoencoders:"
AUTOENCODERS: dict[str, Entry] = {
    "ae-maxpool": Entry(_AUTOENCODERS + "MaxPool", 16, "ae-maxpool", "0.25", "1", "convolutions and max-pooling"),
    "ae-strided": Entry(_AUTOENCODERS + "Strided", 17, "ae-strided", "0.25", "2", "strided convolutions"),
    "ae-residual": Entry(_AUTOENCODERS + "Residual", 18, "ae-residual", "0.25", "3", "and residual blocks"),
    "ae-vae": Entry(_AUTOENCODERS + "Variational", 19, "ae-vae", "0.25", "4", "variational, a latent for each 8x8"),
    "ae-vector": Entry(_AUTOENCODERS + "VariationalVector", 20, "ae-vector", "0.25", "+", "a vector for each 128x128"),
    "ae-resnet18": Entry(_AUTOENCODERS + "ResNet18", 21, "ae-resnet18", "0.25", "x", "ResNet-18 and its mirror"),
}

TRANSFORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "paper": ("codec_lib.networks.transforms.paper", ("paper",)),
    "compact": ("codec_lib.networks.transforms.compact", ("compact", "tiny")),
}
"""Style -> its module, and the presets that the module has; weights are looked for in the order of the presets."""


def presets() -> tuple[str, ...]:
    """The names of all presets of models with a prior."""
    return tuple(name for _, names in TRANSFORMS.values() for name in names)


def style_of(preset: str) -> str:
    """The transforms that a preset is of.

    Raises:
        Unsupported: no preset has that name.
    """
    for style, (_, names) in TRANSFORMS.items():
        if preset in names:
            return style
    raise Unsupported(f"There is no preset '{preset}'; choose from {', '.join(presets())}.")


def models() -> dict[str, Entry]:
    """All that encode: priors, then autoencoders."""
    return PRIORS | AUTOENCODERS


def entry(name: str) -> Entry:
    """A model by its public name.

    Raises:
        Unsupported: there is none.
    """
    if name not in models():
        raise Unsupported(f"There is no model '{name}'; choose from {', '.join(models())}.")
    return models()[name]
