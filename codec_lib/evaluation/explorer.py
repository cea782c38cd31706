"""Notebook 07 without its widgets: from a picture, a codec and the position of a control to what is shown.

All of it answers within a second for a crop of `SIDE` pixels, and a `Scene` remembers what its controls share.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from codec_lib import images, metrics
from codec_lib.codecs.codec import Codec
from codec_lib.codecs.streams import Code
from codec_lib.coding.container import unpack
from codec_lib.coding.integer_networks import VALUE_BITS, from_grid
from codec_lib.coding.range_coding import Reader
from codec_lib.errors import CodecError, Unsupported
from codec_lib.evaluation import plotting
from codec_lib.evaluation.conditional import by_cost, shares_of_dearest
from codec_lib.evaluation.inspection import Latent, walk, walk_again
from codec_lib.networks.priors.base import Group
from codec_lib.networks.priors.conditional import Conditional, ExactConditional, table_of
from codec_lib.rates import RATE_POINTS
from codec_lib.weights import weight_files

SIDE = 256
"""Of the crops that are explored, pixels."""


class Shown(NamedTuple):
    """A picture, uint8 (H, W, 3), and a line about it."""

    picture: np.ndarray
    caption: str


def open_photograph(source: Path | BinaryIO) -> np.ndarray:
    """The middle of a picture file, uint8 (SIDE, SIDE, 3); raises as `images.read_picture` does."""
    return crop(images.read_picture(source).pixels)


def crop(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The middle of a picture, uint8 (side, side, 3); a shorter picture is enlarged first."""
    height, width = pixels.shape[:2]
    if min(height, width) < side:
        scale = side / min(height, width)
        size = max(side, round(width * scale)), max(side, round(height * scale))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        height, width = pixels.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def qualities(model: str) -> list[float]:
    """Where a slider may stand: the rate points that a model has weights for, with quarters between if it has all."""
    whole = weight_files.available(model)
    every = len(whole) == len(RATE_POINTS)
    return [q / 4 for q in range(4 * whole[0], 4 * whole[-1] + 1)] if every else list(whole)


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture, uint8 (H, W, 3), as a codec sees it; what is computed once is kept."""

    codec: Codec
    pixels: np.ndarray
    effort: int = 0

    @cached_property
    def data(self) -> bytes:
        """The file."""
        return self.codec.encode(self.pixels, effort=self.effort)

    @cached_property
    def decoded(self) -> np.ndarray:
        """The picture of the file."""
        return self.codec.decode(self.data)

    @cached_property
    def latent(self) -> Latent:
        """The walk over the y of the file."""
        return walk_again(self.codec, self.codec.read_symbols(unpack(self.data)))

    @cached_property
    def bits(self) -> np.ndarray:
        """What each symbol of y costs under the tables, (M, h, w)."""
        return self.codec.tables["y"].lengths(self.latent.symbols, self.latent.tables)

    @cached_property
    def dearest(self) -> np.ndarray:
        """The channels of y, that which costs most first."""
        return by_cost(self)

    @property
    def block(self) -> int:
        """Pixels that a position of y stands for, on a side."""
        return self.codec.network.downscale

    @property
    def groups(self) -> int:
        """How many coding groups y has."""
        return int(self.latent.groups.max()) + 1

    def synthesise(self, y_hat: Tensor) -> np.ndarray:
        """The picture of a latent (1, M, h, w)."""
        return self.codec.synthesise(y_hat, *self.pixels.shape[:2])

    def quality_of(self, picture: np.ndarray) -> str:
        """PSNR to the original, as text."""
        return f"{metrics.psnr(self.pixels, picture):.2f} dB"

    def to_pixels(self, values: np.ndarray) -> np.ndarray:
        """A value for each position of y, (h, w), repeated for the pixels of its block, (H, W)."""
        height, width = self.pixels.shape[:2]
        return values.repeat(self.block, 0).repeat(self.block, 1)[:height, :width]


def flipped(scene: Scene, which: str) -> Shown:
    """The picture before (`original`) or after (`decoded`) the file."""
    data, codec = scene.data, scene.codec
    rate = f"{len(data):,} bytes, {metrics.bpp(len(data), scene.pixels):.3f} bit/pixel"
    caption = f"{which}; {codec.model}, quality {codec.quality:g}: {rate}, {scene.quality_of(scene.decoded)}"
    return Shown(scene.pixels if which == "original" else scene.decoded, caption)


def painted(scene: Scene, strength: float) -> Shown:
    """The bits of y in colour over the grey picture; `strength` from 0 (picture alone) to 1 (colours alone)."""
    blocks = scene.bits.sum(0)
    high = np.percentile(blocks, 99)
    colours = plotting.colours(scene.to_pixels(blocks) / max(high, 1e-9))
    grey = scene.pixels.mean(2, keepdims=True)
    picture = np.rint((1 - strength) * grey + strength * colours).astype(np.uint8)
    side = scene.block
    share = shares_of_dearest(blocks, (25,))[25]
    caption = (
        f"{blocks.sum():,.0f} bits; blocks of {side}x{side} pixels cost {blocks.min():.0f} (dark) to {high:.0f} "
        f"(light) bits, and the dearest quarter has {share:.0f} % of all"
    )
    return Shown(picture, caption)


def scaled(scene: Scene, rank: int, factor: float) -> Shown:
    """The decoded picture when one channel of y_hat is multiplied; `rank` 0 is the channel that costs most."""
    m = int(scene.dearest[rank])
    y_hat = scene.latent.y_hat.clone()
    y_hat[:, m] *= factor
    picture = scene.synthesise(y_hat)
    share = 100 * scene.bits[m].sum() / scene.bits.sum()
    caption = f"rank {rank}, channel {m}, {share:.1f} % of the bits, times {factor:g}: {scene.quality_of(picture)}"
    return Shown(picture, caption)


def after(scene: Scene, groups: int) -> Shown:
    """What a decoder can show after so many groups, the rest of y_hat being zero; beside it where the last one lies."""
    groups = min(groups, scene.groups)
    known = scene.latent.groups < groups
    picture = scene.synthesise(scene.latent.y_hat * torch.from_numpy(known))
    level = 0.35 * known.mean(0) + 0.65 * (scene.latent.groups == groups - 1).any(0)
    order = plotting.colours(scene.to_pixels(level))
    caption = (
        f"after {groups} of {scene.groups} groups: {100 * known.mean():.0f} % of the symbols, "
        f"{scene.bits[known].sum():,.0f} of {scene.bits.sum():,.0f} bits of y, {scene.quality_of(picture)}"
    )
    return Shown(np.hstack([picture, np.full((len(picture), 8, 3), 255, np.uint8), order]), caption)


# --- a decoder that adds in another order -----------------------------------------------------


class OtherSums(TorchFunctionMode):
    """While this is active, layers add their input channels in another order: on paper, nothing changes.

    The seed is that of the order; 0 leaves it as it is.
    """

    _CHANNELS: ClassVar = {torch.nn.functional.linear: (-1, -1), torch.conv2d: (1, 1), torch.conv_transpose2d: (1, 0)}
    """Function -> dimension of the input channels in its input and in its weight."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if self.seed and func in self._CHANNELS:
            of_input, of_weight = self._CHANNELS[func]
            x, weight, *rest = args
            shuffled = torch.randperm(x.shape[of_input], generator=torch.Generator().manual_seed(self.seed))
            args = (x.index_select(of_input, shuffled), weight.index_select(of_weight, shuffled), *rest)
        return func(*args, **(kwargs or {}))


