"""What a model with a prior has to offer: the one interface that codecs, training and evaluation go by."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Protocol

from torch import Tensor, nn

from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.order import ONE_GROUP, Order
from codec_lib.errors import Unsupported
from codec_lib.networks.models import ONE_RATE, Prediction, Preset, Rate, make_transforms

Group = tuple[Tensor, slice]
"""What of a latent (h w, M) is coded together, as an index: at most `order.portion` positions, and channels."""

ALL = slice(None)

Soft = Callable[[Tensor], Tensor]

Visit = Callable[[Group, Tensor, Tensor], Tensor]
"""`visit(group, mean, index)` gives y_hat there, of n positions and m channels: each tensor is (n, m).

Index is that of the table. The training form has log2 of the scale in its place, and each tensor is (B, n, m).
"""


class ExactPrior(Protocol):
    """What encoder and decoder must compute alike: integers held in float64 (`coding.integer_networks`)."""

    def side_information(self, z: Tensor | None, h: int, w: int) -> Tensor:
        """What the symbols z (N, ..), if there are any, tell of a latent of h x w: (h w, P), int32, for `walk`."""

    def walk(self, psi: Tensor, h: int, w: int, visit: Visit) -> Tensor:
        """Go over the groups in coding order; mean and y_hat are on the grid, float64, index is int64.

        Gives y_hat, (1, M, h, w), int32.
        """

    def bits(self, symbols: Tensor, index: Tensor) -> Tensor:
        """Ideal code length of each symbol, given its table: (n, m) and (n, m) -> (n, m), float64."""

    def log2_scale(self, index: Tensor) -> Tensor | None:
        """log2 of the deviation that each table is made for; None where tables are of no Gaussian."""


class Prior(nn.Module):
    """A model of the rate: transforms and the distribution of what lies between them.

    Attributes:
        name: as in the registry.
        order: the coding order of positions.
        downscale: pixels that a latent position covers, each way.
        pretrained: name of weights of others that it can start from; there are none.
        table_steps: streams whose tables change with the rate, and after how many thousandths of quality.
        size: what it was made with.
    """

    name: str
    order: Order = ONE_GROUP
    downscale = 16
    pretrained: str | None = None
    table_steps: ClassVar[dict[str, int]] = {}

    def __init__(self, size: Preset):
        super().__init__()
        self.size = size
        self.g_a, self.g_s = make_transforms(size)

    def of_transforms(self) -> list[nn.Parameter]:
        """The parameters that priors can share."""
        return [*self.g_a.parameters(), *self.g_s.parameters()]

    @property
    def dimensions(self) -> tuple:
        """What the transforms of two models must agree in, so that one can have those of the other."""
        return self.g_a.dimensions

    @classmethod
    def adapt(cls, size: Preset, lmbda: float) -> Preset:
        """The sizes of this prior at a rate point, given those of the preset."""
        return size

    # --- training form ---

    def forward(self, x: Tensor) -> Prediction:
        """x (B, 3, H, W) in [0, 1], H and W multiples of `downscale`."""
        y_hat, bits = self.code(self.g_a(x).float())
        return Prediction(self.g_s(y_hat), bits)

    def code(self, y: Tensor, rate: Rate = ONE_RATE) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, M, h, w) -> y_hat and what it costs, stream by stream, each (B,) bits.

        In training y may have gains (`networks.gains`): the prior knows it as it is at the gain 1.

        In training mode the rates are those under uniform noise (an upper bound on average) and g_s sees values
        rounded, with the gradient of what was rounded (the mixed quantisation of Minnen and Singh 2020); in evaluation
        mode everything is rounded, exactly as a file has it.
        """
        raise NotImplementedError

    def relaxed(self, y: Tensor, z: Tensor | None, soft: Soft) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What a file of y and z would hold, were `soft` what rounds; differentiable, for a search.

        Args:
            y, z: (1, M, h, w) and (1, N, ..) before rounding.
            soft: a smooth function in place of rounding, of each value.

        Returns:
            y_hat, all bits, (), and the symbols of each stream, soft as they are.

        Raises:
            Unsupported: this prior has no such form.
        """
        raise Unsupported(f"The {self.name} model cannot search; use --effort 0.")

    # --- files ---

    def times(self, h: int, w: int) -> Tensor:
        """When each symbol of y is coded, int64 (M, h, w); symbols of equal time form a group."""
        return self.order.times(h, w).expand(self.size.M, h, w)

    def shapes(self, h: int, w: int) -> dict[str, tuple[int, int, int]]:
        """Channels, height and width of each stream's symbols, of a latent of h x w."""
        return {"y": (self.size.M, h, w)}

    def make_tables(self) -> dict[str, Tables]:
        """The integer tables of each stream, from the weights."""
        raise NotImplementedError

    def table_counts(self) -> dict[str, int]:
        """How many tables each stream has."""
        raise NotImplementedError

    def exact(self) -> ExactPrior:
        """What of it a decoder must repeat, in integers; the weights are those that are stored.

        Raises:
            BadData: they are too large.
        """
        raise NotImplementedError

    def side_latent(self, y: Tensor) -> Tensor | None:
        """z (B, N, ..) before it is rounded, or None: y (B, M, h, w)."""
        return None

    # --- starts ---

    def start(self, y: Tensor) -> None:
        """Fit a fresh prior to the latents y (n, M, h, w) of photographs."""

    def rescale(self, gain: float | Tensor, spread: Tensor | None = None) -> None:
        """Become the prior of gain * y, a number or (M); its scales have the factor 2^spread, (M), or that of y."""
        raise NotImplementedError

    def rescale_z(self, gain: Tensor) -> None:
        """Let z be gain * z, (N)."""

    def continue_from(self, source: "Prior", gain: float, y: Tensor) -> bool:
        """Begin where another kind of prior has come to, for gain * its y; False where this one cannot."""
        return False

    def fix_scales(self, log2_scale: Tensor) -> None:
        """Predict these deviations (M) everywhere, nearly: for timing a model of random weights."""
        raise NotImplementedError


def narrow_at_low_rates(size: Preset, lmbda: float) -> Preset:
    """N = 128 instead of 192 in the papers' form below quality 3 (Balle et al. 2018, Minnen et al. 2018)."""
    return replace(size, N=128) if size.style == "paper" and lmbda < 0.02 else size
