"""Any graph is drawn where its columns and rows say; `test_diagrams` reads back those of the models."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from codec_lib.evaluation import drawing
from codec_lib.evaluation.drawing import Edge, Graph, Node

FIRST = Graph({"a": Node("$a$", "tensor", 0, 0), "b": Node("b", "network", 4, 0)}, (Edge("a", "b"),))
MORE = Graph(
    {"f": Node("file", "file", 6, 0, to_row=3), "b": Node("code", "coder", 4, 0), "c": Node("c", "cost", 4, 3)},
    (Edge("b", "f"), Edge("b", "c")),
    (("b", "c"),),
)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def boxes(figure) -> dict:
    figure.canvas.draw()
    return {
        p.get_gid(): p.get_window_extent() for p in figure.axes[0].patches if p.get_gid() and "->" not in p.get_gid()
    }


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_part_replaces_nodes_and_adds_its_own():
    graph = FIRST + MORE
    assert list(graph.nodes) == ["a", "b", "f", "c"] and graph.nodes["b"].label == "code"
    assert graph.edges == FIRST.edges + MORE.edges and graph.frames == MORE.frames


def test_nodes_lie_in_their_columns_and_rows_and_empty_ones_take_no_room():
    figure = drawing.draw(FIRST + MORE, "title")
    found = boxes(figure)
    assert set(found) == {"a", "b", "f", "c"}
    assert found["a"].x1 < found["b"].x0 < found["b"].x1 < found["f"].x0
    assert found["b"].y0 > found["c"].y1 and found["f"].y1 >= found["b"].y1 and found["f"].y0 <= found["c"].y0
    assert (found["b"].x0 + found["b"].x1) == pytest.approx(found["c"].x0 + found["c"].x1)
    gaps = found["b"].x0 - found["a"].x1, found["f"].x0 - found["b"].x1
    assert gaps[0] == pytest.approx(gaps[1])
    arrows = {p.get_gid() for p in figure.axes[0].patches if p.get_gid()} - set(found)
    assert arrows == {"a -> b", "b -> f", "b -> c"}


def test_the_legend_names_the_kinds_that_occur():
    said = words(drawing.draw(FIRST + MORE, "title", drawing.KINDS | {"tensor": "array"}))
    assert said[-3:] == ["array", "entropy coder", "rate, distortion, loss"]
    assert "title" in said and "network" not in said


def test_frames_and_halves_have_their_words():
    figure = drawing.draw(FIRST + MORE, "title", halves=("f", "before", "after"), loop="again")
    said = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    middle = boxes(figure)["f"].x0 / figure.dpi
    assert said["before"] < middle < said["after"] and "again" in said
    assert "again" not in words(drawing.draw(FIRST, "title", loop="again")), "a graph without frames"


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no kind 'cloud'"):
        drawing.draw(Graph({"a": Node("a", "cloud", 0, 0), "b": Node("b", "tensor", 1, 0)}, ()), "title")
