"""What a conditional codec thinks of a picture, position by position: for figures, not for files."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec_lib import images, metrics
from codec_lib.codecs.codec import Codec
from codec_lib.codecs.streams import Code, Symbols, given
from codec_lib.errors import Unsupported
from codec_lib.networks.priors.base import Group


class Inspection(NamedTuple):
    """Arrays of a picture's latent, float64; the tables int64.

    Attributes:
        y: the latent before rounding, (M, h, w); `symbols`, `mean`, `scale`, `bits` and `tables` likewise.
        z: the symbols of the side information, (N, ceil(h / 4), ceil(w / 4)); `bits_z` likewise.
    """

    y: np.ndarray
    symbols: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    bits: np.ndarray
    tables: np.ndarray
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


class Latent(NamedTuple):
    """A walk over y: the symbols of z and of y; each one's mean, table and coding group; y_hat (1, M, h, w).

    The arrays of y are (M, h, w): int64, the means float64.
    """

    z: np.ndarray | None
    symbols: np.ndarray
    means: np.ndarray
    tables: np.ndarray
    groups: np.ndarray
    y_hat: Tensor


def walk(codec: Codec, z: np.ndarray | None, h: int, w: int, code: Code) -> Latent:
    """Go over y, (M, h, w), with the symbols that `code` gives, and keep all that it sees."""
    kept, count = torch.empty(4, h * w, codec.network.size.M, dtype=torch.float64), itertools.count()

    def keep(group: Group, mean: Tensor, index: Tensor) -> Tensor:
        symbols = code(group, mean, index)
        kept[:, *group] = torch.stack([symbols, mean, index.double(), torch.full_like(mean, next(count))])
        return symbols

    _, y_hat = codec.walk(z, h, w, keep)
    symbols, means, tables, groups = kept.transpose(1, 2).reshape(4, -1, h, w).numpy()
    return Latent(z, symbols.astype(np.int64), means, tables.astype(np.int64), groups.astype(np.int64), y_hat)


def walk_again(codec: Codec, symbols: Symbols) -> Latent:
    """The walk of a decoder that reads these symbols."""
    return walk(codec, symbols.get("z"), *symbols["y"].shape[1:], given(symbols["y"]))


def inspect(codec: Codec, pixels: np.ndarray) -> Inspection:
    """What the encoder predicts of a picture, uint8 (H, W, 3); `Unsupported` if the model is no conditional one."""
    if "z" not in codec.tables:
        raise Unsupported(f"The {codec.model} model predicts no means and scales.")
    y, z = codec.latents(pixels)
    z = codec.rounded(z)
    latent = walk(codec, z, *y.shape[1:], codec.rounding(y))
    symbols, index = latent.symbols.astype(np.float64), torch.from_numpy(latent.tables)
    scale = torch.exp2(codec.prior.log2_scale(index)).numpy()
    bits = codec.prior.bits(torch.from_numpy(symbols), index).numpy()
    density = codec.network.density_z
    log_p = density.log_prob(torch.from_numpy(z).float().flatten(1).to(density.H[0].device))
    bits_z = (-log_p.double() / math.log(2)).reshape(z.shape).cpu().numpy()
    return Inspection(y.numpy(), symbols, latent.means, scale, bits, latent.tables, z.astype(np.float64), bits_z)


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
