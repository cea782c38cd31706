"""Graphs of nodes and arrows, drawn: where they lie is data, and one routine draws any of them.

Shape and shade tell the kinds of nodes apart, so that a figure can be read in grey. Schemdraw, the library for this,
places one element after the other, knows no rows and columns, and leaves no names in its output by which a test could
read the data flow back.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Patch, Polygon, Rectangle
from matplotlib.path import Path

from codec_lib.evaluation.plotting.style import BLUE, FIXED, GREEN, ORANGE, PURPLE, STYLE, VERMILLION


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
"""Kind of a node -> its name in the legend; a file is no entry of it, its label says what it is."""

# Inches; the axes are as large as the figure, and count in inches too.
_WIDTH, _HIGH, _ROUND, _ROW, _MARGIN, _SMALLEST_GAP = 9.0, 0.4, 0.34, 0.68, 0.1, 0.17
_FONT = 11
_INK = "0.15"


class _Box(SimpleNamespace):
    """A rectangle by its middle and its size, with its borders; y points down."""

    def __init__(self, x: float, y: float, w: float, h: float):
        super().__init__(x=x, y=y, w=w, h=h, left=x - w / 2, right=x + w / 2, top=y - h / 2, bottom=y + h / 2)


@plt.rc_context(STYLE | {"mathtext.fontset": "dejavusans"})
def draw(
    graph: Graph, title: str, kinds: dict[str, str] = KINDS, halves: tuple[str, str, str] | None = None, loop: str = ""
) -> Figure:
    """A graph, with its columns and rows evenly spread over the figure, and a legend of the kinds in it.

    A node's outline has its name as gid, an arrow's has SOURCE -> TARGET.

    Args:
        kinds: kind -> name in the legend, in this order.
        halves: a node that divides the picture, and the words above what lies left and right of it.
        loop: the words in each frame.

    Raises:
        ValueError: a node has no kind of KINDS.
    """
    figure = plt.figure(layout=FIXED)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    top = 0.65 if any(edge.route == "over" for edge in graph.edges) else 0.8 if graph.frames else 0.5
    boxes, width, height = _place(graph, _sizes(figure, graph), top)
    height += 0.6
    figure.set_size_inches(width, height)
    axis.set(xlim=(0, width), ylim=(height, 0))
    _draw_frames(axis, [[boxes[name] for name in frame] for frame in graph.frames], loop)
    for edge in graph.edges:
        _draw_edge(axis, edge, boxes)
    for name, node in graph.nodes.items():
        _draw_node(axis, node, boxes[name], name)
    axis.text(_MARGIN, 0.2, title, va="center", fontsize=_FONT)
    if halves:
        middle = boxes[halves[0]].x
        for text, x in zip(halves[1:], (middle / 2, (middle + width) / 2), strict=True):
            axis.text(x, 0.2, text, ha="center", va="center", fontsize=_FONT, fontweight="bold")
    present = {node.kind for node in graph.nodes.values()} - {"file"}
    _draw_legend(axis, {kind: name for kind, name in kinds.items() if kind in present}, width, height - 0.2)
    return figure


def _extent(figure: Figure, label: str, size: float) -> tuple[float, float]:
    """Width and height of a text, inches."""
    text = figure.text(0, 0, label, fontsize=size)
    extent = text.get_window_extent()
    text.remove()
    return extent.width / figure.dpi, extent.height / figure.dpi


_PADDING = {"tensor": 0.12, "coder": 0.24, "density": 0.18, "exact": 0.2}


def _sizes(figure: Figure, graph: Graph) -> dict[str, tuple[float, float]]:
    """Width and height of each node, inches."""
    sizes = {}
    for name, node in graph.nodes.items():
        w, h = _extent(figure, node.label, _font(node))
        h = _ROUND if node.kind == "tensor" else max(_HIGH, h + 0.14)
        sizes[name] = max(_ROUND, w + _PADDING.get(node.kind, 0.18)), h
    return sizes


def _font(node: Node) -> float:
    if "\n" in node.label:
        return _FONT - (2 if node.to_column is None else 0.5)
    return _FONT + 1 if "$" in node.label else _FONT


def _place(graph: Graph, sizes: dict[str, tuple[float, float]], top: float) -> tuple[dict[str, _Box], float, float]:
    """The boxes of all nodes, and the width and height that they take."""
    nodes = graph.nodes
    rows = {row: top + _HIGH / 2 + _ROW * i for i, row in enumerate(sorted({node.row for node in nodes.values()}))}
    widths = {}
    for name, node in nodes.items():
        if node.to_column is None:
            widths[node.column] = max(widths.get(node.column, 0), sizes[name][0])
    gap = max(_SMALLEST_GAP, (_WIDTH - 2 * _MARGIN - sum(widths.values())) / max(1, len(widths) - 1))
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
    if kind != "file":
        raise ValueError(f"there is no kind '{kind}' of node")
    c = 0.12
    points = [(b.left, b.top), (b.right - c, b.top), (b.right, b.top + c), (b.right, b.bottom), (b.left, b.bottom)]
    fold = Polygon([(b.right - c, b.top), (b.right - c, b.top + c), (b.right, b.top + c)], facecolor="white", **line)
    return [Polygon(points, facecolor=_tint(GREEN, 0.25), **line), fold]


def _draw_node(axis: Axes, node: Node, box: _Box, name: str) -> None:
    patches = _shape(node.kind, box)
    patches[0].set_gid(name)
    for patch in patches:
        axis.add_patch(patch).set_zorder(3)
    x, colour = (box.x - 0.03, "white") if node.kind == "coder" else (box.x, "black")
    style = {"ha": "center", "va": "center", "fontsize": _font(node), "linespacing": 1.1, "color": colour}
    axis.text(x, box.y, node.label, zorder=4, **style)


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
    gap = min(0.35, (width - 2 * _MARGIN - sum(lengths)) / max(1, len(lengths) - 1))
    x = (width - sum(lengths) - gap * (len(lengths) - 1)) / 2
    for (kind, name), length in zip(names.items(), lengths, strict=True):
        for patch in _shape(kind, _Box(x + 0.16, y, 0.32, 0.2)):
            axis.add_patch(patch)
        axis.text(x + swatch, y, name, va="center", fontsize=size)
        x += length + gap
