"""What a conditional codec thinks of a picture, position by position: for figures, not for files."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec_lib import images, metrics
from codec_lib.codecs.codec import Codec
from codec_lib.errors import Unsupported
from codec_lib.networks.priors.base import Group
from codec_lib.networks.quantization import round_to


class Inspection(NamedTuple):
    """Arrays of a picture's latent, float64.

    Attributes:
        y: the latent before rounding, (M, h, w); `symbols`, `mean`, `scale` and `bits` likewise.
        z: the symbols of the side information, (N, ceil(h / 4), ceil(w / 4)); `bits_z` likewise.
    """

    y: np.ndarray
    symbols: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    bits: np.ndarray
    z: np.ndarray
    bits_z: np.ndarray

    @property
    def normalised(self) -> np.ndarray:
        """(y - mean) / scale, (M, h, w): near N(0, 1) where the model is right."""
        return (self.y - self.mean) / self.scale

    @property
    def y_hat(self) -> np.ndarray:
        """What the decoder has of y, (M, h, w)."""
        return self.symbols + self.mean


def inspect(codec: Codec, pixels: np.ndarray) -> Inspection:
    """Walk over a picture, uint8 (H, W, 3), as the encoder does, and keep what is predicted.

    Raises:
        Unsupported: the model is no conditional one.
    """
    if "z" not in codec.tables:
        raise Unsupported(f"The {codec.model} model predicts no means and scales.")
    y, z = codec.latents(pixels)
    M, h, w = y.shape
    rows = y.flatten(1).T
    kept = torch.empty(4, h * w, M, dtype=torch.float64)  # symbols, mean, scale, bits

    def code(group: Group, mean: Tensor, index: Tensor) -> Tensor:
        symbols, _ = round_to(rows[group], mean)
        scale = torch.exp2(codec.prior.log2_scale(index))
        kept[:, *group] = torch.stack([symbols, mean, scale, codec.prior.bits(symbols, index)])
        return symbols

    codec.walk(z, h, w, code)
    arrays = kept.transpose(1, 2).reshape(4, M, h, w).numpy()
    density = codec.network.density_z
    log_p = density.log_prob(torch.from_numpy(z).float().flatten(1).to(density.H[0].device))
    bits_z = (-log_p.double() / math.log(2)).reshape(z.shape).cpu().numpy()
    return Inspection(y.numpy(), *arrays, z.astype(np.float64), bits_z)


@torch.inference_mode()
def mean_psnr(pictures: Sequence[np.ndarray], reconstruct: Callable[[Tensor], Tensor], downscale: int) -> float:
    """Mean PSNR [dB] of what `reconstruct`, of tensors (1, 3, H, W) in [0, 1], makes of pictures, uint8 (H, W, 3).

    The pictures are padded to multiples of `downscale`, and cropped again.
    """
    values = []
    for pixels in pictures:
        x_hat = reconstruct(images.pad(images.to_tensor(pixels), downscale))
        values.append(metrics.psnr(pixels, images.to_pixels(images.crop(x_hat, *pixels.shape[:2]))))
    return float(np.mean(values))
