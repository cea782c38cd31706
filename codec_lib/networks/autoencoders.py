"""The autoencoders that the reports began with: a fixed quantiser between two networks, no model of the symbols.

    x --g_a-- f in [0, 1] --round(2^B f)-- symbols 0..2^B --/ 2^B-- f_hat --g_s-- x_hat

The rate is decided by the number of symbols and by B; what a lossless coder saves comes afterwards
(`coding.symbol_streams`). In training f gets Gaussian noise of the quantiser's amplitude instead of rounding, as the
reports have it, or is rounded with the gradient passed straight through, which serves coarse quantisers better.

    ae-maxpool   convolutions, halved by max-pooling          (first report's start; positions 8x8 pixels)
    ae-strided   the same, halved by strided convolutions     (first report)
    ae-residual  ae-strided with residual blocks              (first report)
    ae-vae       ae-strided, variational, spatial latent      (what the first report's could have been)
    ae-vector    variational, a vector for each 128x128 block (what the first report's was)
    ae-resnet18  ResNet-18 and a mirrored residual decoder    (second and third reports; positions 32x32), in `resnet18`
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib import registry
from codec_lib.coding.compressor import entropy
from codec_lib.errors import Unsupported
from codec_lib.networks import quantization
from codec_lib.networks.models import Prediction

BITS = (1, 2, 4, 10)
"""B of the reports' quantisers."""

_NOISE = 12**-0.5  # standard deviation of a rounding error, in steps


@dataclass(frozen=True)
class Size:
    """Channels after each halving, and C: channels of the latent."""

    widths: tuple[int, ...]
    C: int


def _sizes(name: str, B: int) -> dict[str, Size]:
    if name == "ae-resnet18":
        C = 512 if B in (1, 4) else 128  # second and third report
        return {
            "paper": Size((64, 64, 128, 256, 512), C),
            "compact": Size((32, 32, 64, 128, 256), C),
            "tiny": Size((8, 8, 8, 8, 8), 12),
        }
    if name == "ae-vector":
        return {"compact": Size((32, 64, 128, 128), 128), "tiny": Size((8, 8, 8, 8), 16)}
    return {"compact": Size((32, 64, 128), 16), "tiny": Size((8, 8, 8), 4)}


def check_bits(name: str, B: float) -> None:
    """Refuse (`Unsupported`) a quantiser that there is not, and name those that there are."""
    if B not in BITS:
        raise Unsupported(f"No quantiser of {name} has {B} bits; choose from {', '.join(map(str, BITS))}.")


def check_preset(name: str, preset: str, B: int) -> None:
    """Refuse (`Unsupported`) a preset that an autoencoder does not have, and name those that it has."""
    presets = _sizes(name, B)
    if preset not in presets:
        raise Unsupported(f"There is no preset '{preset}' of {name}; choose from {', '.join(presets)}.")


def order_0_bits(symbols: Tensor) -> Tensor:
    """Empirical entropy of all symbols of each picture together, times their number: (B, ...) int -> (B) bits."""
    bits = [one.numel() * entropy(one.numpy()) for one in symbols.detach().cpu()]
    return torch.tensor(bits, dtype=torch.float64, device=symbols.device)


class Autoencoder(nn.Module):
    """g_a, a quantiser of B bits, g_s.

    Attributes:
        downscale: pixels that a latent position covers, each way.
        margins: how many latent positions away, each way, is all that g_a looks at for one of them, and g_s.

    Args:
        size: channels.
        B: one of `BITS`; the symbols are 0..2^B (second report; third report's formula is the same).
        straight_through: in training the decoder sees f rounded, with the gradient of f, instead of noise.
    """

    name: str
    downscale = 8
    margins = (3, 3)
    first_contrast = 0.2
    own_noise = False
    pretrained: str | None = None  # weights of others that it can start from
    pooled = residual = False  # max-pooling instead of strides; blocks beside each halving and doubling

    def __init__(self, size: Size, B: int, straight_through: bool = False):
        super().__init__()
        self.size, self.B, self.straight_through = size, B, straight_through
        self.g_a, self.g_s = self._networks(size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                _initialise(module)
        for module in self.modules():
            if isinstance(module, _Residual):
                nn.init.zeros_(module.conv2.weight)  # so that the block does nothing at first
        with torch.no_grad():  # begin with a latent that uses its range, and with a picture of grey
            self._last(self.g_a).weight.mul_(2.5)
            self._last(self.g_s).weight.mul_(self.first_contrast)

    @property
    def dimensions(self) -> tuple:
        """What two autoencoders must agree in, so that one can begin with the weights of the other; B is free."""
        return self.name, self.size

    @staticmethod
    def _last(network: nn.Module) -> nn.Module:
        return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)][-1]

    def _networks(self, size: Size) -> tuple[nn.Module, nn.Module]:
        return _encoder(size, size.C, self.residual, self.pooled), _decoder(size, self.residual)

    def start_from(self, source: "Autoencoder", crops: Callable[[], Tensor]) -> None:
        """Begin with the weights of another of the same dimensions; crops (n, 3, H, W) in [0, 1], made where needed."""
        self.load_state_dict(source.state_dict())

    def forward(self, x: Tensor) -> Prediction:
        """x (B, 3, H, W) in [0, 1], H and W multiples of `downscale`.

        In training mode nothing is said of the rate, which is fixed; in evaluation mode the bits are
        the order-0 entropy of the symbols.
        """
        f = self.encode(x)
        if self.training:
            if self.straight_through:
                seen = quantization.straight_through(f, self.dequantise(self.quantise(f)))
            else:
                seen = f + torch.randn_like(f) * (_NOISE * 2.0**-self.B)
            return Prediction(self.decode(seen), {"y": f.new_zeros(len(f))})
        symbols = self.quantise(f)
        return Prediction(self.decode(self.dequantise(symbols)), {"y": order_0_bits(symbols).float()})

    def encode(self, x: Tensor) -> Tensor:
        """x -> f (B, C, h, w) in [0, 1], float32."""
        return torch.sigmoid(self.g_a(2 * x - 1).float())

    def decode(self, f: Tensor) -> Tensor:
        """f, or f_hat -> x_hat (B, 3, H, W)."""
        return 0.5 + self.g_s(2 * f - 1).float()

    def quantise(self, f: Tensor) -> Tensor:
        """f in [0, 1] -> symbols 0..2^B, float32; a value that is not a number stays one."""
        return torch.floor(f * 2**self.B + 0.5)

    def dequantise(self, symbols: Tensor) -> Tensor:
        """Symbols -> f_hat, float32."""
        return symbols.float() / 2**self.B


