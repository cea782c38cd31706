"""Figures: every function takes a table (rows or arrays) and returns a matplotlib figure.

With `drawing` the only modules that know matplotlib. One style for all figures: the colours of Okabe and Ito, which
colour-blind readers tell apart, and next to colour always a second sign (marker, dash, hatch, name at the line), so
that a figure can be read in grey. Own models are solid with filled markers, classical codecs dashed and grey,
published points dotted with open markers; no two curves share both colour and marker. Values with a sign have a
diverging map with zero in its middle, negative ones the darker end. Photographs keep their pixels: one of the picture
is one of the figure, or a square of them.
"""

from codec_lib.evaluation.plotting.curves import (
    bars_against,
    density_fit,
    gains_over_time,
    histograms,
    learning_curve,
    lines,
    live_losses,
    loss_curves,
    loss_panels,
    nested_intervals,
    rate_distortion,
    stacked_bars,
)
from codec_lib.evaluation.plotting.pictures import block_map, channel_grid, image_row, number_grids, panels
from codec_lib.evaluation.plotting.style import colours, kind_of, save, save_table, show

__all__ = [
    "bars_against", "block_map", "channel_grid", "colours", "density_fit", "gains_over_time", "histograms", "image_row",
    "kind_of", "learning_curve", "lines", "live_losses", "loss_curves", "loss_panels", "nested_intervals",
    "number_grids", "panels", "rate_distortion", "save", "save_table", "show", "stacked_bars",
]  # fmt: skip
