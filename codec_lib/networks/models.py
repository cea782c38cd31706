"""The rate-distortion models in training form: `forward(x)` gives x_hat and the bits it costs."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.coding.order import CHECKERBOARD, ONE_GROUP, WAVEFRONT, Order, walk
from codec_lib.errors import Unsupported
from codec_lib.networks import transforms
from codec_lib.networks.densities import UnivariateDensity, gaussian_bits, gaussian_log_prob
from codec_lib.networks.layers import MaskedConv2d
from codec_lib.networks.quantization import add_noise, round_to, straight_through

LMBDAS = (0.0067, 0.013, 0.025, 0.0483)
"""Rate points of the fourth seed; `quality` is the position in it, from 1."""


def quality_of(lmbda: float) -> int:
    """The rate point nearest to lmbda, from 1."""
    return 1 + min(range(len(LMBDAS)), key=lambda k: abs(math.log(LMBDAS[k] / lmbda)))


@dataclass(frozen=True)
class Preset:
    """Sizes of a model: `style` of the transforms, N and M, and the widths of the compact style."""

    style: str
    N: int
    M: int
    widths: tuple[int, int] = (0, 0)
    blocks: int = 2


def preset(name: str, lmbda: float, model: str = "factorized") -> Preset:
    """The sizes called `name` of a model at a rate point; the papers use wider networks for high rates.

    Raises:
        Unsupported: no preset has that name.
    """
    low = lmbda < 0.02
    N = 128 if low and model in ("factorized", "hyperprior") else 192
    sizes = {
        "paper": Preset("paper", N, 192 if low else 320),
        "compact": Preset("compact", 128, 192 if low else 320, (64, 128)),
        "tiny": Preset("compact", 16, 12, (8, 16), 1),
    }
    if name not in sizes:
        raise Unsupported(f"There is no preset '{name}'; choose from {', '.join(sizes)}.")
    return sizes[name]


class Prediction(NamedTuple):
    """What a model says of a batch: `x_hat` (B, 3, H, W) and `bits` a stream name -> (B,)."""

    x_hat: Tensor
    bits: dict[str, Tensor]


def make_transforms(size: Preset) -> tuple[nn.Module, nn.Module]:
    """g_a and g_s of a preset."""
    if size.style == "paper":
        return transforms.paper_analysis(size.N, size.M), transforms.paper_synthesis(size.N, size.M)
    return (
        transforms.CompactAnalysis(size.widths, size.M, size.blocks),
        transforms.CompactSynthesis(size.widths, size.M, size.blocks),
    )


def _density_bits(density: UnivariateDensity, latent: Tensor) -> Tensor:
    """Ideal code length of a latent whose channels have a density each, bits. (B, M, h, w) -> (B,)."""
    B, M = latent.shape[:2]
    with torch.autocast(latent.device.type, enabled=False):
        log_p = density.log_prob(latent.transpose(0, 1).reshape(M, -1))  # (M, B h w)
    return log_p.reshape(M, B, -1).sum((0, 2)) / -math.log(2)


class FactorizedPrior(nn.Module):
    """Balle et al. 2017 with the density of Balle et al. 2018, appendix 6.1.

    x --g_a-- y --Q-- y_hat --g_s-- x_hat
                       |
                 p(y_hat) = prod over channels of one UnivariateDensity each
    """

    name = "factorized"
    downscale = transforms.DOWNSCALE
    order = ONE_GROUP

    def __init__(self, size: Preset):
        super().__init__()
        self.size = size
        self.g_a, self.g_s = make_transforms(size)
        self.density_y = UnivariateDensity(size.M)

    def forward(self, x: Tensor) -> Prediction:
        """x (B, 3, H, W) in [0, 1], H and W multiples of `downscale`."""
        y_hat, bits = self.code(self.g_a(x).float())
        return Prediction(self.g_s(y_hat), bits)

    def code(self, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, M, h, w) -> y_hat and what it costs.

        In training mode the rate is that of y under uniform noise (an upper bound on average) and g_s
        sees y rounded, with the gradient of y (the mixed quantisation of Minnen and Singh 2020); in
        evaluation mode both see y rounded, exactly as a file has it.
        """
        y_hat = round_to(y)[1]
        if self.training:
            return straight_through(y, y_hat), {"y": self.bits_y(add_noise(y))}
        return y_hat, {"y": self.bits_y(y_hat)}

    def bits_y(self, y_hat: Tensor) -> Tensor:
        """Ideal code length of a latent, bits. (B, M, h, w) -> (B,)."""
        return _density_bits(self.density_y, y_hat)


