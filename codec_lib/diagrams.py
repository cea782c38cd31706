"""Data-flow diagrams of the four models, as they are trained and as they code.

The graphs are data: tables of nodes and of edges, put together from parts as the models are. All share
the transforms of Balle et al. 2017; Balle et al. 2018 add the side information z; Minnen et al. 2018 and
He et al. 2021 add the context. One routine draws any of them. Shape and shade tell the kinds of nodes
apart, so that a figure can be read in grey.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Patch, Polygon, Rectangle
from matplotlib.path import Path

from codec_lib import models
from codec_lib.errors import Unsupported
from codec_lib.plotting import BLUE, GREEN, ORANGE, PURPLE, STYLE, VERMILLION


class Node(NamedTuple):
    """A node; columns and rows are numbered, and those that a graph leaves empty take no room.

    Attributes:
        label: may have mathematics and several lines.
        kind: a key of KINDS.
        column, row: where it lies.
        to_column, to_row: where it ends, if it reaches over several.
    """

    label: str
    kind: str
    column: int
    row: int
    to_column: int | None = None
    to_row: int | None = None


class Edge(NamedTuple):
    """An arrow; `route` is straight, `hv` or `vh` (first horizontal or first vertical), or `over` the first row."""

    source: str
    target: str
    route: str = "straight"


@dataclass(frozen=True)
class Graph:
    """Nodes by name, edges, and the names of nodes that are framed together."""

    nodes: dict[str, Node]
    edges: tuple[Edge, ...]
    frames: tuple[tuple[str, ...], ...] = ()

    def __add__(self, part: "Graph") -> "Graph":
        """Both; where they name the same node, that of the part."""
        return Graph(self.nodes | part.nodes, self.edges + part.edges, self.frames + part.frames)


def _chain(*names: str) -> tuple[Edge, ...]:
    return tuple(Edge(*pair) for pair in pairwise(names))


_TRAINING = Graph(
    {
        "x": Node("$x$", "tensor", 0, 0),
        "g_a": Node("$g_a$", "network", 1, 0),
        "y": Node("$y$", "tensor", 2, 0),
        "round": Node("round", "quantiser", 6, 0),
        "y_hat": Node(r"$\hat{y}$", "tensor", 7, 0),
        "g_s": Node("$g_s$", "network", 8, 0),
        "x_hat": Node(r"$\hat{x}$", "tensor", 9, 0),
        "D": Node("$D$", "cost", 10, 0),
        "noise": Node("$+u$", "noise", 3, 1),
        "y_noisy": Node(r"$\tilde{y}$", "tensor", 4, 1),
        "density": Node(r"$p(\tilde{y})$", "density", 7, 1),
        "R_y": Node("$R_y$", "cost", 8, 1),
        "loss": Node("$R_y+$\n$\\lambda\\,255^2 D$", "cost", 10, 1),
    },
    (
        *_chain("x", "g_a", "y", "round", "y_hat", "g_s", "x_hat", "D", "loss"),
        Edge("x", "D", "over"),
        Edge("y", "noise", "vh"),
        *_chain("noise", "y_noisy", "density", "R_y", "loss"),
    ),
)

_TRAINING_SIDE = Graph(
    {
        "h_a": Node("$h_a$", "network", 2, 2),
        "z": Node("$z$", "tensor", 2, 3),
        "round_z": Node("round", "quantiser", 3, 3),
        "z_hat": Node(r"$\hat{z}$", "tensor", 4, 3),
        "h_s": Node("$h_s$", "network", 5, 3),
        "noise_z": Node("$+u$", "noise", 3, 4),
        "z_noisy": Node(r"$\tilde{z}$", "tensor", 4, 4),
        "density_z": Node(r"$p(\tilde{z})$", "density", 5, 4),
        "R_z": Node("$R_z$", "cost", 8, 4),
        "loss": Node("$R_y+R_z+$\n$\\lambda\\,255^2 D$", "cost", 10, 1),
    },
    (
        *_chain("y", "h_a", "z", "round_z", "z_hat", "h_s"),
        Edge("z", "noise_z", "vh"),
        *_chain("noise_z", "z_noisy", "density_z", "R_z"),
        Edge("R_z", "loss", "hv"),
    ),
)

_TRAINING_SCALE = Graph(
    {
        "density": Node(r"$\mathcal{N}(0,\sigma^2)$", "density", 7, 1),
        "sigma": Node(r"$\sigma$", "tensor", 5, 2),
    },
    (Edge("h_s", "sigma"), Edge("sigma", "density", "hv")),
)

_TRAINING_CONTEXT = Graph(
    {
        "round": Node("$\\lfloor y-\\mu\\rceil+\\mu$", "quantiser", 6, 0),
        "density": Node(r"$\mathcal{N}(\mu,\sigma^2)$", "density", 7, 1),
        "context": Node("context\n5×5", "network", 4, 2),
        "parameters": Node("entropy\nparameters", "network", 5, 2),
        "mu_sigma": Node(r"$\mu,\,\sigma$", "tensor", 6, 2),
    },
    (
        *_chain("y_noisy", "context", "parameters", "mu_sigma", "round"),
        Edge("h_s", "parameters"),
        Edge("mu_sigma", "density", "hv"),
    ),
)

_CODING = Graph(
    {
        "x": Node("$x$", "tensor", 0, 0),
        "g_a": Node("$g_a$", "network", 1, 0),
        "y": Node("$y$", "tensor", 2, 0),
        "round": Node("round", "quantiser", 4, 0),
        "symbols": Node(r"$\hat{y}$", "tensor", 5, 0),
        "AE": Node("AE", "coder", 6, 0),
        "tables": Node("tables\n$p(\\hat{y})$", "density", 6, 1),
        "file": Node(".cbk", "file", 7, 0, to_row=1),
        "AD": Node("AD", "coder", 8, 0),
        "tables_dec": Node("tables\n$p(\\hat{y})$", "density", 8, 1),
        "y_hat": Node(r"$\hat{y}$", "tensor", 11, 0),
        "g_s": Node("$g_s$", "network", 12, 0),
        "x_hat": Node(r"$\hat{x}$", "tensor", 13, 0),
    },
    (
        *_chain("x", "g_a", "y", "round", "symbols", "AE", "file", "AD"),
        *_chain("tables", "AE"),
        *_chain("tables_dec", "AD"),
        *_chain("y_hat", "g_s", "x_hat"),
    ),
)

_CODING_PLAIN = Graph({}, (Edge("AD", "y_hat"),))
"""Without means the symbols are y_hat."""

_CODING_SIDE = Graph(
    {
        "tables": Node("tables\n$\\mathcal{N}(0,\\sigma^2)$", "density", 6, 1),
        "tables_dec": Node("tables\n$\\mathcal{N}(0,\\sigma^2)$", "density", 8, 1),
        "file": Node(".cbk", "file", 7, 0, to_row=4),
        "h_a": Node("$h_a$", "network", 2, 3),
        "z": Node("$z$", "tensor", 2, 4),
        "round_z": Node("round", "quantiser", 3, 4),
        "z_hat": Node(r"$\hat{z}$", "tensor", 4, 4),
        "h_s": Node("$h_s$", "exact", 4, 3),
        "AE_z": Node("AE", "coder", 6, 4),
        "tables_z": Node("tables\n$p(\\hat{z})$", "density", 6, 3),
        "AD_z": Node("AD", "coder", 8, 4),
        "tables_z_dec": Node("tables\n$p(\\hat{z})$", "density", 8, 3),
        "z_hat_dec": Node(r"$\hat{z}$", "tensor", 10, 4),
        "h_s_dec": Node("$h_s$", "exact", 10, 3),
    },
    (
        *_chain("y", "h_a", "z", "round_z", "z_hat", "AE_z", "file", "AD_z", "z_hat_dec", "h_s_dec"),
        *_chain("z_hat", "h_s"),
        *_chain("tables_z", "AE_z"),
        *_chain("tables_z_dec", "AD_z"),
    ),
)

_CODING_SCALE = Graph(
    {
        "sigma": Node(r"$\sigma$", "tensor", 4, 1),
        "sigma_dec": Node(r"$\sigma$", "tensor", 10, 1),
    },
    (*_chain("h_s", "sigma", "tables"), *_chain("h_s_dec", "sigma_dec", "tables_dec")),
)

_CODING_CONTEXT = Graph(
    {
        "round": Node("$s=\\lfloor y-\\mu\\rceil$\n$\\hat{y}=s+\\mu$", "quantiser", 3, 0, to_column=4),
        "symbols": Node("$s$", "tensor", 5, 0),
        "y_hat_enc": Node(r"$\hat{y}$", "tensor", 3, 1),
        "mu": Node(r"$\mu$", "tensor", 4, 1),
        "context": Node("context\n5×5", "exact", 3, 2),
        "parameters": Node("entropy\nparameters", "exact", 4, 2),
        "sigma": Node(r"$\sigma$", "tensor", 6, 2),
        "symbols_dec": Node("$s$", "tensor", 9, 0),
        "add": Node(r"$s+\mu$", "quantiser", 10, 0),
        "mu_dec": Node(r"$\mu$", "tensor", 10, 1),
        "context_dec": Node("context\n5×5", "exact", 11, 2),
        "parameters_dec": Node("entropy\nparameters", "exact", 10, 2),
        "sigma_dec": Node(r"$\sigma$", "tensor", 8, 2),
    },
    (
        *_chain("round", "y_hat_enc", "context", "parameters", "mu", "round"),
        *_chain("h_s", "parameters", "sigma", "tables"),
        *_chain("AD", "symbols_dec", "add", "y_hat", "context_dec", "parameters_dec", "mu_dec", "add"),
        *_chain("h_s_dec", "parameters_dec", "sigma_dec", "tables_dec"),
    ),
    (
        ("round", "symbols", "AE", "tables", "y_hat_enc", "mu", "context", "parameters", "sigma"),
        ("AD", "tables_dec", "symbols_dec", "add", "y_hat", "mu_dec", "context_dec", "parameters_dec", "sigma_dec"),
    ),
)

_PARTS = {
    (True, "factorized"): (_TRAINING,),
    (True, "hyperprior"): (_TRAINING, _TRAINING_SIDE, _TRAINING_SCALE),
    (True, "joint"): (_TRAINING, _TRAINING_SIDE, _TRAINING_CONTEXT),
    (False, "factorized"): (_CODING, _CODING_PLAIN),
    (False, "hyperprior"): (_CODING, _CODING_PLAIN, _CODING_SIDE, _CODING_SCALE),
    (False, "joint"): (_CODING, _CODING_SIDE, _CODING_CONTEXT),
}


def _graph(model: str, training: bool) -> Graph:
    """The graph of a model; the two with a context differ in the order of coding alone.

    Raises:
        Unsupported: no model has that name.
    """
    if model not in models.MODELS:
        raise Unsupported(f"There is no model '{model}'; choose from {', '.join(models.MODELS)}.")
    first, *more = _PARTS[training, "joint" if model == "checkerboard" else model]
    return sum(more, first)


KINDS = {
    "tensor": "tensor",
    "network": "network",
    "exact": "network in exact integers",
    "quantiser": "quantiser",
    "noise": "uniform noise $u$",
    "density": "density",
    "coder": "entropy coder",
    "cost": "rate, distortion, loss",
    "file": "file",
}
"""Kind of a node -> its name in the legend; in training the quantiser is called STRAIGHT_THROUGH."""
STRAIGHT_THROUGH = "rounding, straight-through"

# Inches; the axes are as large as the figure, and count in inches too.
_WIDTH, _HIGH, _ROUND, _ROW, _MARGIN, _SMALLEST_GAP = 9.0, 0.4, 0.34, 0.68, 0.1, 0.17
_FONT = 11
_INK = "0.15"


@dataclass(frozen=True)
class _Box:
    """A rectangle by its middle and its size; y points down."""

    x: float
    y: float
    w: float
    h: float

    @property
    def left(self) -> float:
        return self.x - self.w / 2

    @property
    def right(self) -> float:
        return self.x + self.w / 2

    @property
    def top(self) -> float:
        return self.y - self.h / 2

    @property
    def bottom(self) -> float:
        return self.y + self.h / 2


@plt.rc_context(STYLE | {"mathtext.fontset": "dejavusans"})
def data_flow(model: str, training: bool) -> Figure:
    """The data flow of a model; columns and rows as the graph has them, evenly spread over the figure.

    In training, y plus uniform noise u is what the densities and the context see, and its bits are the
    rate; g_s and h_s see values rounded, with the gradient passed straight through. In testing, symbols are
    coded to a file and decoded from it, with tables that both sides have; those of a Gaussian are chosen by
    networks in exact integers. Not drawn: how h_a sees y, on a logarithmic scale in the compact style.

    Args:
        model: its public name.
        training: the training picture, or that of testing.

    Raises:
        Unsupported: no model has that name.
    """
    drawn = _graph(model, training)
    figure = plt.figure(layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    top = 0.65 if training else 0.8 if drawn.frames else 0.5
    boxes, width, height = _place(drawn, _sizes(figure, drawn), top)
    height += 0.6
    figure.set_size_inches(width, height)
    axis.set(xlim=(0, width), ylim=(height, 0))
    _draw_frames(axis, [[boxes[name] for name in frame] for frame in drawn.frames], _loop(model))
    for edge in drawn.edges:
        _draw_edge(axis, edge, boxes)
    for name, node in drawn.nodes.items():
        _draw_node(axis, node, boxes[name], name)
    axis.text(_MARGIN, 0.2, f"{model}, {'training' if training else 'testing'}", va="center", fontsize=_FONT)
    if not training:
        middle = boxes["file"].x
        for text, x in (("encoder", middle / 2), ("decoder", (middle + width) / 2)):
            axis.text(x, 0.2, text, ha="center", va="center", fontsize=_FONT, fontweight="bold")
    present = {node.kind for node in drawn.nodes.values()} - {"file"}
    names = KINDS | {"quantiser": STRAIGHT_THROUGH} if training else KINDS
    _draw_legend(axis, {kind: name for kind, name in names.items() if kind in present}, width, height - 0.2)
    return figure


def _loop(model: str) -> str:
    """What the frame of a context model says: the groups of a picture of Kodak, 768 x 512."""
    order, side = models.MODELS[model].order, models.MODELS[model].downscale
    n = len(order.groups(512 // side, 768 // side))
    return f"loop over {n} wavefront groups (768×512)" if order.many else f"loop over {n} groups: anchors, then rest"


def _extent(figure: Figure, label: str, size: float) -> tuple[float, float]:
    """Width and height of a text, inches."""
    text = figure.text(0, 0, label, fontsize=size)
    extent = text.get_window_extent()
    text.remove()
    return extent.width / figure.dpi, extent.height / figure.dpi


_PADDING = {"tensor": 0.12, "coder": 0.24, "density": 0.18, "exact": 0.2}


def _sizes(figure: Figure, drawn: Graph) -> dict[str, tuple[float, float]]:
    """Width and height of each node, inches."""
    sizes = {}
    for name, node in drawn.nodes.items():
        w, h = _extent(figure, node.label, _font(node))
        h = _ROUND if node.kind == "tensor" else max(_HIGH, h + 0.14)
        sizes[name] = max(_ROUND, w + _PADDING.get(node.kind, 0.18)), h
    return sizes


def _font(node: Node) -> float:
    if "\n" in node.label:
        return _FONT - (2 if node.to_column is None else 0.5)
    return _FONT + 1 if "$" in node.label else _FONT


def _place(drawn: Graph, sizes: dict[str, tuple[float, float]], top: float) -> tuple[dict[str, _Box], float, float]:
    """The boxes of all nodes, and the width and height that they take."""
    nodes = drawn.nodes
    rows = {row: top + _HIGH / 2 + _ROW * i for i, row in enumerate(sorted({node.row for node in nodes.values()}))}
    widths = {}
    for name, node in nodes.items():
        if node.to_column is None:
            widths[node.column] = max(widths.get(node.column, 0), sizes[name][0])
    gap = (_WIDTH - 2 * _MARGIN - sum(widths.values())) / (len(widths) - 1)
    gap = max(gap, _SMALLEST_GAP)
    columns, x = {}, _MARGIN
    for column in sorted(widths):
        columns[column] = x + widths[column] / 2
        x += widths[column] + gap
    boxes = {}
    for name, node in nodes.items():
        w, h = sizes[name]
        left, top = columns[node.column], rows[node.row]
        right = left if node.to_column is None else columns[node.to_column]
        bottom = top if node.to_row is None else rows[node.to_row]
        w = w if right == left else max(w, right - left + 0.4)
        boxes[name] = _Box((left + right) / 2, (top + bottom) / 2, w, h + bottom - top)
    return boxes, x - gap + _MARGIN, max(rows.values()) + _HIGH / 2


def _tint(colour: str, share: float) -> tuple[float, ...]:
    """A colour mixed with white."""
    return tuple(1 - share * (1 - channel) for channel in to_rgb(colour))


def _shape(kind: str, box: _Box) -> list[Patch]:
    """Outline of a node, and what else its kind has."""
    b, corner, line = box, (box.left, box.top), {"edgecolor": _INK, "linewidth": 1.1}
    if kind == "tensor":
        return [Ellipse((b.x, b.y), b.w, b.h, facecolor="white", **line)]
    if kind == "network":
        return [Rectangle(corner, b.w, b.h, facecolor=_tint(BLUE, 0.17), **line)]
    if kind == "exact":
        inner = Rectangle((b.left + 0.04, b.top + 0.04), b.w - 0.08, b.h - 0.08, fill=False, **line)
        return [Rectangle(corner, b.w, b.h, facecolor=_tint(BLUE, 0.17), **line), inner]
    if kind in ("quantiser", "noise"):
        c = 0.1
        points = [(b.left + c, b.top), (b.right - c, b.top), (b.right, b.top + c), (b.right, b.bottom - c)]
        points += [(b.right - c, b.bottom), (b.left + c, b.bottom), (b.left, b.bottom - c), (b.left, b.top + c)]
        share, dash = (0.95, "-") if kind == "quantiser" else (0.3, (0, (2.5, 1.5)))
        return [Polygon(points, facecolor=_tint(ORANGE, share), linestyle=dash, **line)]
    if kind == "coder":
        c = 0.1
        points = [(b.left, b.top), (b.right - c, b.top), (b.right, b.y), (b.right - c, b.bottom), (b.left, b.bottom)]
        return [Polygon(points, facecolor=_INK, **line)]
    if kind == "density":
        style = f"round,pad=0,rounding_size={min(b.w, b.h) / 2}"
        return [FancyBboxPatch(corner, b.w, b.h, boxstyle=style, facecolor=_tint(PURPLE, 0.6), **line)]
    if kind == "cost":
        return [Rectangle(corner, b.w, b.h, facecolor="white", edgecolor=VERMILLION, linewidth=2.2)]
    c = 0.12
    points = [(b.left, b.top), (b.right - c, b.top), (b.right, b.top + c), (b.right, b.bottom), (b.left, b.bottom)]
    fold = Polygon([(b.right - c, b.top), (b.right - c, b.top + c), (b.right, b.top + c)], facecolor="white", **line)
    return [Polygon(points, facecolor=_tint(GREEN, 0.25), **line), fold]


def _draw_node(axis: Axes, node: Node, box: _Box, name: str) -> None:
    first, *more = _shape(node.kind, box)
    first.set_gid(name)
    for patch in (first, *more):
        axis.add_patch(patch).set_zorder(3)
    colour = "white" if node.kind == "coder" else "black"
    x = box.x - 0.03 if node.kind == "coder" else box.x
    text = axis.text(x, box.y, node.label, ha="center", va="center", fontsize=_font(node), color=colour, zorder=4)
    text.set_linespacing(1.1)


def _draw_edge(axis: Axes, edge: Edge, boxes: dict[str, _Box]) -> None:
    arrow = FancyArrowPatch(path=Path(_route(edge, boxes)), mutation_scale=1, color=_INK, linewidth=1.2)
    arrow.set(arrowstyle="-|>,head_length=5,head_width=2.5", zorder=2, gid=f"{edge.source} -> {edge.target}")
    axis.add_patch(arrow)


def _route(edge: Edge, boxes: dict[str, _Box]) -> list[tuple[float, float]]:
    """Corners of an arrow, from border to border."""
    a, b = boxes[edge.source], boxes[edge.target]
    if edge.route == "over":
        lane = min(a.top, b.top) - 0.16
        return [(a.x, a.top), (a.x, lane), (b.x, lane), (b.x, b.top)]
    if edge.route == "vh":
        return [(a.x, a.bottom if b.y > a.y else a.top), (a.x, b.y), (b.left if b.x > a.x else b.right, b.y)]
    if edge.route == "hv":
        return [(a.right if b.x > a.x else a.left, a.y), (b.x, a.y), (b.x, b.top if b.y > a.y else b.bottom)]
    if min(a.right, b.right) <= max(a.left, b.left):
        y = min(a, b, key=lambda box: box.h).y
        return [(a.right, y), (b.left, y)] if b.x > a.x else [(a.left, y), (b.right, y)]
    x = min(a, b, key=lambda box: box.w).x
    return [(x, a.bottom), (x, b.top)] if b.y > a.y else [(x, a.top), (x, b.bottom)]


def _draw_frames(axis: Axes, frames: list[list[_Box]], title: str) -> None:
    """A frame around each list of boxes, all of one height."""
    together = [box for frame in frames for box in frame]
    style = {"facecolor": "0.94", "edgecolor": "0.45", "linewidth": 1.2, "linestyle": (0, (4, 2)), "zorder": 0}
    for frame in frames:
        left, right = min(b.left for b in frame) - 0.07, max(b.right for b in frame) + 0.07
        top, bottom = min(b.top for b in together) - 0.32, max(b.bottom for b in together) + 0.08
        axis.add_patch(Rectangle((left, top), right - left, bottom - top, **style))
        axis.text((left + right) / 2, top + 0.16, title, ha="center", va="center", fontsize=_FONT - 1)


def _draw_legend(axis: Axes, names: dict[str, str], width: float, y: float) -> None:
    size, swatch = _FONT - 2, 0.4
    lengths = [swatch + _extent(axis.figure, name, size)[0] for name in names.values()]
    gap = min(0.35, (width - 2 * _MARGIN - sum(lengths)) / (len(lengths) - 1))
    x = (width - sum(lengths) - gap * (len(lengths) - 1)) / 2
    for (kind, name), length in zip(names.items(), lengths, strict=True):
        for patch in _shape(kind, _Box(x + 0.16, y, 0.32, 0.2)):
            axis.add_patch(patch)
        axis.text(x + swatch, y, name, va="center", fontsize=size)
        x += length + gap
