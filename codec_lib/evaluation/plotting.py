"""Figures: every function takes a table (rows or arrays) and returns a matplotlib figure.

With `drawing` the only module that knows matplotlib. One style for all figures: the colours of Okabe and Ito, which
colour-blind readers tell apart, and next to colour always a second sign (dash, marker, shade), so that
a figure can be read in grey. Own models are solid with filled markers, classical codecs dashed and grey,
published points dotted with open markers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from codec_lib import tables
from codec_lib.datasets import ROOT
from codec_lib.files import replace_atomically

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
GREYS = ("0.25", "0.45", "0.6")

MODELS = {"factorized": 0, "hyperprior": 1, "joint": 2, "checkerboard": 3}
"""Word in a curve's name -> its colour and marker, the same in every figure."""
CLASSICAL = ("jpeg", "webp", "png", "bpg", "av1", "avif", "hm ", "hevc", "vtm", "vvc")
PUBLISHED = ("(paper)", "et al.", "compressai", "published")

STYLE = {
    "figure.dpi": 100, "figure.constrained_layout.use": True, "figure.facecolor": "white",
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
    "legend.fontsize": 9, "legend.frameon": False, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "0.9", "grid.linewidth": 0.8, "lines.linewidth": 1.6, "lines.markersize": 5,
    "image.cmap": "cividis", "image.interpolation": "nearest",
}  # fmt: skip
LABELS = {
    "step": "step", "minutes": "time [min]", "loss": "loss", "bpp": "rate [bit/pixel]", "psnr": "PSNR [dB]",
    "ms_ssim": "MS-SSIM", "ms_ssim_db": "MS-SSIM, -10 log10(1 - MS-SSIM) [dB]",
}  # fmt: skip

Rows = Sequence[Mapping[str, object]]


def save(figure: Figure, name: str, folder: str | Path) -> None:
    """Write NAME.png into the folder: 150 dpi, without the metadata that would differ between machines.

    A relative folder is one of the checkout's, wherever the notebook runs. The figure is called by its name from
    then on, which SVG keeps.
    """
    figure.set_gid(name)
    folder = ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        replace_atomically(
            folder / f"{name}.png",
            lambda file: figure.savefig(file, format="png", dpi=150, metadata={"Software": None}),
        )


def save_table(rows: list[tables.Row], name: str, folder: str | Path) -> None:
    """Write NAME.csv into the folder, which is found as `save` finds it."""
    folder = ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_csv(folder / f"{name}.csv", rows)


def show() -> None:
    """Show the open figures: the last line of a notebook's figure cell."""
    plt.show()


@plt.rc_context(STYLE)
def density_fit(
    samples: np.ndarray,
    x: np.ndarray,
    truth: np.ndarray,
    fits: Mapping[str, np.ndarray],
    snapshots: Sequence[tuple[int, np.ndarray]] = (),
) -> Figure:
    """Densities over a histogram; below, what each fit is off by.

    Args:
        samples: the data, (n,).
        x: where all densities are given, (m,), ascending.
        truth: density the samples came from, (m,).
        fits: name -> fitted density, (m,).
        snapshots: (step, density) during the fit, drawn in grey that darkens with time.
    """
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7.5, 5.2), height_ratios=(3, 1))
    above.hist(samples, bins=np.linspace(x[0], x[-1], 97), density=True, color="0.9", label="samples")
    for i, (step, density) in enumerate(snapshots):
        shade = 0.8 - 0.6 * (i / max(1, len(snapshots) - 1)) ** 0.5  # most changes early
        label = f"during the fit, step {step}" if i in (0, len(snapshots) - 1) else None
        above.plot(x, density, color=str(round(shade, 3)), linewidth=0.7, label=label)
    above.plot(x, truth, color="black", linewidth=3.2, alpha=0.35, label="true density")
    for i, (name, density) in enumerate(fits.items()):
        style = {"color": COLOURS[i], "linestyle": ("-", (0, (4, 2)), ":")[i % 3]}
        above.plot(x, density, label=name, **style)
        below.plot(x, density - truth, **style)
    above.set(ylabel="density p(x)", xlim=(x[0], x[-1]), ylim=(0, None))
    below.set(ylabel="fit − truth", xlabel="x")
    figure.align_ylabels()
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@plt.rc_context(STYLE)
def loss_curves(rows_by_name: Mapping[str, Rows], x: str = "step") -> Figure:
    """Loss, rate and PSNR of training runs, those columns of the three that occur, a panel each.

    Validation values (columns `val_...`), where there are any, are solid and the training values dotted.
    """
    have = tables.columns_of(row for rows in rows_by_name.values() for row in rows)
    panels = [c for c in ("loss", "bpp", "psnr") if c in have or f"val_{c}" in have]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.2), squeeze=False)
    for axis, column in zip(axes[0], panels, strict=True):
        for i, (name, rows) in enumerate(rows_by_name.items()):
            style = _own_style(name, i)
            if f"val_{column}" in have:
                axis.plot(*_xy(rows, x, f"val_{column}"), label=name, **style)
                style = style | {"linestyle": ":", "marker": None, "linewidth": 1.0}
            axis.plot(*_xy(rows, x, column), label=None if f"val_{column}" in have else name, **style)
        axis.set(xlabel=LABELS.get(x, x), ylabel=LABELS[column])
    axes[0, 0].legend()
    return figure


