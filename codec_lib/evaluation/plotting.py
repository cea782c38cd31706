"""Figures: every function takes a table (rows or arrays) and returns a matplotlib figure.

With `drawing` the only module that knows matplotlib. One style for all figures: the colours of Okabe and Ito, which
colour-blind readers tell apart, and next to colour always a second sign (marker, dash, hatch, name at the line), so
that a figure can be read in grey. Own models are solid with filled markers, classical codecs dashed and grey,
published points dotted with open markers; no two curves share both colour and marker. Values with a sign have a
diverging map with zero in its middle, negative ones the darker end. Photographs keep their pixels: one of the picture
is one of the figure, or a square of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from scipy.optimize import isotonic_regression

from codec_lib import registry, tables
from codec_lib.evaluation.classical import CODECS
from codec_lib.files import replace_atomically
from codec_lib.metrics import METRICS
from codec_lib.places import ROOT

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
GREYS = ("0.2", "0.4", "0.55")
MARKERS = {"own": "osD^vP*", "classical": "x+1234|_", "published": "hpd<>8HX"}
"""Kind of curve -> the markers of its curves, none of them used twice where another colour does not tell them apart."""
PUBLISHED = ("(paper)", "et al.", "compressai", "published")
"""Words in the names of curves that others measured."""
SIGNED = LinearSegmentedColormap.from_list("signed", ["#08306B", BLUE, "white", ORANGE, "#B34700"])

STYLE = {
    "figure.dpi": 100, "figure.constrained_layout.use": True, "figure.facecolor": "white",
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
    "legend.fontsize": 9, "legend.frameon": False, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "0.9", "grid.linewidth": 0.8, "lines.linewidth": 1.6, "lines.markersize": 5,
    "image.cmap": "cividis", "image.interpolation": "nearest",
}  # fmt: skip
DPI = 150
"""Of saved figures, and of those that show photographs wherever they are shown."""
LABELS = {
    "step": "step", "minutes": "time [min]", "loss": "loss", "bpp": "rate [bit/pixel]",
    "ms_ssim_db": "MS-SSIM, -10 log10(1 - MS-SSIM) [dB]",
}  # fmt: skip

Rows = Sequence[Mapping[str, object]]


def label_of(column: str) -> str:
    """What a column is called on an axis, with its unit."""
    return METRICS[column].label if column in METRICS else LABELS.get(column, column)


def save(figure: Figure, name: str, folder: str | Path) -> None:
    """Write NAME.png into the folder: `DPI`, without the metadata that would differ between machines.

    A relative folder is one of the checkout's, wherever the notebook runs. The figure is called by its name from
    then on, which SVG keeps.
    """
    figure.set_gid(name)
    folder = ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        replace_atomically(
            folder / f"{name}.png",
            lambda file: figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}),
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
def nested_intervals(p: Sequence[float], message: Sequence[int], names: Sequence[str]) -> Figure:
    """How arithmetic coding narrows an interval: a bar for each symbol, which is the part chosen above, enlarged.

    Args:
        p: probabilities of the symbols, in the order in which they divide an interval.
        message: symbols, indices of `p`.
        names: of the symbols.
    """
    figure, axis = plt.subplots(figsize=(7.5, 0.9 * len(message) + 0.3))
    ends = np.concatenate([[0.0], np.cumsum(p)])
    low, width = 0.0, 1.0
    for k, chosen in enumerate(message):
        for symbol, (left, right) in enumerate(pairwise(ends)):
            colour = SKY if symbol == chosen else "white"
            axis.add_patch(Rectangle((left, -k), right - left, 0.5, facecolor=colour, edgecolor="black"))
            axis.text((left + right) / 2, 0.25 - k, names[symbol], ha="center", va="center")
        axis.text(-0.02, 0.25 - k, f"{low:.4g} … {low + width:.4g}", ha="right", va="center")
        if k < len(message) - 1:
            for end, corner in ((ends[chosen], 0), (ends[chosen + 1], 1)):
                axis.plot([end, corner], [-k, -k - 0.5], color="0.4", linewidth=0.8, linestyle="--")
        low, width = low + width * ends[chosen], width * p[chosen]
    axis.set(xlim=(-0.3, 1.01), ylim=(0.02 - len(message) + 0.95, 0.52))
    axis.set_axis_off()
    return figure


@plt.rc_context(STYLE)
def loss_curves(rows_by_name: Mapping[str, Rows], x: str = "step") -> Figure:
    """Loss, rate and PSNR of training runs, those columns of the three that occur, a panel each.

    Validation values (columns `val_...`), where there are any, are solid and the training values dotted. The runs
    must have the same lmbda and crops: their losses share an axis.
    """
    have = tables.columns_of(row for rows in rows_by_name.values() for row in rows)
    panels = [c for c in ("loss", "bpp", "psnr") if c in have or f"val_{c}" in have]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels) + 1, 3.2), squeeze=False)
    for axis, column in zip(axes[0], panels, strict=True):
        _draw_runs(axis, rows_by_name, x, column)
    _name_lines(axes[0, -1])
    return figure


@plt.rc_context(STYLE)
def loss_panels(runs: Mapping[str, Mapping[str, Rows]], x: str = "step") -> Figure:
    """The loss of training runs whose losses do not compare, say of several lmbda: a panel with its own scale for each.

    Args:
        runs: title of a panel -> name of a run -> its rows, as `loss_curves` has them.
        x: the column across.
    """
    figure, axes = plt.subplots(1, len(runs), figsize=(3.1 * len(runs), 2.9), squeeze=False)
    for axis, (title, rows_by_name) in zip(axes[0], runs.items(), strict=True):
        _draw_runs(axis, rows_by_name, x, "loss")
        axis.set_title(title)
        axis.set_ylabel("loss" if axis is axes[0, 0] else "")
        if len(rows_by_name) > 1:
            axis.legend()
    return figure


def live_losses(name: str, handle: Any) -> Callable[[Rows], None]:
    """A function that draws the validation values of the rows it is given, always in one place: IPython's `handle`."""
    shown = []

    def draw(rows: Rows) -> None:
        validation = [
            {k.removeprefix("val_"): row[k] for k in row if k == "step" or k.startswith("val_")} for row in rows
        ]
        figure = loss_curves({name: validation})
        (handle.update if shown else handle.display)(figure)
        shown.append(True)
        plt.close(figure)

    return draw


