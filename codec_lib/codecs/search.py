"""An encoder that searches: it moves y and z for one picture until its file is better. Decoders know nothing of it.

    loss = lmbda 255^2 MSE(x, x_hat) + bits / pixels                          of the picture at hand, not of many

The search begins at y = g_a(x) and z = h_a(y) and follows the gradient (Campos et al. 2019). Rounding has none, so a
smooth staircase replaces it, which grows steeper step by step (Agustsson and Theis 2020, eq. 5):

    s(u) = floor(u) + 1/2 + tanh(alpha r) / (2 tanh(alpha / 2)),              r = u - floor(u) - 1/2

That alone is not enough: the staircase leaves values between integers within reach, where no file can follow, and the
search gathers there. So each value s with the fraction f costs `price` f (1 - f) bits besides, and the price rises. The
errors of a latent cost about h / 2 e^2 bits with h = 6 to 24; were its rounding random, with the chances 1 - f and f,
its expected error would cost h / 2 f (1 - f): a price of that size takes from the values between all their advantage.

Nothing is random, so the same picture gives the same file on the same machine with the same threads.
"""

import itertools
import math
import numbers
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from codec_lib import images
from codec_lib.codecs.tiles import Span, spans
from codec_lib.errors import Unsupported
from codec_lib.networks.priors.base import Prior

EFFORTS = range(10)
"""0 does not search; each effort from 2 on takes twice the steps of the one before."""

FIRST = 8
"""Steps of effort 1."""

ALPHA = (4.0, 200.0)
"""Steepness of the staircase, first and last step of a stage; geometric between."""

PRICE = (3.0, 12.0)
"""Bits of a value between integers, times f (1 - f), first and last step of a stage; linear between."""

STEP, LAST, REST = 0.08, 0.3, 3.0
"""Adam moves a value by at most about STEP, in the end LAST of that, and by less where the gradient is below REST bits:
Adam's epsilon.

With an epsilon near 0 all values move alike, those too whose gradient is next to nothing: a smooth photograph won a
quarter as much.
"""

OVERLAP, RIM = 4, 2
"""Latent positions around what is moved at once: so many are looked at, and of their outer rim no error counts."""

_CELL = 4
"""Positions of y, each way, that one of z covers."""


class Latents(NamedTuple):
    """y (M, h, w) and z (N, ceil(h / 4), ceil(w / 4)), if the model has one; float32, on the CPU, before rounding."""

    y: Tensor
    z: Tensor | None


def check_effort(effort: int) -> None:
    """Refuse (`Unsupported`) what is not one of `EFFORTS`."""
    if not isinstance(effort, numbers.Integral) or effort not in EFFORTS:
        raise Unsupported(f"The effort must be a whole number from 0 to {EFFORTS[-1]}, not {effort!r}.")


def stages(effort: int) -> list[int]:
    """Steps of each stage; an effort repeats the stages of those below it, so it cannot end above their loss."""
    return [FIRST * 2 ** max(0, k - 1) for k in range(effort)]


def search(
    network: Prior, lmbda: float, pixels: np.ndarray, start: Latents, write: Callable[[Latents], tuple[float, bytes]],
    effort: int, progress: bool = False,
) -> Iterator[bytes]:  # fmt: skip
    """The best file of efforts 0, 1, .. one after the other; a large picture is searched tile by tile.

    Args:
        network: in evaluation mode, its weights frozen.
        lmbda: of the loss.
        pixels: the picture, uint8 (H, W, 3).
        start: what g_a and h_a make of it.
        write: gives the loss of the file of latents, as it decodes, and the file; a stage counts only where that falls.
        effort: the last, 0 to 9.
        progress: show a bar.
    """
    latents, (least, data) = start, write(start)
    yield data
    tiles = list(itertools.product(*(spans(n, OVERLAP, align=_CELL) for n in start.y.shape[1:])))
    total = sum(stages(effort)) * len(tiles)
    with tqdm(total=total, desc="search", unit="step", disable=not progress, leave=False) as bar:
        for steps in stages(effort):
            moved = Latents(*(None if latent is None else latent.clone() for latent in latents))
            for tile in tiles:
                _move(network, lmbda, pixels, moved, tile, steps, bar)
            loss, found = write(moved)
            if loss < least:
                least, data, latents = loss, found, moved
            yield data