@plt.rc_context(STYLE)
def rate_distortion(curves: Mapping[str, Rows], title: str = "", y: str = "psnr", up_to: float = np.inf) -> Figure:
    """Quality over rate.

    Args:
        curves: name -> rows with `bpp` and the column `y`, in any order; `kind_of(name)` decides the style.
        title: of the figure, say the data set.
        y: the quality, a column in LABELS.
        up_to: rows above this rate are left out.
    """
    figure, axis = plt.subplots(figsize=(8.5, 4.6))
    seen = {"own": 0, "classical": 0, "published": 0}
    for name, rows in curves.items():
        kind = kind_of(name)
        rates, values = _xy(rows, "bpp", y)
        order = [i for i in np.argsort(rates) if rates[i] <= up_to]
        axis.plot(rates[order], values[order], label=name, **_style(name, kind, seen[kind]))
        seen[kind] += 1
    axis.set(xlabel=LABELS["bpp"], ylabel=LABELS.get(y, y), title=title)
    axis.set_xlim(left=0)
    figure.legend(loc="outside right upper")
    return figure


def kind_of(name: str) -> str:
    """`published`, `classical` or `own`, by the words in a curve's name."""
    words = name.lower() + " "
    if any(word in words for word in PUBLISHED):
        return "published"
    return "classical" if words.startswith(CLASSICAL) else "own"


@plt.rc_context(STYLE)
def image_row(
    pictures: Sequence[np.ndarray], titles: Sequence[str], box: tuple[int, int, int, int] | None = None
) -> Figure:
    """Pictures of one size side by side; beneath them, enlarged, the region `box`.

    Args:
        pictures: uint8 arrays (H, W, 3) or (H, W), or PIL images.
        titles: captions, one for each.
        box: left, top, width, height in pixels; none by default.
    """
    pictures = [np.asarray(p) for p in pictures]
    (height, width), n = pictures[0].shape[:2], len(pictures)
    shapes = [height / width] + ([box[3] / box[2]] if box else [])
    side = min(4.5, 12 / n)
    size = (side * n, side * sum(shapes) + 0.4)
    figure, axes = plt.subplots(len(shapes), n, figsize=size, height_ratios=shapes, squeeze=False)
    for column, picture, title in zip(axes.T, pictures, titles, strict=True):
        column[0].imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        column[0].set_title(title)
        if box:
            left, top, w, h = box
            frame = Rectangle((left - 0.5, top - 0.5), w, h, fill=False, edgecolor="white", linewidth=1.2)
            frame.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
            column[0].add_patch(frame)
            column[1].imshow(picture[top : top + h, left : left + w], cmap="gray", vmin=0, vmax=255)
        for axis in column:
            axis.set_axis_off()
    return figure


