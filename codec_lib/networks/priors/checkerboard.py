"""The checkerboard context model: He et al. 2021."""

from codec_lib.coding.order import CHECKERBOARD
from codec_lib.networks.priors.context import ContextPrior


class Checkerboard(ContextPrior):
    """Anchors from z alone, then the others from z and the anchors around them."""

    name = "checkerboard"
    order = CHECKERBOARD
