"""Lines and bars: densities, training runs, rate and distortion, histograms, sums."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter

from codec_lib import tables
from codec_lib.evaluation.plotting.style import (
    BLUE,
    COLOURS,
    LABELS,
    MARKERS,
    SKY,
    STYLE,
    Rows,
    curve_style,
    kind_of,
    label_of,
    model_in,
    name_lines,
    own_style,
)


@plt.rc_context(STYLE)
def density_fit(
    samples: np.ndarray, x: np.ndarray, truth: np.ndarray, fits: Mapping[str, np.ndarray],
    snapshots: Sequence[tuple[int, np.ndarray]] = (),
) -> Figure:  # fmt: skip
    """Densities over a histogram of samples (n,); below, what each fit is off by.

    All densities are given at x (m,), ascending: that of the samples, those fitted, and `snapshots`, (step, density)
    during the fit, drawn in grey that darkens with time.
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
def lines(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], x: str, y: str, log: str = "",
    bands: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> Figure:  # fmt: skip
    """Lines with their names at their ends; a second one of the same colour is dashed.

    Args:
        curves: name -> what lies across and what lies up, ascending across.
        log: the axes that are logarithmic, "x", "y" or "xy".
        bands: name -> from where to where along x; each second one is shaded, and the name stands above.
    """
    figure, axis = plt.subplots(figsize=(8, 3.6))
    for i, (name, (across, up)) in enumerate(curves.items()):
        style = own_style(name, i) | ({"marker": None} if len(across) > 40 else {})
        if style["color"] in {line.get_color() for line in axis.get_lines()}:
            style |= {"linestyle": (0, (4, 2)), "markerfacecolor": "white"}
        axis.plot(across, up, label=name, **style)
    axis.set(xlabel=x, ylabel=y, **{f"{side}scale": "log" for side in log})
    if bands:
        axis.set_xlim(min(left for left, _ in bands.values()), max(right for _, right in bands.values()))
    for i, (name, (left, right)) in enumerate(bands.items()):
        axis.axvspan(left, right, facecolor="0.93" if i % 2 == 0 else "white", zorder=0)
        middle = (left * right) ** 0.5 if "x" in log else (left + right) / 2
        axis.text(middle, 1.02, name, ha="center", va="bottom", fontsize=9, transform=axis.get_xaxis_transform())
    name_lines(axis)
    return figure


@plt.rc_context(STYLE)
def nested_intervals(p: Sequence[float], message: Sequence[int], names: Sequence[str]) -> Figure:
    """How arithmetic coding narrows an interval: a bar for each symbol, which is the part chosen above, enlarged.

    Symbols are indices of their probabilities `p`, which divide an interval in this order, and of their names.
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
def loss_curves(rows_by_name: Mapping[str, Rows]) -> Figure:
    """Loss, rate and PSNR of training runs, those columns of the three that occur, a panel each.

    Validation values (columns `val_...`), where there are any, are solid and the training values dotted. The runs
    must have the same lmbda and crops: their losses share an axis.
    """
    have = tables.columns_of(row for rows in rows_by_name.values() for row in rows)
    panels = [c for c in ("loss", "bpp", "psnr") if c in have or f"val_{c}" in have]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels) + 1, 3.2), squeeze=False)
    for axis, column in zip(axes[0], panels, strict=True):
        _draw_runs(axis, rows_by_name, "step", column)
    name_lines(axes[0, -1])
    return figure


@plt.rc_context(STYLE)
def loss_panels(runs: Mapping[str, Mapping[str, Rows]], x: str = "step") -> Figure:
    """The loss of training runs whose losses do not compare, say of several lmbda: a panel with its own scale for each.

    `runs` are title of a panel -> name of a run -> its rows, as `loss_curves` has them.
    """
    figure, axes = plt.subplots(1, len(runs), figsize=(3.1 * len(runs), 2.9), squeeze=False)
    for axis, (title, rows_by_name) in zip(axes[0], runs.items(), strict=True):
        _draw_runs(axis, rows_by_name, x, "loss")
        axis.set_title(title)
        axis.set_ylabel("loss" if axis is axes[0, 0] else "")
        if len(rows_by_name) > 1:
            axis.legend()
    return figure


@plt.rc_context(STYLE)
def learning_curve(rows: Rows, x: str, y: str) -> tuple[Figure, float]:
    """A loss, column y, against the time trained, column x, above 0, with the straight line over its logarithm.

    With the figure comes how the line's loss changes when the time doubles, relative to the last point; NaN of one.
    """
    times, losses = (np.array([row[name] for row in rows], float) for name in (x, y))
    slope, level = np.polyfit(np.log2(times), losses, 1) if len(rows) > 1 else (np.nan, np.nan)
    figure, axis = plt.subplots(figsize=(6, 3.2))
    ahead = np.geomspace(times.min() / 1.3, 4 * times.max(), 50)
    axis.plot(ahead, level + slope * np.log2(ahead), color="0.6", linestyle="--")
    axis.plot(times, losses, "o", color=BLUE)
    for time, loss in zip(times, losses, strict=True):
        axis.annotate(f"{loss:.3f}", (time, loss), (5, 5), textcoords="offset points")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel=x, ylabel=y)
    return figure, slope / losses[-1]


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
        style = own_style(name, i)
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
        y: the quality, a column: one of `metrics.METRICS`, say.
        up_to: rows above this rate are left out.
    """
    figure, axis = plt.subplots(figsize=(8.5, max(4.6, 0.28 * len(curves) + 0.8)))
    seen = dict.fromkeys(MARKERS, 0)
    for name, rows in curves.items():
        kind = kind_of(name)
        rates, values = _xy(rows, "bpp", y)
        order = [i for i in np.argsort(rates) if rates[i] <= up_to]
        style = curve_style(name, kind, seen[kind])
        taken = {line.get_marker() for line in axis.get_lines() if line.get_color() == style["color"]}
        free = (marker for marker in (style["marker"], *MARKERS[kind]) if marker not in taken)
        axis.plot(rates[order], values[order], label=name, **style | {"marker": next(free, style["marker"])})
        seen[kind] += kind != "own" or model_in(name) is None
    axis.set(xlabel=LABELS["bpp"], ylabel=label_of(y), title=title)
    axis.set_xlim(left=0)
    name_lines(axis)
    return figure