@plt.rc_context(STYLE)
def channel_grid(arrays: Sequence[np.ndarray], titles: Sequence[str], columns: int = 6, label: str = "") -> Figure:
    """Arrays (h, w) as heat maps on one colour scale, light is large; `label` names what the scale shows."""
    arrays = [np.asarray(a) for a in arrays]
    columns = min(columns, len(arrays))
    rows = -(-len(arrays) // columns)
    height, width = arrays[0].shape
    side = min(3.0, 11 / columns)
    size = (side * columns + 0.9, (side * height / width + 0.3) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (array, title) in zip(axes.flat, zip(arrays, titles, strict=True), strict=False):
        image = axis.imshow(array, vmin=low, vmax=high)
        axis.set_title(title)
    figure.colorbar(image, ax=axes, label=label, fraction=0.05, aspect=30)
    return figure


@plt.rc_context(STYLE)
def histograms(
    panels: Sequence[Mapping[str, object]], x: str = "symbol", model: str = "table", bars: str = "symbols"
) -> Figure:
    """Relative frequencies as bars and a model's probabilities as a line, a panel each, logarithmic.

    Args:
        panels: each with `name`, and arrays of one length: `value` (equally spaced), `seen`, `table`.
        x: what the values are.
        model, bars: names of the line and the bars in the legend.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(2.9 * len(panels), 2.8), sharey=True, squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        width = 0.8 * (panel["value"][1] - panel["value"][0])
        axis.bar(panel["value"], panel["seen"], width=width, color="0.75", label=bars)
        axis.plot(panel["value"], panel["table"], color=BLUE, marker=".", label=model)
        axis.set(title=panel["name"], xlabel=x, yscale="log", ylim=(1e-5, 1))
    axes[0, 0].set_ylabel("relative frequency")
    axes[0, -1].legend()
    return figure


@plt.rc_context(STYLE)
def panels(picture: np.ndarray, arrays: Mapping[str, np.ndarray], together: int = 1) -> Figure:
    """A photograph (H, W, 3), and beside it arrays (h, w) as heat maps, each with a colour bar of its own.

    A scale ends at the 1st and the 99th percentile of its array, and has zero in its middle if the array
    has negative values. The first `together` arrays have the scale of the first.
    """
    n, shape = 1 + len(arrays), picture.shape[0] / picture.shape[1]
    side = min(3.6, 13 / n)
    size = (side * n, side * shape + 0.75)
    figure, axes = plt.subplots(2, n, figsize=size, height_ratios=(side * shape, 0.1), squeeze=False)
    axes[0, 0].imshow(picture, interpolation="antialiased")
    axes[0, 0].set_title("photograph")
    axes[1, 0].set_axis_off()
    for k, ((axis, bar), (title, array)) in enumerate(zip(axes.T[1:], arrays.items(), strict=True)):
        if k == 0 or k >= together:
            low, high = np.percentile(array, (1, 99))
            if low < 0:
                low, high = -max(-low, high), max(-low, high)
        image = axis.imshow(array, vmin=low, vmax=high)
        axis.set_title(title)
        figure.colorbar(image, cax=bar, orientation="horizontal", extend="both")
    for axis in axes[0]:
        axis.set_axis_off()
    return figure


@plt.rc_context(STYLE)
def block_map(picture: np.ndarray, values: np.ndarray, side: int, label: str) -> Figure:
    """A photograph (H, W, 3), and one value for each block of side x side pixels laid over it in grey.

    The scale reaches from 0 to the 99th percentile of the values.

    Args:
        picture: uint8.
        values: (h, w); the last row and column of blocks may reach over the border of the picture.
        side: of a block, pixels.
        label: what the values are.
    """
    height, width = picture.shape[:2]
    side_by_side = {"figsize": (10.4, 4.9 * height / width + 0.4), "width_ratios": (1, 1, 0.03)}
    figure, (left, right, bar) = plt.subplots(1, 3, **side_by_side)
    left.imshow(picture, interpolation="antialiased")
    left.set_title("photograph")
    right.imshow(picture.mean(2), cmap="gray", vmin=-64, vmax=320, interpolation="antialiased")
    extent = (-0.5, values.shape[1] * side - 0.5, values.shape[0] * side - 0.5, -0.5)
    high = np.percentile(values, 99)
    image = right.imshow(values, extent=extent, alpha=0.75, vmin=0, vmax=high)
    right.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), title=label)
    for axis in (left, right):
        axis.set_axis_off()
    figure.colorbar(image, cax=bar, extend="max")
    return figure


@plt.rc_context(STYLE)
def number_grids(
    grids: Mapping[str, np.ndarray],
    framed: Mapping[str, np.ndarray],
    numbers: bool = True,
    label: str | None = None,
) -> Figure:
    """Small arrays (h, w) of integers as coloured cells, a panel each, with the number in every cell.

    Args:
        grids: title -> array; light is large.
        framed: title -> bool (h, w), the cells drawn with a frame.
        numbers: whether the numbers are written.
        label: what a colour bar shows, on one scale for all panels; without it each has its own, and no bar.
    """
    arrays = [np.asarray(grid) for grid in grids.values()]
    widths = [array.shape[1] for array in arrays]
    unit = min(0.5, 12 / sum(widths))
    size = (unit * sum(widths) + 0.4 * len(arrays), unit * max(len(array) for array in arrays) + 0.6)
    figure, axes = plt.subplots(1, len(arrays), figsize=size, width_ratios=widths, squeeze=False)
    limits = {"vmin": 0, "vmax": max(array.max() for array in arrays)} if label else {}
    for axis, title, array in zip(axes[0], grids, arrays, strict=True):
        image = axis.imshow(array, **limits)
        axis.set_title(title)
        for (y, x), value in np.ndenumerate(array) if numbers else ():
            colour = "black" if 2 * value > array.min() + array.max() else "white"
            axis.text(x, y, str(value), ha="center", va="center", color=colour, fontsize=9)
        for y, x in np.argwhere(framed[title]):
            frame = Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, fill=False, edgecolor=VERMILLION, linewidth=2)
            axis.add_patch(frame)
        axis.set_axis_off()
    if label:
        figure.colorbar(image, ax=axes, label=label, fraction=0.03, aspect=15, shrink=0.85)
    return figure


@plt.rc_context(STYLE)
def stacked_bars(rows: Rows, name: str, columns: Sequence[str], label: str, digits: int = 2) -> Figure:
    """A horizontal bar for each row, its columns end to end and their sum, rounded, at the end.

    Args:
        rows: the table, drawn from top to bottom; a missing value counts as 0.
        name: the column that names a bar.
        columns: which columns are drawn.
        label: what they are and in which unit.
    """
    figure, axis = plt.subplots(figsize=(7.5, 0.42 * len(rows) + 1.1))
    names = [str(row[name]) for row in rows]
    ends = np.zeros(len(rows))
    for i, column in enumerate(columns):
        values = np.array([row.get(column) or 0.0 for row in rows], dtype=float)
        shade = {"color": COLOURS[i], "hatch": (None, "///", "...", "xx")[i % 4], "edgecolor": "white"}
        axis.barh(names, values, left=ends, height=0.65, label=column, **shade)
        ends += values
    for k, end in enumerate(ends):
        axis.text(end, k, f" {end:.{digits}f}", va="center")
    axis.set(xlabel=label, xlim=(0, 1.1 * ends.max()))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    if len(columns) > 1:
        figure.legend(loc="outside upper center", ncols=len(columns))
    return figure


def _xy(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Two columns as arrays, without the rows that lack either."""
    pairs = [(row[x], row[y]) for row in rows if row.get(x) is not None and row.get(y) is not None]
    return tuple(np.array(pairs, dtype=float).reshape(-1, 2).T)


def _own_style(name: str, i: int) -> dict:
    number = next((n for word, n in MODELS.items() if word in name.lower()), None)
    i = len(MODELS) + i if number is None else number
    style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(COLOURS)], "linestyle": "-"}
    return style if i < len(COLOURS) else style | {"markerfacecolor": "white", "linestyle": "-."}


def _style(name: str, kind: str, i: int) -> dict:
    """Colour, dash and marker of the i-th curve of its kind."""
    if kind == "classical":
        return {"color": GREYS[i % 3], "marker": "x+."[i % 3], "linestyle": ((0, (5, 2)), (0, (2, 1)))[i // 3 % 2]}
    if kind == "own":
        return _own_style(name, i)
    known = any(word in name.lower() for word in MODELS)
    colour = _own_style(name, i)["color"] if known else GREYS[0]
    return {"color": colour, "linestyle": ":", "marker": MARKERS[i % 6], "markerfacecolor": "white", "linewidth": 1.2}
