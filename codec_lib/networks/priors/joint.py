"""Joint autoregressive and hierarchical priors: Minnen et al. 2018."""

from codec_lib.coding.order import WAVEFRONT
from codec_lib.networks.priors.context import ContextPrior


class JointAutoregressive(ContextPrior):
    """The context is what raster order has decoded, walked as a wavefront."""

    name = "joint"
    order = WAVEFRONT
