"""The coding order of a latent as data, and the one walk that follows it.

An order numbers the positions of a latent in time; positions of equal time form a group and are coded
together. A position may look at those of its 5x5 neighbourhood that the order's mask shows and that
are coded before it:

    hyperprior       checkerboard          raster                wavefront: raster's context, but all that
    0 0 0 0          0 1 0 1               0  1  2  3            0  1  2  3    is known is coded together
    0 0 0 0          1 0 1 0               4  5  6  7            3  4  5  6
    0 0 0 0          0 1 0 1               8  9 10 11            6  7  8  9    (time x + 3 y)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

REACH = 2
"""The neighbourhood reaches so far to each side: 5x5."""


def _mask(shows: Callable[[int, int], bool]) -> tuple[tuple[bool, ...], ...]:
    offsets = range(-REACH, REACH + 1)
    return tuple(tuple(shows(dy, dx) for dx in offsets) for dy in offsets)


@dataclass(frozen=True)
class Order:
    """A coding order.

    Attributes:
        name: of the order.
        mask: (5, 5), the neighbours that a position may look at; its own place is the middle.
        time: row, column and width of the latent -> when a position is coded; elementwise on int64.
        many: whether there are more groups than a coder that begins anew with each should serve.
        portion: positions that are coded at once; a larger group is coded in portions, which bounds the memory.
    """

    name: str
    mask: tuple[tuple[bool, ...], ...]
    time: Callable[[Tensor, Tensor, int], Tensor]
    many: bool = False
    portion: int = 4096

    def times(self, h: int, w: int) -> Tensor:
        """When each position is coded, int64 (h, w)."""
        y, x = torch.arange(h)[:, None], torch.arange(w)[None, :]
        return self.time(y, x, w).expand(h, w)

    def groups(self, h: int, w: int) -> list[Tensor]:
        """The positions y w + x of each group, or portion of one, in coding order, int64; none is empty."""
        times, positions = self.times(h, w).flatten().sort(stable=True)
        groups = positions.split(torch.unique_consecutive(times, return_counts=True)[1].tolist())
        return [portion for group in groups for portion in group.split(self.portion)]

    def shown(self, h: int, w: int) -> Tensor:
        """Which positions others may look at, bool (h, w): all but the last group, which is too late."""
        times = self.times(h, w)
        return times < times.max()

    def offsets(self) -> list[tuple[int, int]]:
        """(dy, dx) of the neighbours that the mask shows, row by row."""
        reach = range(-REACH, REACH + 1)
        return [(dy, dx) for dy in reach for dx in reach if self.mask[dy + REACH][dx + REACH]]


def _before(dy: int, dx: int) -> bool:
    return dy < 0 or (dy == 0 and dx < 0)


ONE_GROUP = Order("one group", _mask(lambda dy, dx: False), lambda y, x, w: 0 * (y + x))
"""Nothing of the latent itself is looked at (Balle et al. 2018)."""

CHECKERBOARD = Order("checkerboard", _mask(lambda dy, dx: (dy + dx) % 2 == 1), lambda y, x, w: (y + x) % 2)
"""Anchors first, then the others with anchors all around them (He et al. 2021, fig. 3)."""

RASTER = Order("raster", _mask(_before), lambda y, x, w: y * w + x, many=True)
"""One position after the other (Minnen et al. 2018)."""

WAVEFRONT = Order("wavefront", _mask(_before), lambda y, x, w: x + 3 * y, many=True)
"""Raster's contexts are complete along anti-diagonals: w + 3 (h - 1) groups instead of w h.

A position looks at most at (y - 1, x + 2), of time x + 3 y - 1.
"""

Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Visit = Callable[[Tensor, Tensor, Tensor], Tensor]


def walk(order: Order, like: Tensor, predict: Predict, visit: Visit, known: Tensor | None = None) -> Tensor:
    """Go over the groups of a latent; model, encoder and decoder differ in what they do at each.

    Args:
        order: the coding order.
        like: tensor of the latent's shape (B, M, h, w), dtype and device; its values are not used.
        predict: `predict(positions, around)` gives two tensors (B, n, M) that tell the distribution at
            n positions from what is known: `around` (B, n, taps, M) holds the neighbours that the mask
            shows, zero beyond the border and where nothing is coded yet; the first group, which sees nothing, has
            no taps.
        visit: `visit(positions, *prediction)` gives y_hat there, (B, n, M).
        known: `framed(like)`, or some of its channels, if others shall see what is known there.

    Returns:
        y_hat (B, M, h, w), a view of `known`.
    """
    h, w = like.shape[2:]
    known = framed(like) if known is None else known
    around = taps(order.offsets(), w).to(like.device)
    late = order.times(h, w).flatten() > 0
    for positions in order.groups(h, w):
        seen = around if late[positions[0]] else around[:0]
        positions = positions.to(like.device)
        at = places(positions, w)
        prediction = predict(positions, known[:, at[:, None] + seen])
        known[:, at] = visit(positions, *prediction)
    return unframed(known, h, w)


def framed(like: Tensor) -> Tensor:
    """Zeros for a latent like this (B, M, h, w), position by position, with a frame of REACH: (B, positions, M)."""
    B, M, h, w = like.shape
    return like.new_zeros(B, (h + 2 * REACH) * (w + 2 * REACH), M)


def unframed(known: Tensor, h: int, w: int) -> Tensor:
    """The latent (B, M, h, w) within a frame."""
    inside = known.view(len(known), h + 2 * REACH, w + 2 * REACH, -1)[:, REACH : REACH + h, REACH : REACH + w]
    return inside.permute(0, 3, 1, 2)


def places(positions: Tensor, w: int) -> Tensor:
    """Where positions y w + x of a latent lie in a framed one."""
    row = torch.div(positions, w, rounding_mode="floor")
    return positions + 2 * REACH * row + REACH * (w + 2 * REACH + 1)


def taps(offsets: Sequence[tuple[int, int]], w: int) -> Tensor:
    """How far from a place its neighbours at (dy, dx) lie in a framed latent."""
    return torch.tensor([dy * (w + 2 * REACH) + dx for dy, dx in offsets], dtype=torch.int64)