@plt.rc_context(STYLE)
def gains_over_time(rows: Rows) -> Figure:
    """What a search wins over its time, of `effort.summary`: loss, and BD-rate where it is known."""
    columns = [c for c in ("loss [%]", "BD-rate [%]") if all(row[c] is not None for row in rows)]
    figure, axes = plt.subplots(1, len(columns), figsize=(4.2 * len(columns) + 1.2, 3.4), squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        for i, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
            seconds, values = _xy([row for row in rows if row["model"] == model], "seconds", column)
            axis.plot(seconds, values, label=model, **own_style(model, i))
        axis.set(xscale="log", xlabel="time a picture [s], all cores together", ylabel=f"{column} against effort 0")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    name_lines(axes[0, -1])
    return figure


@plt.rc_context(STYLE)
def histograms(
    panels: Sequence[Mapping[str, object]], x: str = "symbol", model: str = "table", bars: str = "symbols"
) -> Figure:
    """Relative frequencies as bars and a model's probabilities as a line, a panel each, logarithmic.

    A panel ends where no value is seen and the model has no more than its smallest probability.

    Args:
        panels: each with `name`, and arrays of one length: `value` (equally spaced), `seen`, `table`.
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
def stacked_bars(rows: Rows, name: str, columns: Sequence[str], label: str) -> Figure:
    """A horizontal bar for each row, from top to bottom, its columns end to end and their sum, rounded, at the end.

    The column `name` names a bar; a missing value counts as 0.
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
        axis.text(end, k, f" {end:.2f}", va="center")
    axis.set(xlabel=label, xlim=(0, 1.1 * ends.max()))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    if len(columns) > 1:
        figure.legend(loc="outside upper center", ncols=len(columns))
    return figure


@plt.rc_context(STYLE)
def bars_against(rows: Rows, name: str, column: str, against: str, label: str) -> Figure:
    """A horizontal bar for each row, from top to bottom, and a tick where another value of it, `against`, lies.

    The column `name` names a bar; at the end of each stands what differs, in per cent.
    """
    figure, axis = plt.subplots(figsize=(7.5, 0.36 * len(rows) + 1.1))
    names = [str(row[name]) for row in rows]
    values, others = (np.array([row[c] for row in rows], dtype=float) for c in (column, against))
    axis.barh(names, values, height=0.62, color=SKY, label=column)
    axis.plot(others, names, linestyle="", marker="|", markersize=17, markeredgewidth=2.4, color="black", label=against)
    for k, (value, other) in enumerate(zip(values, others, strict=True)):
        axis.text(max(value, other), k, f"   {round(100 * (value / other - 1)):+} %", va="center")
    axis.set(xlabel=label, xlim=(0, 1.15 * max(values.max(), others.max())))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2, markerscale=0.5)
    return figure


def _xy(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Two columns as arrays, without the rows that lack either."""
    pairs = [(row[x], row[y]) for row in rows if row.get(x) is not None and row.get(y) is not None]
    return tuple(np.array(pairs, dtype=float).reshape(-1, 2).T)
