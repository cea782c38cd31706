"""Diagrams: what is read back from the figure is the data flow, and nothing lies on anything else."""

import io
from functools import cache
from itertools import combinations, pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from codec_lib import registry
from codec_lib.errors import Unsupported
from codec_lib.evaluation import diagrams, plotting

CONTEXT = ("joint", "checkerboard", "space-channel")
SIDE = ("hyperprior", *CONTEXT)
ALL = ("factorized", *SIDE)
every_model = pytest.mark.parametrize("model", ALL)
every_picture = pytest.mark.parametrize(("model", "training"), [(m, t) for m in ALL for t in (True, False)])
ARROW = " -> "


class Drawn:
    """A picture read back: boxes, arrows and texts, pixels."""

    def __init__(self, model: str, training: bool):
        figure = diagrams.data_flow(model, training)
        (axis,) = figure.axes
        figure.canvas.draw()
        self.width, self.height = figure.get_size_inches() * figure.dpi
        named = {patch.get_gid(): patch for patch in axis.patches if patch.get_gid()}
        self.boxes = {name: patch.get_window_extent() for name, patch in named.items() if ARROW not in name}
        self.lines = {tuple(name.split(ARROW)): line_of(patch) for name, patch in named.items() if ARROW in name}
        self.texts = [(text.get_text(), text.get_window_extent()) for text in axis.texts]
        plt.close(figure)

    def says(self, word: str) -> bool:
        return any(word in text for text, _ in self.texts)

    def labels(self) -> dict[str, str]:
        """Node -> the text in its middle."""
        found = {}
        for name, box in self.boxes.items():
            (found[name],) = [text for text, extent in self.texts if box.contains(*middle(extent))]
        return found

    def reached(self, start: str, without: str = "") -> set[str]:
        """The nodes that arrows lead to from a node, not by way of another."""
        found, ahead = set(), [start]
        while ahead:
            here = ahead.pop()
            new = {b for a, b in self.lines if a == here and b != without} - found
            found |= new
            ahead += new
        return found


read = cache(Drawn)


def middle(box: Bbox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def line_of(arrow) -> np.ndarray:
    """Points along an arrow without its head, a pixel apart or less; pixels (n, 2)."""
    path = arrow.get_transform().transform_path(arrow.get_path())
    corners = path.vertices[: np.flatnonzero(path.codes == Path.MOVETO)[1]]
    return np.concatenate([np.linspace(a, b, 2 + int(np.abs(b - a).max())) for a, b in pairwise(corners)])


def overlap(a: Bbox, b: Bbox) -> bool:
    return min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0)


def touches(box: Bbox, point: np.ndarray, by: float = 2.5) -> bool:
    """Whether a point is on the border of a box; the line of an arrow ends 2 pixels within its tip."""
    return box.padded(by).contains(*point) and not box.padded(-by).contains(*point)


@every_picture
def test_no_two_boxes_overlap_and_nothing_is_clipped(model: str, training: bool):
    drawn = read(model, training)
    names = sorted(drawn.boxes)
    assert len(names) > 10
    assert [(a, b) for a in names for b in names if a < b and overlap(drawn.boxes[a], drawn.boxes[b])] == []
    for extent in [*drawn.boxes.values(), *(extent for _, extent in drawn.texts)]:
        assert extent.x0 >= 0 and extent.y0 >= 0 and extent.x1 <= drawn.width and extent.y1 <= drawn.height


@every_picture
def test_texts_are_within_their_boxes_or_away_from_all(model: str, training: bool):
    drawn = read(model, training)
    assert set(drawn.labels()) == set(drawn.boxes)
    for text, extent in drawn.texts:
        for name, box in drawn.boxes.items():
            if box.contains(*middle(extent)):
                inside = box.x0 <= extent.x0 and extent.x1 <= box.x1 and box.y0 <= extent.y0 and extent.y1 <= box.y1
                assert inside, f"{text} is larger than {name}"
            else:
                assert not overlap(box, extent), f"{text} lies on {name}"


@every_picture
def test_arrows_go_from_border_to_border_and_through_nothing(model: str, training: bool):
    drawn = read(model, training)
    for (source, target), line in drawn.lines.items():
        assert touches(drawn.boxes[source], line[0]) and touches(drawn.boxes[target], line[-1]), (source, target)
        for name, box in drawn.boxes.items():
            within = box.padded(-2.5)
            assert not any(within.contains(*point) for point in line), f"{source} -> {target} runs through {name}"
        for text, extent in drawn.texts:
            assert not any(extent.contains(*point) for point in line), f"{source} -> {target} runs through {text}"


@every_picture
def test_arrows_from_different_nodes_share_no_stretch(model: str, training: bool):
    points = {edge: {tuple(point) for point in line.round()} for edge, line in read(model, training).lines.items()}
    for one, other in combinations(points, 2):
        assert one[0] == other[0] or len(points[one] & points[other]) < 3, (one, other)


