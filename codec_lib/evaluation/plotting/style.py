"""The style of all figures: colours, markers, names beside lines, scales; how a figure and its table are saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.lines import Line2D
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
FIXED = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
"""The layout of figures whose axes stay where they are put. Once shown, "none" would become the style's own."""
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
    """Write NAME.csv into the folder, which is found as `save` finds it; numbers as `tables.steady` has them."""
    folder = ROOT / folder
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_csv(folder / f"{name}.csv", tables.steady(rows))


def show() -> None:
    """Show the open figures: the last line of a notebook's figure cell."""
    plt.show()


def kind_of(name: str) -> str:
    """Of a curve: `published` by a word in its name, `own` if the first word is one of our models, else `classical`."""
    if any(word in name.lower() for word in PUBLISHED):
        return "published"
    return "own" if name.replace(",", " ").split()[0] in registry.models() else "classical"


def curve_style(name: str, kind: str, i: int) -> dict:
    """Colour, dash and marker of the i-th curve of its kind."""
    if kind == "own":
        return own_style(name, i)
    marker = MARKERS[kind][i % len(MARKERS[kind])]
    if kind == "classical":
        dash = ((0, (5, 2)), (0, (2, 1)))[i % 2]
        if name in CODECS:
            return {"color": CODECS[name].colour, "marker": CODECS[name].marker, "linestyle": dash}
        return {"color": GREYS[i % len(GREYS)], "marker": marker, "linestyle": dash}
    colour = GREYS[i // len(MARKERS[kind]) % len(GREYS)] if model_in(name) is None else own_style(name, i)["color"]
    return {"color": colour, "linestyle": ":", "marker": marker, "markerfacecolor": "white", "linewidth": 1.2}


def own_style(name: str, i: int) -> dict:
    """The style of one of our models, the same in every figure, or of the i-th run of another name."""
    model = model_in(name)
    if model is not None:
        return {"color": model.colour, "marker": model.marker, "linestyle": "-"}
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS["own"][i % len(MARKERS["own"])], "linestyle": "-"}


def model_in(name: str) -> registry.Entry | None:
    """Which of our models a name has in it."""
    return next((entry for model, entry in registry.models().items() if model in name.lower()), None)


def name_lines(axis: Axes) -> None:
    """Write each line's name right of the axes, as near to its last point as the others allow, and join the two."""
    lines = [line for line in axis.get_lines() if not line.get_label().startswith("_") and len(line.get_xdata())]
    if not lines:
        return
    axis.autoscale_view()  # the limits are to be those of all lines
    ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in lines]
    to_axes = axis.transData + axis.transAxes.inverted()
    width, height = axis.figure.get_size_inches() * axis.get_position().size
    left, right, text = (1 + inches / width for inches in (0.2, 0.5, 0.6))
    places = _spread(to_axes.transform(ends)[:, 1], 0.165 / height)  # inches between two lines of text
    for line, end, place in zip(lines, ends, places, strict=True):
        arrow = {"arrowstyle": "-", "color": "0.7", "linestyle": ":", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}
        axis.annotate("", end, (left, place), textcoords="axes fraction", arrowprops=arrow, annotation_clip=False)
        swatch = Line2D([left, right], [place, place])
        swatch.update_from(line)
        swatch.set(transform=axis.transAxes, clip_on=False, markevery=[1])
        axis.figure.add_artist(swatch)
        axis.text(text, place, line.get_label(), transform=axis.transAxes, va="center", fontsize=9)


def _spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Places nearest to those wanted, in their order and `gap` apart, in [0, 1] if there is room."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    places = np.empty(len(wanted))
    places[order] = isotonic_regression(wanted[order] - steps).x.clip(0, max(0, 1 - steps[-1])) + steps
    return places


def scale(low: float, high: float) -> dict:
    """Colours for values from low to high: with zero in the middle, if there are negative ones."""
    if low >= 0:
        return {"vmin": low, "vmax": high}
    return {"vmin": -max(-low, high), "vmax": max(-low, high), "cmap": SIGNED}


def colours(values: np.ndarray) -> np.ndarray:
    """Numbers, clipped to [0, 1], in the colours of the heat maps: (h, w) -> uint8 (h, w, 3)."""
    return plt.get_cmap(STYLE["image.cmap"])(np.clip(values, 0, 1), bytes=True)[..., :3]