def _draw_runs(axis: Axes, rows_by_name: Mapping[str, Rows], x: str, column: str) -> None:
    for i, (name, rows) in enumerate(rows_by_name.items()):
        style = _own_style(name, i)
        validation = _xy(rows, x, f"val_{column}")
        if len(validation[0]):
            axis.plot(*validation, label=name, **style)
            style = style | {"linestyle": ":", "marker": None, "linewidth": 1.0}
        axis.plot(*_xy(rows, x, column), label=None if len(validation[0]) else name, **style)
    axis.set(xlabel=label_of(x), ylabel=label_of(column))


@plt.rc_context(STYLE)
def rate_distortion(curves: Mapping[str, Rows], title: str = "", y: str = "psnr", up_to: float = np.inf) -> Figure:
    """Quality over rate, each curve with its name at its end.

    Args:
        curves: name -> rows with `bpp` and the column `y`, in any order; `kind_of(name)` decides the style.
        title: of the figure, say the data set.
        y: the quality, a column: one of `metrics.METRICS`, say.
        up_to: rows above this rate are left out.
    """
    figure, axis = plt.subplots(figsize=(8.5, max(4.6, 0.28 * len(curves) + 0.8)))
    seen = dict.fromkeys(MARKERS, 0)
    for name, rows in curves.items():
        kind = kind_of(name)
        rates, values = _xy(rows, "bpp", y)
        order = [i for i in np.argsort(rates) if rates[i] <= up_to]
        style = _style(name, kind, seen[kind])
        taken = {line.get_marker() for line in axis.get_lines() if line.get_color() == style["color"]}
        free = (marker for marker in (style["marker"], *MARKERS[kind]) if marker not in taken)
        axis.plot(rates[order], values[order], label=name, **style | {"marker": next(free, style["marker"])})
        seen[kind] += kind != "own" or _model_in(name) is None
    axis.set(xlabel=LABELS["bpp"], ylabel=label_of(y), title=title)
    axis.set_xlim(left=0)
    _name_lines(axis)
    return figure