@every_picture
def test_every_node_is_connected_and_x_leads_to_x_hat(model: str, training: bool):
    drawn = read(model, training)
    assert {name for edge in drawn.lines for name in edge} == set(drawn.boxes)
    together = {"x"}
    for _ in drawn.boxes:
        together |= {name for edge in drawn.lines if together & set(edge) for name in edge}
    assert together == set(drawn.boxes), "one piece"
    assert "x_hat" in drawn.reached("x") and "x" not in drawn.reached("x_hat")


@every_picture
def test_families_show_what_they_have(model: str, training: bool):
    drawn = read(model, training)
    labels = list(drawn.labels().values())
    for word in ("h_a", "h_s", "z"):
        assert any(word in label for label in labels) == (model in SIDE), word
    for word in ("context", "entropy\nparameters", r"\mu"):
        assert any(word in label for label in labels) == (model in CONTEXT), word
    for word in ("R_y", "$D$", "$+u$", r"\tilde{y}"):
        assert any(word in label for label in labels) == training, word
    for word in ("AE", "AD", ".cbk", "tables"):
        assert any(word in label for label in labels) == (not training), word
    assert drawn.says("exact integers") == (model in SIDE and not training)
    assert drawn.says("141 wavefront groups") == (model == "joint" and not training)
    assert drawn.says("2 groups") == (model == "checkerboard" and not training)
    assert drawn.says("10 groups") == drawn.says("two for each slice") == (model == "space-channel" and not training)


@every_model
def test_training_counts_noisy_bits_and_reconstructs_from_rounded_values(model: str):
    drawn = read(model, True)
    rates = {"R_y", "R_z"} if model in SIDE else {"R_y"}
    assert {a for a, b in drawn.lines if b == "loss"} == rates | {"D"}
    assert {a for a, b in drawn.lines if b == "D"} == {"x", "x_hat"}
    assert "R_y" in drawn.reached("noise") and "R_y" not in drawn.reached("y_hat")
    assert ("x_hat" in drawn.reached("noise")) == (model in CONTEXT), "by way of the mean alone"
    assert "x_hat" not in drawn.reached("noise", without="round")
    if model in SIDE:
        assert drawn.reached("noise_z") == {"z_noisy", "density_z", "R_z", "loss"}
        assert "density" in drawn.reached("round_z", without="round")


@every_model
def test_the_decoder_knows_the_file_alone(model: str):
    drawn = read(model, False)
    right = {name for name, box in drawn.boxes.items() if box.x0 > drawn.boxes["file"].x1}
    left = set(drawn.boxes) - right - {"file"}
    assert {"x", "AE", "tables"} <= left and {"AD", "tables_dec", "x_hat"} <= right
    for name in left:
        assert not drawn.reached(name, without="file") & right, f"{name} reaches the decoder"
    for name in right:
        assert not drawn.reached(name) & (left | {"file"}), f"{name} reaches the encoder"
    assert "x_hat" in drawn.reached("file")


@every_model
def test_coding_is_a_loop_where_there_is_a_context(model: str):
    drawn = read(model, False)
    assert ("round" in drawn.reached("round")) == (model in CONTEXT)
    assert ("y_hat" in drawn.reached("y_hat")) == (model in CONTEXT)
    assert "AE" in drawn.reached("tables") and "AD" in drawn.reached("tables_dec")
    if model in SIDE:
        assert "tables" in drawn.reached("z_hat") and "tables_dec" in drawn.reached("z_hat_dec")
        means = "round" in drawn.reached("h_s"), "y_hat" in drawn.reached("h_s_dec", without="AD")
        assert means == (model in CONTEXT, model in CONTEXT)


@pytest.mark.parametrize("training", (True, False))
def test_unknown_model_is_refused(training: bool):
    with pytest.raises(Unsupported, match=r"There is no model 'jpeg'; choose from factorized, .*\.$"):
        diagrams.data_flow("jpeg", training)


def test_a_saved_diagram_is_shown_without_a_warning(tmp_path, recwarn):
    drawn = diagrams.data_flow("joint", True)
    plotting.save(drawn, "a", tmp_path)
    drawn.canvas.print_figure(io.BytesIO(), bbox_inches="tight")  # as a notebook does
    assert not [w for w in recwarn if "layout" in str(w.message)]


def test_a_prior_without_a_diagram_is_told_so(monkeypatch):
    monkeypatch.setitem(registry.PRIORS, "mean-scale", registry.PRIORS["hyperprior"])
    with pytest.raises(Unsupported, match="no diagram of the mean-scale model"):
        diagrams.data_flow("mean-scale", training=True)
