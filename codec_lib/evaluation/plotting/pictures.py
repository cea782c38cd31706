"""Photographs at their own pixels, and arrays as heat maps, alone or beside a photograph."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from codec_lib.evaluation.plotting.style import DPI, FIXED, STYLE, VERMILLION, scale

_GAP, _TITLE, _WORDS, _BAR = 12, 62, 270, 44  # pixels: between axes, height and width of two lines above, a bar below


@plt.rc_context(STYLE)
def image_row(
    pictures: Sequence[np.ndarray], titles: Sequence[str], box: tuple[int, int, int, int] | None = None
) -> Figure:
    """Pictures of one size, pixel by pixel, side by side; or the first of them, and of each the region `box`, enlarged.

    Args:
        pictures: uint8 arrays (H, W, 3) or (H, W), or PIL images.
        box: left, top, width, height in pixels.
    """
    pictures = [np.asarray(p) for p in pictures]
    if box is None:
        figure, axes, _ = _canvas([p.shape[:2] for p in pictures])
    else:
        left, top, w, h = box
        times = max(1, 320 // max(w, h))
        figure, (whole, *axes), _ = _canvas([pictures[0].shape[:2], *[(times * h, times * w)] * len(pictures)])
        _show_photograph(whole, pictures[0], "the frame, enlarged beside")
        frame = Rectangle((left - 0.5, top - 0.5), w, h, fill=False, edgecolor="white", linewidth=1.2)
        frame.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
        whole.add_patch(frame)
        pictures = [picture[top : top + h, left : left + w] for picture in pictures]
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        _show_photograph(axis, picture, title)
    return figure


@plt.rc_context(STYLE)
def panels(picture: np.ndarray, arrays: Mapping[str, np.ndarray], together: int = 1) -> Figure:
    """A photograph (H, W, 3), and beside it arrays (h, w) as heat maps, each with a colour bar of its own.

    A scale ends at the 1st and the 99th percentile of its array, and has zero in its middle if the array
    has negative values. The first `together` arrays have the scale of the first.
    """
    times = max(1, picture.shape[1] // 2 // max(a.shape[1] for a in arrays.values()))
    sizes = [(times * a.shape[0], times * a.shape[1]) for a in arrays.values()]
    figure, (photograph, *axes), bars = _canvas([picture.shape[:2], *sizes], bars=True)
    _show_photograph(photograph, picture, "photograph")
    for k, (axis, bar, (title, array)) in enumerate(zip(axes, bars, arrays.items(), strict=True)):
        if k == 0 or k >= together:
            limits = scale(*np.percentile(array, (1, 99)))
        image = axis.imshow(array, **limits)
        axis.set_title(title)
        figure.colorbar(image, cax=bar, orientation="horizontal", extend="both")
    return figure


@plt.rc_context(STYLE)
def block_map(picture: np.ndarray, values: np.ndarray, side: int, label: str) -> Figure:
    """A photograph (H, W, 3), and one of the values (h, w) for each block of side x side pixels laid over it in grey.

    The scale reaches from 0 to the 99th percentile. The last row and column of blocks may reach over the border of
    the picture.
    """
    height, width = picture.shape[:2]
    figure, (left, right), (bar,) = _canvas([(height, width)] * 2, bars=True)
    _show_photograph(left, picture, "photograph")
    right.imshow(picture.mean(2), cmap="gray", vmin=-64, vmax=320)
    extent = (-0.5, values.shape[1] * side - 0.5, values.shape[0] * side - 0.5, -0.5)
    image = right.imshow(values, extent=extent, alpha=0.75, vmin=0, vmax=np.percentile(values, 99))
    right.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), title=label)
    figure.colorbar(image, cax=bar, orientation="horizontal", extend="max")
    return figure


def _canvas(sizes: Sequence[tuple[int, int]], bars: bool = False) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure of `DPI` with axes of exactly these sizes (height, width) in pixels: the first at the left, the others
    beside it, in columns about as tall. With `bars`, each of the others has a bar's axes, too.
    """
    below = _BAR if bars else 0
    (height, width), *others = sizes
    tall = max((h for h, _ in others), default=0)
    rows = math.ceil(max(0.5, height / (tall + _TITLE + below) - 0.25))
    corners, x = [(0, _TITLE)], width + _GAP
    for column in (others[k : k + rows] for k in range(0, len(others), rows)):
        room = max(_WORDS, *(w for _, w in column))
        corners += [(x + (room - w) // 2, _TITLE + k * (tall + _TITLE + below)) for k, (_, w) in enumerate(column)]
        x += room + _GAP
    total = x - _GAP, max(y + h for (_, y), (h, _) in zip(corners, sizes, strict=True)) + below
    figure = plt.figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI, layout=FIXED)

    def place(x: int, y: int, w: int, h: int) -> Axes:
        return figure.add_axes((x / total[0], 1 - (y + h) / total[1], w / total[0], h / total[1]))

    axes = [place(x, y, w, h) for (x, y), (h, w) in zip(corners, sizes, strict=True)]
    for axis in axes:
        axis.set_axis_off()
    strips = zip(corners[1:], others, strict=True) if bars else ()
    return figure, axes, [place(x + w // 20, y + h + 6, w - w // 10, 10) for (x, y), (h, w) in strips]


def _show_photograph(axis: Axes, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axis.set_title(title)


@plt.rc_context(STYLE)
def channel_grid(arrays: Sequence[np.ndarray], titles: Sequence[str], columns: int = 6, label: str = "") -> Figure:
    """Arrays (h, w) as heat maps on one colour scale; `label` names what it shows. Light is large, but for values
    with a sign: those are white at zero.
    """
    arrays = [np.asarray(a) for a in arrays]
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    height, width = arrays[0].shape
    side = min(3.0, 11 / columns)
    size = (side * columns + 0.9, (side * height / width + 0.3) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    limits = scale(min(a.min() for a in arrays), max(a.max() for a in arrays))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (array, title) in zip(axes.flat, zip(arrays, titles, strict=True), strict=False):
        image = axis.imshow(array, **limits)
        axis.set_title(title)
    figure.colorbar(image, ax=axes, label=label, fraction=0.05, aspect=30)
    return figure


@plt.rc_context(STYLE)
def number_grids(
    grids: Mapping[str, np.ndarray], framed: Mapping[str, np.ndarray], numbers: bool = True, label: str | None = None
) -> Figure:
    """Small arrays (h, w) of integers by title, as coloured cells, a panel each, with the number in every cell.

    Args:
        framed: title -> bool (h, w), the cells drawn with a frame.
        label: what a colour bar shows, on one scale for all panels; without it each has its own, and no bar.
    """
    arrays = [np.asarray(grid) for grid in grids.values()]
    widths = [array.shape[1] for array in arrays]
    unit = min(0.5, 12 / sum(widths))
    size = (unit * sum(widths) + 0.4 * len(arrays), unit * max(len(array) for array in arrays) + 0.6)
    figure, axes = plt.subplots(1, len(arrays), figsize=size, width_ratios=widths, squeeze=False)
    for axis, title, array in zip(axes[0], grids, arrays, strict=True):
        low, high = (0, max(other.max() for other in arrays)) if label else (array.min(), array.max())
        image = axis.imshow(array, vmin=low, vmax=high)
        axis.set_title(title)
        for (y, x), value in np.ndenumerate(array) if numbers else ():
            colour = "black" if 2 * value > low + high else "white"
            axis.text(x, y, str(value), ha="center", va="center", color=colour, fontsize=9)
        for y, x in np.argwhere(framed[title]):
            frame = Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, fill=False, edgecolor=VERMILLION, linewidth=2)
            axis.add_patch(frame)
        axis.set_axis_off()
    if label:
        figure.colorbar(image, ax=axes, label=label, fraction=0.03, aspect=15, shrink=0.85)
    return figure