def soft_round(u: Tensor, alpha: float) -> Tensor:
    """Rounding to integers made smooth: close to the identity for alpha near 0, close to rounding for a large one."""
    low = u.detach().floor()
    return low + 0.5 + torch.tanh(alpha * (u - low - 0.5)) / (2 * math.tanh(alpha / 2))


_Tile = tuple[Span, Span]


def _move(
    network: Prior, lmbda: float, pixels: np.ndarray, latents: Latents, tile: _Tile, steps: int, progress: tqdm
) -> None:
    """Move what a tile keeps, in place; what it overlaps stays, but is looked at."""
    parts = [(latent, cell) for latent, cell in zip(latents, (1, _CELL), strict=True) if latent is not None]
    places = [tuple(slice(s.begin // cell, -(-s.end // cell)) for s in tile) for _, cell in parts]
    kept = [tuple(slice(s.kept.start // cell, -(-s.kept.stop // cell)) for s in tile) for _, cell in parts]
    seen = [latent[:, *place] for (latent, _), place in zip(parts, places, strict=True)]
    distortion = _distortion(network, lmbda, pixels, tile, latents.y.shape[1:])
    for part, inside, found in zip(seen, kept, _descend(network, distortion, seen, kept, steps, progress), strict=True):
        part[:, *inside] = found[:, *inside]


@torch.inference_mode(False)  # whatever the caller is in
def _descend(
    network: Prior, distortion: Callable[[Tensor], Tensor], seen: list[Tensor], kept: list[tuple[slice, slice]],
    steps: int, progress: tqdm,
) -> list[Tensor]:  # fmt: skip
    """The part of y, and of z, that is seen, (channels, ..), with better values where it is kept."""
    device = next(network.parameters()).device
    variables = [part.clone()[None].contiguous().to(device).requires_grad_() for part in seen]
    optimiser = torch.optim.Adam(variables, lr=STEP, betas=(0.6, 0.99), eps=REST)
    for step in range(steps):
        t = step / max(1, steps - 1)
        alpha = ALPHA[0] * (ALPHA[1] / ALPHA[0]) ** t
        price = PRICE[0] + (PRICE[1] - PRICE[0]) * t
        optimiser.param_groups[0]["lr"] = STEP * (1 + LAST + (1 - LAST) * math.cos(math.pi * step / steps)) / 2
        y, z = (*variables, None)[:2]
        y_hat, bits, symbols = network.relaxed(y, z, partial(soft_round, alpha=alpha))
        loss = distortion(y_hat) + bits + price * sum(_between(values).sum() for values in symbols)
        gradients = torch.autograd.grad(loss, variables)
        for variable, gradient, inside in zip(variables, gradients, kept, strict=True):
            variable.grad = torch.zeros_like(variable)
            variable.grad[..., *inside] = gradient[..., *inside]
        optimiser.step()
        progress.update()
    return [variable.detach()[0].cpu() for variable in variables]


def _between(values: Tensor) -> Tensor:
    """f (1 - f) of the fractions f of values."""
    f = values - values.detach().floor()
    return f * (1 - f)


def _distortion(
    network: Prior, lmbda: float, pixels: np.ndarray, tile: _Tile, shape: tuple[int, int]
) -> Callable[[Tensor], Tensor]:
    """lmbda 255^2 times the squared error of a tile's pixels, in bits, as a function of y_hat there.

    What is made up around the picture counts nothing, nor does the rim, which g_s sees cut off.
    """
    step, device = network.downscale, next(network.parameters()).device
    rows, columns = (slice(s.begin * step, s.end * step) for s in tile)
    x = images.to_tensor(pixels[rows, columns]).to(device)
    inside = tuple(
        slice(0 if s.begin == 0 else RIM * step, min(side, (s.end - s.begin - (0 if s.end == n else RIM)) * step))
        for s, n, side in zip(tile, shape, x.shape[2:], strict=True)
    )
    x = x[..., *inside]

    def distortion(y_hat: Tensor) -> Tensor:
        x_hat = network.g_s(y_hat.contiguous(memory_format=torch.channels_last))
        return lmbda * 255**2 / 3 * (x_hat[..., *inside].clamp(0, 1) - x).square().sum()

    return distortion