def kind_of(name: str) -> str:
    """Of a curve: `published` by a word in its name, `own` if the first word is one of our models, else `classical`."""
    if any(word in name.lower() for word in PUBLISHED):
        return "published"
    return "own" if name.replace(",", " ").split()[0] in registry.models() else "classical"


def _name_lines(axis: Axes) -> None:
    """Write each line's name right of the axes, as near to its last point as the others allow, and join the two."""
    lines = [line for line in axis.get_lines() if not line.get_label().startswith("_") and len(line.get_xdata())]
    if not lines:
        return
    axis.autoscale_view()  # the limits are to be those of all lines
    ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in lines]
    to_axes = axis.transData + axis.transAxes.inverted()
    height = axis.figure.get_size_inches()[1] * axis.get_position().height
    places = _spread(to_axes.transform(ends)[:, 1], 0.165 / height)  # inches between two lines of text
    for line, end, place in zip(lines, ends, places, strict=True):
        arrow = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4}
        axis.annotate("", end, (1.04, place), textcoords="axes fraction", arrowprops=arrow, annotation_clip=False)
        swatch = Line2D([1.04, 1.09], [place, place])
        swatch.update_from(line)
        swatch.set(transform=axis.transAxes, clip_on=False, markevery=[1])
        axis.figure.add_artist(swatch)
        axis.text(1.11, place, line.get_label(), transform=axis.transAxes, va="center", fontsize=9)


def _spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Places nearest to those wanted, in their order and `gap` apart, in [0, 1] if there is room."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    places = np.empty(len(wanted))
    places[order] = isotonic_regression(wanted[order] - steps).x.clip(0, max(0, 1 - steps[-1])) + steps
    return places


# --- photographs ---

_GAP, _TITLE, _BAR = 12, 62, 44  # pixels between axes, for the two lines above one, for a colour bar beneath one


@plt.rc_context(STYLE)
def image_row(
    pictures: Sequence[np.ndarray], titles: Sequence[str], box: tuple[int, int, int, int] | None = None
) -> Figure:
    """Pictures of one size, pixel by pixel, side by side; or the first of them, and of each the region `box`, enlarged.

    Args:
        pictures: uint8 arrays (H, W, 3) or (H, W), or PIL images.
        titles: captions, one for each.
        box: left, top, width, height in pixels; none by default.
    """
    pictures = [np.asarray(p) for p in pictures]
    if box is None:
        figure, axes, _ = _canvas([p.shape[:2] for p in pictures])
        for axis, picture, title in zip(axes, pictures, titles, strict=True):
            _show_photograph(axis, picture, title)
        return figure
    left, top, w, h = box
    times = max(1, 320 // max(w, h))
    figure, (whole, *axes), _ = _canvas([pictures[0].shape[:2], *[(times * h, times * w)] * len(pictures)])
    _show_photograph(whole, pictures[0], "the frame is shown beside")
    frame = Rectangle((left - 0.5, top - 0.5), w, h, fill=False, edgecolor="white", linewidth=1.2)
    frame.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
    whole.add_patch(frame)
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        _show_photograph(axis, picture[top : top + h, left : left + w], title)
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
            scale = _scale(*np.percentile(array, (1, 99)))
        image = axis.imshow(array, **scale)
        axis.set_title(title)
        figure.colorbar(image, cax=bar, orientation="horizontal", extend="both")
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
    figure, (left, right), (bar,) = _canvas([(height, width)] * 2, bars=True)
    _show_photograph(left, picture, "photograph")
    right.imshow(picture.mean(2), cmap="gray", vmin=-64, vmax=320)
    extent = (-0.5, values.shape[1] * side - 0.5, values.shape[0] * side - 0.5, -0.5)
    image = right.imshow(values, extent=extent, alpha=0.75, vmin=0, vmax=np.percentile(values, 99))
    right.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), title=label)
    figure.colorbar(image, cax=bar, orientation="horizontal", extend="max")
    return figure


