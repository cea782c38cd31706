"""What the package offers, by name: priors, autoencoders and transforms, one line each.

The command line, the container, training, figures and the README go by these tables. They name modules without
importing them, so that reading them costs nothing; `PRIORS["mine"] = Entry(...)` adds one while the process runs.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

from codec_lib.errors import Unsupported

DEFAULT_MODEL = "space-channel"
"""Of the command line and of Pillow's plugin."""


@dataclass(frozen=True)
class Entry:
    """A learned model.

    Attributes:
        where: "module:Class".
        number: its id in the container, 1 to 255; never used again for another.
        label: its name in figures. colour, marker: of its curves.
        description: a line for the command line.
        codec: the module that freezes it into a codec.
        beside: what stands beside it in tables, if anything does: a model of the report's, and one of CompressAI's.
    """

    where: str
    number: int
    label: str
    colour: str
    marker: str
    description: str
    codec: str = "codec_lib.codecs.freezing"
    beside: tuple[str, str] | None = None

    def load(self) -> type:
        """The class itself."""
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(module), name)

    def load_codec(self) -> ModuleType:
        """The module of `codec`: `freeze`, `from_tensors`, `rate_points`, `check_point`, `check_preset` ..."""
        return importlib.import_module(self.codec)


PRIORS: dict[str, Entry] = {
    "factorized": Entry("codec_lib.networks.priors.factorized:FactorizedPrior", 1, "factorized prior", "#0072B2", "o",
                        "one density a channel (Balle et al. 2017, 2018)",
                        beside=("factorized", "bmshj2018-factorized")),
    "hyperprior": Entry("codec_lib.networks.priors.hyperprior:ScaleHyperprior", 2, "hyperprior", "#D55E00", "s",
                        "scales from side information (Balle et al. 2018)",
                        beside=("hyperprior", "bmshj2018-hyperprior")),
    "joint": Entry("codec_lib.networks.priors.joint:JointAutoregressive", 3, "joint", "#009E73", "D",
                   "means and scales from side information and what is decoded (Minnen et al. 2018)",
                   beside=("joint", "mbt2018")),
    "checkerboard": Entry("codec_lib.networks.priors.checkerboard:Checkerboard", 4, "checkerboard", "#CC79A7", "^",
                          "the same in two passes (He et al. 2021)",
                          beside=("joint", "mbt2018")),
    "space-channel": Entry("codec_lib.networks.priors.space_channel:SpaceChannel", 5, "space-channel", "#56B4E9", "v",
                           "slices of channels, each in two passes (Minnen and Singh 2020; He et al. 2022)",
                           beside=("joint", "mbt2018")),
}  # fmt: skip


_CODEC = "codec_lib.codecs.autoencoder_codec"

AUTOENCODERS: dict[str, Entry] = {
    name: Entry(where, number, description, colour, marker, description, _CODEC)
    for name, where, number, colour, marker, description in [
        ("ae-maxpool", "codec_lib.networks.autoencoders:MaxPool", 16, "#E69F00", "v",
         "convolutions, halved by max-pooling"),
        ("ae-strided", "codec_lib.networks.autoencoders:Strided", 17, "#56B4E9", "P", "strided convolutions"),
        ("ae-residual", "codec_lib.networks.autoencoders:Residual", 18, "#0072B2", "*",
         "strided convolutions with residual blocks"),
        ("ae-vae", "codec_lib.networks.autoencoders:Variational", 19, "#D55E00", "v", "variational, a spatial latent"),
        ("ae-vector", "codec_lib.networks.autoencoders:VariationalVector", 20, "#009E73", "P",
         "variational, a vector for each 128x128 block"),
        ("ae-resnet18", "codec_lib.networks.resnet18:ResNet18", 21, "#CC79A7", "*",
         "ResNet-18 and a mirrored decoder"),
    ]
}  # fmt: skip

TRANSFORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "compact": ("codec_lib.networks.transforms.compact", ("compact", "tiny")),
    "paper": ("codec_lib.networks.transforms.paper", ("paper",)),
}
"""Style -> its module, and the presets that the module has; weights are looked for in the order of the presets."""


def presets() -> tuple[str, ...]:
    """The names of all presets of models with a prior."""
    return tuple(name for _, names in TRANSFORMS.values() for name in names)


def style_of(preset: str) -> str:
    """The transforms that a preset is of; `Unsupported` if there is no such preset."""
    for style, (_, names) in TRANSFORMS.items():
        if preset in names:
            return style
    raise Unsupported(f"There is no preset '{preset}'; choose from {', '.join(presets())}.")


def models() -> dict[str, Entry]:
    """All that encode: priors, then autoencoders."""
    return PRIORS | AUTOENCODERS


def entry(name: str, among: dict[str, Entry] | None = None) -> Entry:
    """A model by its public name, of those given or of all; `Unsupported` if there is none."""
    among = models() if among is None else among
    if name not in among:
        raise Unsupported(f"There is no model '{name}'; choose from {', '.join(among)}.")
    return among[name]
