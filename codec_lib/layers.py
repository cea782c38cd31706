"""Layers that torch does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.quantization import lower_bound

_PEDESTAL = 2.0**-36  # keeps the square root's slope finite at zero


class GDN(nn.Module):
    """Generalised divisive normalisation (Balle et al. 2016, eq. 1; simplified as in 2017, eq. 1).

        y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)        (inverse: times instead of divided)

    `beta` (C) and `gamma` (C, C) are kept as square roots, so that they stay non-negative and
    small values move slowly: C + C^2 parameters.

    Args:
        channels: C.
        inverse: multiply instead of divide (the decoder's IGDN).
    """

    def __init__(self, channels: int, inverse: bool = False, beta_min: float = 1e-6):
        super().__init__()
        self.inverse = inverse
        self.beta_bound = (beta_min + _PEDESTAL) ** 0.5
        self.beta = nn.Parameter(torch.full((channels,), (1 + _PEDESTAL) ** 0.5))
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + _PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        beta = lower_bound(self.beta, self.beta_bound) ** 2 - _PEDESTAL
        gamma = lower_bound(self.gamma, _PEDESTAL**0.5) ** 2 - _PEDESTAL
        norm = F.conv2d(x * x, gamma[:, :, None, None], beta)
        return x * torch.sqrt(norm) if self.inverse else x * torch.rsqrt(norm)


class ResidualBlock(nn.Module):
    """`x + conv(relu(conv(x * inv_scale)))`, the second convolution zero at first.

    `inv_scale` (C) brings channels of very different variance to one range; it is fixed, not
    learned. x is float32; the convolutions run in whatever autocast chooses.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("inv_scale", torch.ones(channels))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), float32."""
        u = x * self.inv_scale[:, None, None]
        return x + self.conv2(F.relu(self.conv1(u))).float()
