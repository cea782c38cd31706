"""What priors with side information z share: Balle et al. 2018 and all that followed."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.coding import order
from codec_lib.coding.integer_networks import VALUE_BITS, in_pieces, integer_layers, to_grid
from codec_lib.coding.integer_tables import Tables
from codec_lib.networks.densities import (
    LOG2_SCALE_MIN,
    SCALES,
    SCALES_PER_OCTAVE,
    UnivariateDensity,
    density_bits,
    fit_density,
    frozen_tables,
    gaussian_bits,
    gaussian_log_prob,
    gaussian_tables,
    log2_scale_of,
)  # fmt: skip
from codec_lib.networks.klt import pass_on, principal_components, regression, vectors
from codec_lib.networks.layers import per_channel
from codec_lib.networks.models import ONE_RATE, Preset, Rate
from codec_lib.networks.priors.base import ALL, Prior, Soft, Visit
from codec_lib.networks.quantization import add_noise, round_to, straight_through


class Conditional(Prior):
    """A prior of y given side information z, which has a factorized prior of its own.

    x --g_a-- y --Q(y - mean) + mean-- y_hat --g_s-- x_hat
              |        |                 |
              |   mean, scale <------- context: what is decoded of y_hat before
              |        |
             h_a      h_s                            p(y_hat | z_hat) = prod of N(mean, scale^2) on unit bins
              |        |
              z --Q-- z_hat                          p(z_hat) = prod over channels of one UnivariateDensity each

    Subclasses give h_a, h_s, the coding order, `predict`, `predict_all` and `exact`; h_s gives psi (B, P, h, w), its
    word on each position. A subclass whose groups are not whole positions has a `walk` of its own.
    All but g_a and g_s runs in float32.
    """

    table_steps: ClassVar[dict[str, int]] = {"z": 250}
    h_a: nn.Sequential
    h_s: nn.Sequential

    def __init__(self, size: Preset):
        super().__init__(size)
        self.density_z = UnivariateDensity(size.N)
        self.register_buffer("inv_scale", torch.ones(()))  # of y where h_a sees it; not learned
        # Inputs of the last layers lie far from zero: a row's errors in 8 bits add up to an offset of means and scales,
        # which costs 1 to 4 % of the loss.
        self.stored_as = {"h_s.4": torch.float16}

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

    def walk(self, psi: Tensor, like: Tensor, visit: Visit) -> Tensor:
        """Go over the groups in coding order: y_hat, of the shape, type and device of `like`.

        Args:
            psi: (B, h w, P). like: (B, M, h, w).
            visit: `visit(group, mean, log2_scale)` gives y_hat there; tensors (B, n, m).
        """
        return order.walk(
            self.order, like,
            lambda positions, around: self.predict(psi[:, positions], around),
            lambda positions, *prediction: visit((positions, ALL), *prediction),
        )  # fmt: skip

    def code(self, y: Tensor, rate: Rate = ONE_RATE) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, M, h, w) -> y_hat and what it costs; in training mode the context sees noise."""
        with torch.autocast(y.device.type, enabled=False):
            z = self.side_latent(y / rate.gain) * rate.gain_z
            z_hat = round_to(z)[1]
            if self.training:
                psi = self.side_information(straight_through(z, z_hat) / rate.gain_z, y)
                y_hat, bits_y = self._noisy(y, psi, rate)
                return y_hat, {"z": self.bits_z(add_noise(z), rate.gain_z), "y": bits_y}
            y_hat, bits_y = self._rounded(y, self.side_information(z_hat, y))
            return y_hat, {"z": self.bits_z(z_hat), "y": bits_y}

    def relaxed(self, y: Tensor, z: Tensor, soft: Soft) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The context sees what would be decoded, were the means those that y itself leads to."""
        z_hat = soft(z)
        psi = self.side_information(z_hat, y)
        with torch.no_grad():
            mean, _ = self.predict_all(psi, y)
        mean, log2_scale = self.predict_all(psi, soft(y - mean) + mean)
        symbol = soft(y - mean)
        bits_y = gaussian_bits(symbol, log2_scale).sum()
        return symbol + mean, bits_y + self.bits_z(z_hat).sum(), [z_hat, symbol]

    def side_latent(self, y: Tensor) -> Tensor:
        return self.h_a(self.side_input(y))

    def side_input(self, y: Tensor) -> Tensor:
        """What h_a sees of y: (B, M, h, w) -> (B, channels, h, w), padded to multiples of 4.

        Continued like this, the blocks of 4x4 positions that z tells of are whole. h_a sees amplitudes on a logarithmic
        scale, as h_s gives scales, and after them the same with signs, for the means, where it has room for both.

        The paper's h_a sees |y| itself and must learn the logarithm. That takes longer than any training here: after an
        hour of one core from |y|, the loss of its networks was a sixth above that after ten more minutes from this.
        """
        y = F.pad(y * self.inv_scale, (0, -y.shape[3] % 4, 0, -y.shape[2] % 4), mode="replicate")
        amplitude = torch.log2(1 + y.abs())
        signed = self.h_a[0].in_channels > y.shape[1]
        return torch.cat([amplitude, amplitude * y.sign()], 1) if signed else amplitude

    def side_information(self, z_hat: Tensor, y: Tensor) -> Tensor:
        """psi (B, P, h, w), for the positions that y has: h and w need not be multiples of 4."""
        return self.h_s(z_hat)[:, :, : y.shape[2], : y.shape[3]]

    def bits_z(self, z_hat: Tensor, gain: float | Tensor = 1.0) -> Tensor:
        """Ideal code length of z, bits: (B, N, h, w), `gain` times what the densities know -> (B,)."""
        return density_bits(self.density_z, z_hat, gain)

    def _noisy(self, y: Tensor, psi: Tensor, rate: Rate = ONE_RATE) -> tuple[Tensor, Tensor]:
        noisy = add_noise(y)
        mean, log2_scale = self.predict_all(psi, noisy / rate.gain)
        mean = mean * rate.gain
        bits = gaussian_log_prob(noisy - mean, log2_scale + rate.spread).sum((1, 2, 3)) / -math.log(2)
        symbol, y_hat = round_to(y, mean)
        # Where nothing is sent, y_hat is the mean: the distortion must see to it. The rate does not where the scale
        # is small, for noise hides the mean from it.
        return straight_through(y, y_hat) + (symbol == 0) * (mean - mean.detach()), bits

    def _rounded(self, y: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        y_rows, psi_rows = (t.flatten(2).transpose(1, 2) for t in (y, psi))  # (B, h w, channels)
        bits = []

        def visit(group, mean: Tensor, log2_scale: Tensor) -> Tensor:
            symbol, y_hat = round_to(y_rows[:, *group], mean)
            bits.append(gaussian_bits(symbol, log2_scale).sum((1, 2)))
            return y_hat

        return self.walk(psi_rows, y, visit), sum(bits)

    # --- files ---

    def shapes(self, h: int, w: int) -> dict[str, tuple[int, int, int]]:
        return {"z": (self.size.N, -(-h // 4), -(-w // 4)), "y": (self.size.M, h, w)}

    def make_tables(self) -> dict[str, Tables]:
        return {"z": frozen_tables(self.density_z), "y": gaussian_tables()}

    def table_counts(self) -> dict[str, int]:
        return {"z": self.size.N, "y": SCALES}

    # --- starts ---

    @property
    def readout(self) -> nn.Conv2d:
        """The last layer before mean and scale; its last M outputs are log2 of the scale."""
        return self.h_s[-1]

    @torch.no_grad()
    def start(self, y: Tensor) -> None:
        """Begin with a side information that says something."""
        self.inv_scale.fill_(1.0)
        self._start_hyper_transforms(y)
        fit_density(self.density_z, self.side_latent(y))

    def _start_hyper_transforms(self, y: Tensor) -> None:
        """Make z the principal components of local (log-)amplitudes, and psi the scales that follow from them.

        From a random start z collapses: before h_s has learned to use it, it only costs bits, so h_a learns to send
        nothing, and the model is stuck with one scale a channel. Here the first K channels carry, through the layers
        there are, averages of 4x4 positions of K components of log2(1 + |y|); a bias keeps them positive on the way,
        where ReLU leaves them alone. All other channels start at random, and with no effect.
        """
        K = min(self.size.M, self.size.N // 2)
        shift = self._start_analysis(y, K)
        self._start_synthesis(K, shift)
        self.readout.weight.zero_()
        self.readout.bias.zero_()
        self._regress_scales(y - self.start_means(y, K), torch.round(self.side_latent(y)[:, :K]), shift)

    def _start_analysis(self, y: Tensor, K: int) -> Tensor:
        """h_a gives K principal components of log-amplitudes; what keeps them positive on the way, (K)."""
        M = self.size.M
        seen = self.side_input(y)[:, :M]
        blocks = F.avg_pool2d(seen, 4)
        mean, basis, deviation = principal_components(vectors(blocks), K)
        shift = (6 * deviation + 1).float()  # positive, but for rare outliers
        project, first, second = (layer for layer in self.h_a if isinstance(layer, nn.Conv2d))
        project.weight[:K] = 0.0
        project.weight[:K, :M, 1, 1] = basis.float()
        project.bias[:K] = shift - (basis @ mean).float()
        average = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0])  # of positions 2 i and 2 i + 1
        pass_on(first, K, average[:, None] * average)
        second.weight.zero_()
        second.bias.zero_()
        pass_on(second, K, average[:, None] * average)
        second.bias[:K] = -shift
        return shift

    def _start_synthesis(self, K: int, shift: Tensor) -> None:
        """h_s repeats the K components of z for 4x4 positions each."""
        up1, _, up2, *_ = self.h_s
        repeat = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])  # to positions 2 i and 2 i + 1
        pass_on(up1, K, repeat[:, None] * repeat)
        up1.bias[:K] = shift
        pass_on(up2, K, repeat[:, None] * repeat)
        self.pass_words_on(K)

    def pass_words_on(self, K: int) -> None:
        """Let what lies between h_s's upsampling and `readout` leave the first K channels alone."""

    def start_means(self, y: Tensor, first: int) -> Tensor:
        """Begin with some means, through hidden units from `first` on, and give them, (B, M, h, w)."""
        return torch.zeros_like(y)

    def _regress_scales(self, residual: Tensor, z_hat: Tensor, shift: Tensor) -> None:
        """`readout` turns z_hat, repeated, into half the log2 of the energy around each position: least squares."""
        M, K = self.size.M, z_hat.shape[1]
        z = z_hat.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, : residual.shape[2], : residual.shape[3]]
        energy = F.avg_pool2d(residual.square(), 3, stride=1, padding=1, count_include_pad=False)
        target = (energy + 1 / 12).log2() / 2
        weight, bias = regression(vectors(z), vectors(target))
        last = self.readout
        last.weight[-M:, :K, last.kernel_size[0] // 2, last.kernel_size[1] // 2] = weight
        last.bias[-M:] = bias - weight @ shift

    @torch.no_grad()
    def rescale(self, gain: float | Tensor, spread: Tensor | None = None) -> None:
        self.inv_scale = self.inv_scale / per_channel(gain)
        M, last = self.size.M, self.readout
        if len(last.bias) > M:  # the means
            last.weight[:M].mul_(per_channel(gain, 4))
            last.bias[:M].mul_(gain)
        last.bias[-M:].add_(torch.as_tensor(gain).log2() if spread is None else spread)

    @torch.no_grad()
    def rescale_z(self, gain: Tensor) -> None:
        last, first = self.h_a[-1], self.h_s[0]
        last.weight.mul_(per_channel(gain, 4))
        last.bias.mul_(gain)
        first.weight.div_(per_channel(gain, 4))  # of a transposed convolution: inputs come first
        self.density_z.rescale(gain)

    @torch.no_grad()
    def fix_scales(self, log2_scale: Tensor) -> None:
        self.readout.weight.mul_(0.1)
        self.readout.bias[-self.size.M :] = log2_scale


_AT_ONCE = 2**16
"""Positions of y that h_s computes at once; it bounds the memory, to some 500 MB."""

_MARGIN = 2
"""Rows of z above and below a strip that its positions see: 7/4."""


class ExactConditional:
    """h_s in integers, and what follows from it; subclasses give `predict`.

    Args:
        model: a conditional model, its weights as they are stored.

    Raises:
        BadData: its weights are too large.
    """

    def __init__(self, model: Conditional):
        self.M, self.order = model.size.M, model.order
        self.h_s = integer_layers(model.h_s)

    def side_information(self, z: Tensor, h: int, w: int) -> Tensor:
        """What z tells of each position.

        Args:
            z: symbols (N, ceil(h / 4), ceil(w / 4)), integers of any type.

        Returns:
            (h w, P) on the grid, int32.
        """
        psi = None
        n, rows = z.shape[1], max(1, _AT_ONCE // (16 * z.shape[2]))
        for first in range(0, n, rows):  # integers are the same whatever the strip, if its margins see all they need
            last, begin = min(first + rows, n), max(0, first - _MARGIN)
            v = to_grid(z[:, begin : last + _MARGIN].permute(1, 2, 0))
            for layer in self.h_s:
                v = layer(v)
            psi = torch.empty(4 * n, w, v.shape[2], dtype=torch.int32) if psi is None else psi
            psi[4 * first : 4 * last] = v[4 * (first - begin) : 4 * (last - begin), :w]
        return psi[:h].flatten(0, 1)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and table of each symbol at single positions.

        Args:
            psi: rows of `side_information`, (n, P).
            around: y_hat of the neighbours, (n, taps, M), on the grid, float64.

        Returns:
            The mean, on the grid, (n, M); the index of the table, int64 (n, M).
        """
        raise NotImplementedError

    def walk(self, psi: Tensor, h: int, w: int, visit: Visit) -> Tensor:
        like = torch.empty(1, self.M, h, w, dtype=torch.int32)  # holds every value of the grid
        return order.walk(
            self.order, like,
            lambda positions, around: in_pieces(self.predict, psi[positions], around[0]),
            lambda positions, *prediction: visit((positions, ALL), *prediction)[None].to(like.dtype),
        )  # fmt: skip

    def bits(self, symbols: Tensor, index: Tensor) -> Tensor:
        return gaussian_bits(symbols, self.log2_scale(index))

    def log2_scale(self, index: Tensor) -> Tensor:
        return log2_scale_of(index.double())


def table_of(log2_scale: Tensor) -> Tensor:
    """The table nearest to a scale, given as its log2 on the grid, int64."""
    step = 2.0**VALUE_BITS / SCALES_PER_OCTAVE
    index = (log2_scale.double() / step).add_(0.5 - LOG2_SCALE_MIN * SCALES_PER_OCTAVE)
    return index.floor_().clamp_(0, SCALES - 1).long()