class FloatPrior(ExactConditional):
    """A conditional model's prior in floating point, as it was trained, where the exact one belongs."""

    def __init__(self, network: Conditional):
        self.network, self.M, self.order = network, network.size.M, network.order

    def side_information(self, z: Tensor, h: int, w: int) -> Tensor:
        """z (N, ..) -> (h w, P), float32."""
        return self.network.h_s(z[None].float())[0, :, :h, :w].flatten(1).T

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, times 2^10 but not rounded, and the nearest table, (n, M)."""
        predicted = self.network.predict(psi[None], from_grid(around).float()[None])
        mean, log2_scale = (v[0].double() * 2**VALUE_BITS for v in predicted)
        return mean, table_of(log2_scale)


def in_floats(codec: Codec) -> Codec:
    """The codec with a prior in floating point, whose files only a decoder that adds as the encoder did can read.

    `Unsupported` if the model is no conditional one, and its decoder computes no prior.
    """
    if "z" not in codec.tables or type(codec.network).predict is Conditional.predict:
        raise Unsupported(f"The {codec.model} model does not predict whole positions of the latent, as this needs.")
    return replace(codec, prior=FloatPrior(codec.network))


def disagreeing(scene: Scene, seed: int) -> Shown:
    """What a decoder reads of a scene's file if it adds in another order than the encoder; 0 is the encoder's."""
    codec, ours = scene.codec, scene.latent
    read_by = _reader(codec, scene.data)
    with torch.inference_mode(), OtherSums(seed):
        told = walk_again(codec, {"z": ours.z, "y": ours.symbols})
        read = walk(codec, ours.z, *ours.symbols.shape[1:], read_by)
    means, tables, symbols = (
        int((a != b).sum())
        for a, b in ((told.means, ours.means), (told.tables, ours.tables), (read.symbols, ours.symbols))
    )
    order = f"order {seed}" if seed else "the encoder's order"
    kind = "floats" if isinstance(codec.prior, FloatPrior) else "integers"
    caption = (
        f"{kind}, {order}: {means:,} of {ours.symbols.size:,} means differ, {tables} tables differ, "
        f"{100 * symbols / ours.symbols.size:.0f} % of the symbols are misread"
    )
    return Shown(scene.synthesise(read.y_hat), caption)


def _reader(codec: Codec, data: bytes) -> Code:
    """The symbols of a file's y, right or wrong: nothing is checked, and where reading fails zeros follow."""
    container = unpack(data)
    reader = Reader(codec.tables["y"], container.coder, container.streams[-1])
    failed = False

    def read(group: Group, mean: Tensor, index: Tensor) -> Tensor:
        nonlocal failed
        values = np.zeros(index.numel())
        try:
            values = values if failed else reader.get(index.T.numpy().ravel())
        except CodecError:
            failed = True
        return torch.from_numpy(values.reshape(index.shape[::-1]).T.astype(np.float64))

    return read