def colours(values: np.ndarray) -> np.ndarray:
    """Numbers, clipped to [0, 1], in the colours of the heat maps: (h, w) -> uint8 (h, w, 3)."""
    return plt.get_cmap(STYLE["image.cmap"])(np.clip(values, 0, 1), bytes=True)[..., :3]


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
        corners += [(x, _TITLE + k * (tall + _TITLE + below)) for k in range(len(column))]
        x += max(w for _, w in column) + _GAP
    total = x - _GAP, max(y + h for (_, y), (h, _) in zip(corners, sizes, strict=True)) + below
    # Not "none": once shown, that would become the style's constrained layout, which has nothing to lay out here.
    fixed = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
    figure = plt.figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI, layout=fixed)

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


def _scale(low: float, high: float) -> dict:
    """Colours for values from low to high: with zero in the middle, if there are negative ones."""
    if low >= 0:
        return {"vmin": low, "vmax": high}
    return {"vmin": -max(-low, high), "vmax": max(-low, high), "cmap": SIGNED}


# --- arrays ---


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
    scale = _scale(min(a.min() for a in arrays), max(a.max() for a in arrays))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (array, title) in zip(axes.flat, zip(arrays, titles, strict=True), strict=False):
        image = axis.imshow(array, **scale)
        axis.set_title(title)
    figure.colorbar(image, ax=axes, label=label, fraction=0.05, aspect=30)
    return figure


@plt.rc_context(STYLE)
def histograms(
    panels: Sequence[Mapping[str, object]], x: str = "symbol", model: str = "table", bars: str = "symbols"
) -> Figure:
    """Relative frequencies as bars and a model's probabilities as a line, a panel each, logarithmic.

    A panel ends where no value is seen and the model has no more than its smallest probability.

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
        shown = (np.asarray(panel["seen"]) > 0) | (np.asarray(panel["table"]) > 1.5 * np.min(panel["table"]))
        ends = np.asarray(panel["value"])[shown][[0, -1]]
        axis.set(title=panel["name"], xlabel=x, yscale="log", ylim=(1e-5, 1), xlim=(ends[0] - width, ends[1] + width))
    axes[0, 0].set_ylabel("relative frequency")
    axes[0, -1].legend()
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


def _model_in(name: str) -> registry.Entry | None:
    """Which of our models a name has in it."""
    return next((entry for model, entry in registry.models().items() if model in name.lower()), None)


def _own_style(name: str, i: int) -> dict:
    """The style of one of our models, the same in every figure, or of the i-th run of another name."""
    model = _model_in(name)
    if model is not None:
        return {"color": model.colour, "marker": model.marker, "linestyle": "-"}
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS["own"][i % len(MARKERS["own"])], "linestyle": "-"}


def _style(name: str, kind: str, i: int) -> dict:
    """Colour, dash and marker of the i-th curve of its kind."""
    if kind == "own":
        return _own_style(name, i)
    marker = MARKERS[kind][i % len(MARKERS[kind])]
    if kind == "classical":
        dash = ((0, (5, 2)), (0, (2, 1)))[i % 2]
        if name in CODECS:
            return {"color": CODECS[name].colour, "marker": CODECS[name].marker, "linestyle": dash}
        return {"color": GREYS[i % len(GREYS)], "marker": marker, "linestyle": dash}
    colour = GREYS[i // len(MARKERS[kind]) % len(GREYS)] if _model_in(name) is None else _own_style(name, i)["color"]
    return {"color": colour, "linestyle": ":", "marker": marker, "markerfacecolor": "white", "linewidth": 1.2}