@torch.no_grad()
def _initialise(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Keep the amplitudes through ReLU layers (He et al. 2015, eq. 10); torch's own start loses most of them."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    taps = layer.weight[0, 0].numel() / (layer.stride[0] ** 2 if transposed else 1)
    nn.init.normal_(layer.weight, std=(2 / (layer.in_channels * taps)) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _conv(i: int, o: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, stride=stride, padding=1)


def _decoder(size: Size, residual: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [_conv(size.C, size.widths[-1]), nn.ReLU()]
    widths = [*reversed(size.widths)]
    for i, o in zip(widths, [*widths[1:], 3], strict=True):
        layers += [_Residual(i)] if residual else []
        layers += [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _encoder(size: Size, outputs: int, residual: bool = False, pooled: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in zip([3, *size.widths], size.widths, strict=False):
        layers += [_conv(i, o), nn.ReLU(), nn.MaxPool2d(2)] if pooled else [_conv(i, o, 2), nn.ReLU()]
        layers += [_Residual(o)] if residual else []
    return nn.Sequential(*layers, _conv(size.widths[-1], outputs))


class _Residual(nn.Module):
    """`relu(x + conv(relu(conv(x))))`, the first report's skip connection (He et al. 2016, fig. 2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class MaxPool(Autoencoder):
    """Convolutions of stride 1, each followed by max-pooling."""

    name = "ae-maxpool"
    pooled = True


class Strided(Autoencoder):
    """Convolutions of stride 2: as many weights, a quarter of the work."""

    name = "ae-strided"


class Residual(Autoencoder):
    """`Strided` with a residual block after each halving and before each doubling."""

    name = "ae-residual"
    residual = True


class Variational(Autoencoder):
    """A variational autoencoder (Kingma and Welling 2014) with the quantiser in the prior's quantiles.

    The encoder gives mean and log-variance of a Gaussian posterior, the prior is N(0, 1). The loss
    `lmbda 255^2 MSE + KL [bits a pixel]` is the ELBO of Gaussian pixels, 1 / lmbda the weight of the
    KL term. For a file f = Phi(mean), Phi the prior's distribution function, so that the symbols are
    about equally likely wherever the posteriors fill the prior.
    """

    name = "ae-vae"
    own_noise = True

    def _networks(self, size: Size) -> tuple[nn.Module, nn.Module]:
        return _encoder(size, 2 * size.C), _decoder(size)

    def forward(self, x: Tensor) -> Prediction:
        if not self.training:
            return super().forward(x)
        mean, log_variance = self.posterior(x)
        y = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        nats = (mean.square() + log_variance.exp() - 1 - log_variance).sum((1, 2, 3)) / 2
        return Prediction(0.5 + self.g_s(y).float(), {"y": nats / math.log(2)})

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> mean and log-variance, two tensors (B, C, h, w), float32."""
        mean, log_variance = self.g_a(2 * x - 1).float().chunk(2, 1)
        return mean, log_variance.clamp(-20, 20)

    def encode(self, x: Tensor) -> Tensor:
        return torch.special.ndtr(self.posterior(x)[0])

    def decode(self, f: Tensor) -> Tensor:
        end = 2.0 ** -(self.B + 2)  # the outer symbols stand for half a step: take its middle, not infinity
        return 0.5 + self.g_s(torch.special.ndtri(f.clamp(end, 1 - end))).float()


class VariationalVector(Variational):
    """The same with a vector for each block of 128x128 pixels, as fully connected layers make it.

    A fully connected layer on 8x8 positions is a convolution of 8x8 with stride 8.
    """

    name = "ae-vector"
    downscale = 128
    margins = (1, 1)

    def _networks(self, size: Size) -> tuple[nn.Module, nn.Module]:
        a = size.widths[-1]
        down = _encoder(size, a)
        up = _decoder(Size(size.widths, a))
        return (
            nn.Sequential(down, nn.ReLU(), nn.Conv2d(a, 2 * size.C, 8, stride=8)),
            nn.Sequential(nn.ConvTranspose2d(size.C, a, 8, stride=8), nn.ReLU(), up),
        )


def make(name: str, preset: str, B: int, straight_through: bool = False) -> Autoencoder:
    """A fresh autoencoder by its public name; `Unsupported` if there is no such model, preset or B."""
    entry = registry.entry(name, registry.AUTOENCODERS)
    check_bits(name, B)
    check_preset(name, preset, B)
    return entry.load()(_sizes(name, B)[preset], B, straight_through)