class _Conditional(nn.Module):
    """A prior of y given side information z, which has a factorized prior of its own.

    x --g_a-- y --Q(y - mean) + mean-- y_hat --g_s-- x_hat
              |        |                 |
              |   mean, scale <------- context: what is decoded of y_hat before
              |        |
             h_a      h_s                            p(y_hat | z_hat) = prod of N(mean, scale^2) on unit bins
              |        |
              z --Q-- z_hat                          p(z_hat) = prod over channels of one UnivariateDensity each

    Subclasses give the coding order and `predict`; h_s gives psi (B, P, h, w), its word on each position.
    All but g_a and g_s runs in float32.
    """

    downscale = transforms.DOWNSCALE
    order: Order
    h_a: nn.Module
    h_s: nn.Module

    def __init__(self, size: Preset):
        super().__init__()
        self.size = size
        self.g_a, self.g_s = make_transforms(size)
        self.density_z = UnivariateDensity(size.N)
        self.register_buffer("inv_scale", torch.ones(()))  # of y where h_a sees it; not learned

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log2 of the scale at single positions.

        Args:
            psi: (B, n, P), of h_s. around: (B, n, taps, M), the context's neighbours.

        Returns:
            Two tensors (B, n, M).
        """
        raise NotImplementedError

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        """The same for all positions at once, when all of y is known: (B, P, h, w), (B, M, h, w)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Prediction:
        """x (B, 3, H, W) in [0, 1], H and W multiples of `downscale`."""
        y_hat, bits = self.code(self.g_a(x).float())
        return Prediction(self.g_s(y_hat), bits)

    def code(self, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, M, h, w) -> y_hat and what it costs, stream by stream.

        In training mode the rates are those under uniform noise, g_s and h_s see values rounded, with the
        gradient of what was rounded, and the context sees noise. In evaluation mode everything is
        rounded, group after group, as a file has it.
        """
        with torch.autocast(y.device.type, enabled=False):
            z = self.h_a(self.side_input(y))
            z_hat = round_to(z)[1]
            if self.training:
                y_hat, bits_y = self._noisy(y, self.side_information(straight_through(z, z_hat), y))
                return y_hat, {"z": self.bits_z(add_noise(z)), "y": bits_y}
            y_hat, bits_y = self._rounded(y, self.side_information(z_hat, y))
            return y_hat, {"z": self.bits_z(z_hat), "y": bits_y}

    def side_input(self, y: Tensor) -> Tensor:
        """What h_a sees of y: (B, M, h, w) -> (B, channels, h, w), made up to multiples of 4 at the border.

        Continued like this, the blocks of 4x4 positions that z tells of are whole.
        """
        y = F.pad(y * self.inv_scale, (0, -y.shape[3] % 4, 0, -y.shape[2] % 4), mode="replicate")
        return self.describe(y)

    def describe(self, y: Tensor) -> Tensor:
        """The part of y that the prior is to know: amplitudes, in the compact style on a logarithmic scale."""
        return y.abs() if self.size.style == "paper" else torch.log2(1 + y.abs())

    def side_information(self, z_hat: Tensor, y: Tensor) -> Tensor:
        """psi (B, P, h, w), for the positions that y has: h and w need not be multiples of 4."""
        return self.h_s(z_hat)[:, :, : y.shape[2], : y.shape[3]]

    def bits_z(self, z_hat: Tensor) -> Tensor:
        """Ideal code length of z, bits. (B, N, h, w) -> (B,)."""
        return _density_bits(self.density_z, z_hat)

    def _noisy(self, y: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        noisy = add_noise(y)
        mean, log2_scale = self.predict_all(psi, noisy)
        bits = gaussian_log_prob(noisy - mean, log2_scale).sum((1, 2, 3)) / -math.log(2)
        symbol, y_hat = round_to(y, mean)
        # Where nothing is sent, y_hat is the mean: the distortion must see to it. The rate does not where the scale
        # is small, for noise hides the mean from it.
        return straight_through(y, y_hat) + (symbol == 0) * (mean - mean.detach()), bits

    def _rounded(self, y: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        y_rows, psi_rows = (t.flatten(2).transpose(1, 2) for t in (y, psi))  # (B, h w, channels)
        bits = []

        def predict(positions: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
            return self.predict(psi_rows[:, positions], around)

        def visit(positions: Tensor, mean: Tensor, log2_scale: Tensor) -> Tensor:
            symbol, y_hat = round_to(y_rows[:, positions], mean)
            bits.append(gaussian_bits(symbol, log2_scale).sum((1, 2)))
            return y_hat

        return walk(self.order, y, predict, visit), sum(bits)


class ScaleHyperprior(_Conditional):
    """Balle et al. 2018: a zero-mean Gaussian, whose scales z tells. psi is log2 of the scale, P = M."""

    name = "hyperprior"
    order = ONE_GROUP

    def __init__(self, size: Preset):
        super().__init__(size)
        self.h_a = transforms.hyper_analysis(size.M, size.N)
        self.h_s = transforms.hyper_synthesis(size.N, (size.N, size.N), size.M)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(psi), psi

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(psi), psi


class _Context(_Conditional):
    """Mean and scale from psi and a 5x5 context, joined by 1x1 convolutions (Minnen et al. 2018)."""

    def __init__(self, size: Preset):
        super().__init__(size)
        N, M = size.N, size.M
        if size.style == "paper":
            widths, P, hidden = (M, M * 3 // 2), 2 * M, (M * 10 // 3, M * 8 // 3)
            self.h_a = transforms.hyper_analysis(M, N)
        else:
            widths, P, hidden = (N, N), 2 * N, (2 * N, 2 * N)
            self.h_a = transforms.hyper_analysis(2 * M, N)
        self.h_s = transforms.hyper_synthesis(N, widths, P)
        self.context = MaskedConv2d(M, P, torch.tensor(self.order.mask))
        self.entropy_parameters = nn.Sequential(
            nn.Conv2d(2 * P, hidden[0], 1), nn.ReLU(), nn.Conv2d(hidden[0], hidden[1], 1), nn.ReLU(),
            nn.Conv2d(hidden[1], 2 * M, 1),
        )  # fmt: skip

    def describe(self, y: Tensor) -> Tensor:
        """The signs are wanted too, for the means."""
        if self.size.style == "paper":
            return y
        amplitude = torch.log2(1 + y.abs())
        return torch.cat([amplitude, amplitude * y.sign()], 1)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([psi, self.context.at(around)], 2).transpose(1, 2)[..., None]  # (B, 2 P, n, 1)
        return self.entropy_parameters(both)[..., 0].transpose(1, 2).chunk(2, 2)

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        shown = self.order.shown(*y_noisy.shape[2:]).to(y_noisy.device)
        return self.entropy_parameters(torch.cat([psi, self.context(y_noisy * shown)], 1)).chunk(2, 1)


class JointAutoregressive(_Context):
    """Minnen et al. 2018: the context is what raster order has decoded, walked as a wavefront."""

    name = "joint"
    order = WAVEFRONT


class Checkerboard(_Context):
    """He et al. 2021: anchors from z alone, then the others from z and the anchors around them."""

    name = "checkerboard"
    order = CHECKERBOARD


Model = FactorizedPrior | _Conditional

MODELS = {m.name: m for m in (FactorizedPrior, ScaleHyperprior, JointAutoregressive, Checkerboard)}


def make(name: str, preset_name: str, lmbda: float) -> Model:
    """A fresh model by its public name.

    Raises:
        Unsupported: no model or preset has that name.
    """
    if name not in MODELS:
        raise Unsupported(f"There is no model '{name}'; choose from {', '.join(MODELS)}.")
    return MODELS[name](preset(preset_name, lmbda, name))
