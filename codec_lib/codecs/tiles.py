"""g_a, g_s and h_a on pictures of any size in memory that does not grow with them: tile by tile, with overlap.

A tile is computed with a margin that is thrown away, wide enough that what lies beyond hardly matters. Pictures of up
to 1,024 pixels a side are one tile. Larger ones are faster in tiles too, since those fit the processor's cache.
"""

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from codec_lib import images

CORE = 64
"""Latent positions of 16 pixels that a tile keeps, each way, at most."""

OVERLAP_ANALYSIS, OVERLAP_SYNTHESIS = 3, 4
"""Latent positions of margin, each way, of g_a and of g_s.

Measured on the committed weights, at quality 0, 2 and 5: a cut three positions away changes y of photographs by
nothing, of noise and of black and white squares by less than 0.01; two away, by up to 0.6. A cut four positions away
changes x_hat by less than 0.02 grey levels, and of photographs by 0.001; three away, by up to 0.4. The fields that the
layers could reach are seven positions wide, three in the paper style. Autoencoders have margins of their own, as wide
as those fields.
"""

OVERLAP_HYPER = 8
"""The same of h_a, in positions of y: its layers reach seven."""


@dataclass(frozen=True)
class Span:
    """Along one side: positions first to last - 1 are kept of what is computed of begin to end - 1."""

    first: int
    last: int
    begin: int
    end: int

    @property
    def kept(self) -> slice:
        """Where the kept part lies in the tile."""
        return slice(self.first - self.begin, self.last - self.begin)


def spans(n: int, overlap: int, align: int = 1, step: int = 16) -> list[Span]:
    """Tiles along a side of n positions of `step` pixels, about equally long, that begin at multiples of `align`."""
    count = -(-n * step // (16 * CORE))
    starts = [n * k // count // align * align for k in range(count)]
    return [
        Span(first, last, max(0, first - overlap), min(n, last + overlap))
        for first, last in zip(starts, [*starts[1:], n], strict=True)
    ]


def _tiles(
    h: int, w: int, overlap: int, align: int, progress: str | None, step: int = 16
) -> Iterator[tuple[Span, Span]]:
    sides = (spans(n, overlap, align, step) for n in (h, w))
    tiles = list(itertools.product(*sides))
    yield from tqdm(tiles, desc=progress, leave=False, disable=progress is None or len(tiles) == 1)
    give_memory_back(h, w, step)


def give_memory_back(h: int, w: int, step: int = 16) -> None:
    """After work on a large latent, return to the system what the allocator keeps of it: some 400 MB of pieces.

    Small pictures gain by what is kept. Only glibc offers this.
    """
    if max(h, w) * step > 16 * CORE:
        with contextlib.suppress(OSError, TypeError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


Network = Callable[[Tensor], Tensor]


def analyse(
    g_a: Network,
    pixels: np.ndarray,
    step: int,
    device: torch.device,
    progress: bool = False,
    overlap: int = OVERLAP_ANALYSIS,
) -> Tensor:
    """g_a of a picture, uint8 (H, W, 3) -> y, float32 (M, ceil(H / step), ceil(W / step)) on the CPU.

    Args:
        g_a: a network, or one with what follows it, position by position.
        step: pixels that a latent position covers, each way.
        device: of g_a.
        progress: show a bar.
        overlap: margin in latent positions, each way.
    """
    h, w = (-(-side // step) for side in pixels.shape[:2])
    y = None
    for rows, columns in _tiles(h, w, overlap, 1, "g_a" if progress else None, step):
        part = pixels[rows.begin * step : rows.end * step, columns.begin * step : columns.end * step]
        x = images.pad(images.to_tensor(part), step)
        with torch.inference_mode():
            tile = g_a(x.to(device, memory_format=torch.channels_last))[0].float().cpu()
        y = _channels_last(len(tile), h, w) if y is None else y
        y[:, rows.first : rows.last, columns.first : columns.last] = tile[:, rows.kept, columns.kept]
    return y


def synthesise(
    g_s: Network,
    y_hat: Tensor,
    size: tuple[int, int],
    step: int,
    device: torch.device,
    progress: bool = False,
    overlap: int = OVERLAP_SYNTHESIS,
) -> np.ndarray:
    """g_s of a latent (1, M, h, w) -> the picture of `size`, uint8 (H, W, 3); the rest as in `analyse`."""
    pixels = np.empty((*size, 3), np.uint8)
    for rows, columns in _tiles(*y_hat.shape[2:], overlap, 1, "g_s" if progress else None, step):
        part = y_hat[:, :, rows.begin : rows.end, columns.begin : columns.end].float()
        with torch.inference_mode():
            x_hat = g_s(part.to(device, memory_format=torch.channels_last))
        place = pixels[rows.first * step : rows.last * step, columns.first * step : columns.last * step]
        inside = x_hat[:, :, (rows.first - rows.begin) * step :, (columns.first - columns.begin) * step :]
        place[:] = images.to_pixels(images.crop(inside, *place.shape[:2]))
    return pixels


def hyper_analyse(side_latent: Callable[[Tensor], Tensor], y: Tensor, device: torch.device) -> Tensor:
    """z, float32 (N, ceil(h / 4), ceil(w / 4)) on the CPU, of y (M, h, w); `side_latent` makes it of a batch."""
    step = 4
    h, w = y.shape[1:]
    z = None
    for rows, columns in _tiles(h, w, OVERLAP_HYPER, step, None):
        part = y[None, :, rows.begin : rows.end, columns.begin : columns.end]
        with torch.inference_mode():
            tile = side_latent(part.to(device, memory_format=torch.channels_last))[0].float().cpu()
        z = _channels_last(len(tile), -(-h // step), -(-w // step)) if z is None else z
        place = z[:, rows.first // step : -(-rows.last // step), columns.first // step : -(-columns.last // step)]
        top, left = ((s.first - s.begin) // step for s in (rows, columns))
        place[:] = tile[:, top : top + place.shape[1], left : left + place.shape[2]]
    return z


def _channels_last(channels: int, h: int, w: int) -> Tensor:
    """An empty latent whose positions lie together in memory."""
    return torch.empty(h, w, channels).permute(2, 0, 1)
