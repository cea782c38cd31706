"""Figures: what is drawn is what the table says."""

from itertools import pairwise
from unittest.mock import Mock

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from codec_lib import registry, tables
from codec_lib.evaluation import plotting
from codec_lib.evaluation.plotting import style

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def lines_of(axis) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.get_lines()}


def labels_of(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def names_beside(axis) -> list[str]:
    """The names of lines, from top to bottom; none may lie on another."""
    texts = sorted((t for t in axis.texts if t.get_text()), key=lambda t: -t.get_position()[1])
    axis.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in texts]
    assert all(above.y0 > below.y0 + 0.8 * below.height for above, below in pairwise(boxes))
    return [t.get_text() for t in texts]


def test_density_fit_draws_histogram_truth_snapshots_and_fits():
    x = np.linspace(-3, 3, 31)
    truth = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    snapshots = [(step, truth * (1 + step)) for step in (0, 10, 20)]
    figure = plotting.density_fit(rng.normal(size=500), x, truth, {"a": truth + 0.1, "b": truth - 0.2}, snapshots)
    above, below = figure.axes
    lines = above.get_lines()
    assert len(lines) == 3 + 1 + 2 and above.get_xlabel() == "" and below.get_xlabel() == "x"
    for line, density in zip(lines, [s for _, s in snapshots] + [truth, truth + 0.1, truth - 0.2], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_array_equal(line.get_ydata(), density)
    shades = [float(line.get_color()) for line in lines[:3]]
    assert shades == sorted(shades, reverse=True) and shades[0] > shades[-1], "later is darker"
    for line, offset in zip(below.get_lines(), (0.1, -0.2), strict=True):
        np.testing.assert_allclose(line.get_ydata(), offset)
    area = sum(p.get_width() * p.get_height() for p in above.patches)
    assert area == pytest.approx(1)
    assert labels_of(figure.legends[0]) == [
        "samples", "during the fit, step 0", "during the fit, step 20", "true density", "a", "b"
    ]  # fmt: skip


def test_nested_intervals_divide_each_chosen_part_anew():
    (axis,) = plotting.nested_intervals([0.5, 0.25, 0.25], [1, 0], "abc").axes
    assert [bar.get_width() for bar in axis.patches] == [0.5, 0.25, 0.25] * 2
    assert [bar.get_facecolor() == to_rgba(style.SKY) for bar in axis.patches] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert [text.get_text() for text in axis.texts] == ["a", "b", "c", "0 … 1", "a", "b", "c", "0.5 … 0.75"]


def test_loss_curves_have_a_panel_for_each_column_and_leave_out_gaps():
    rows = [{"step": s, "loss": 2.0 - s, "bpp": 1.0 * s, "val_loss": 3.0 - s if s else None} for s in range(3)]
    figure = plotting.loss_curves({"run": rows})
    loss, bpp = figure.axes
    assert names_beside(bpp) == ["run"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["loss", "rate [bit/pixel]"]
    assert lines_of(loss)["run"] == ([1, 2], [2, 1])
    assert [list(line.get_ydata()) for line in loss.get_lines()] == [[2, 1], [2, 1, 0]]
    assert lines_of(bpp)["run"] == ([0, 1, 2], [0, 1, 2])
    assert loss.get_xlabel() == "step"


def test_a_name_stands_at_the_height_of_its_lines_end():
    rows = {"falls": [9, 5, 1], "stays": [9, 9, 9]}
    figure = plotting.loss_curves({n: [{"step": i, "loss": v} for i, v in enumerate(y)] for n, y in rows.items()})
    (axis,) = figure.axes
    low, high = axis.get_ylim()
    for text, end in zip((t for t in axis.texts if t.get_text()), (1, 9), strict=True):
        assert text.get_position()[1] == pytest.approx((end - low) / (high - low))


def test_losses_that_do_not_compare_have_a_panel_and_a_scale_each():
    rows = [{"step": s, "val_loss": 2.0 - s} for s in range(2)]
    figure = plotting.loss_panels({"quality 1": {"a": rows, "b": rows}, "quality 2": {"a": rows[:1]}})
    first, second = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["quality 1", "quality 2"]
    assert lines_of(first)["b"] == ([0, 1], [2, 1]) and lines_of(second)["a"] == ([0], [2])
    assert first.get_ylim() != second.get_ylim()


def test_a_learning_curve_tells_what_a_doubling_is_worth():
    rows = [{"hours": 2.0**k, "loss": 2.0 - 0.1 * k} for k in range(-1, 3)]
    figure, doubling = plotting.learning_curve(rows, "hours", "loss")
    assert doubling == pytest.approx(-0.1 / 1.8)
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale()) == ("hours", "loss", "log")
    assert np.isnan(plotting.learning_curve(rows[:1], "hours", "loss")[1])


def test_rate_distortion_draws_each_curve_sorted_by_rate():
    rows = [{"bpp": 0.5, "psnr": 32.0}, {"bpp": 0.1, "psnr": 27.5}, {"bpp": 0.2, "psnr": None}]
    curves = {"factorized": rows, "JPEG": rows[:2], "Balle et al. 2018 factorized (paper)": rows[:1]}
    figure = plotting.rate_distortion(curves, "Kodak")
    (axis,) = figure.axes
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("Kodak", "rate [bit/pixel]", "PSNR [dB]")
    drawn = lines_of(axis)
    assert list(drawn) == list(curves) and set(names_beside(axis)) == set(curves) and not figure.legends
    assert drawn["factorized"] == ([0.1, 0.5], [27.5, 32.0])
    own, classical, published = axis.get_lines()
    assert own.get_linestyle() == "-" and own.get_marker() == "o" and own.get_color() == style.BLUE
    assert classical.get_linestyle() == "--" and classical.get_color() in style.GREYS
    assert published.get_linestyle() == ":" and published.get_markerfacecolor() == "white"


def test_rates_above_the_limit_are_left_out():
    rows = [{"bpp": b, "psnr": 30 + b} for b in (2.0, 0.5, 1.0)]
    figure = plotting.rate_distortion({"joint": rows}, up_to=1.0)
    assert lines_of(figure.axes[0])["joint"] == ([0.5, 1.0], [30.5, 31.0])


def test_another_quality_measure_can_be_drawn():
    figure = plotting.rate_distortion({"joint": [{"bpp": 0.1, "ms_ssim": 0.9}]}, y="ms_ssim")
    assert figure.axes[0].get_ylabel() == "MS-SSIM"
    assert lines_of(figure.axes[0])["joint"] == ([0.1], [0.9])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hyperprior", "own"), ("factorized, compact", "own"), ("ae-resnet18, B = 1 and 4", "own"),
        ("JPEG", "classical"), ("HEIC", "classical"), ("JPEG 2000", "classical"),
        ("WebP", "classical"), ("BPG 4:4:4", "classical"), ("HM (HEVC)", "classical"), ("VTM (VVC)", "classical"),
        ("CompressAI mbt2018 (MSE)", "published"), ("Minnen et al. 2018 joint (paper)", "published"),
    ],
)  # fmt: skip
def test_a_name_tells_the_kind_of_curve(name, kind):
    assert plotting.kind_of(name) == kind


def test_no_two_curves_share_colour_and_marker():
    own = ["factorized", "hyperprior", "joint", "checkerboard", *registry.AUTOENCODERS, "joint, tiny"]
    classical = ["JPEG", "JPEG 2000", "JPEG XL", "WebP", "AVIF", "AVIF 4:4:4", "VTM (VVC)", "HEIC"]
    published = [f"{name}, {source}" for name in own[:3] for source in ("CompressAI", "report (published)")]
    rows = [{"bpp": 0.1, "psnr": 30.0}]
    (axis,) = plotting.rate_distortion({name: rows for name in own + classical + published}).axes
    lines = axis.get_lines()
    assert len({(line.get_marker(), line.get_color()) for line in lines}) == len(lines)
    grey = {(line.get_marker(), line.get_linestyle()) for line in lines[:4] + lines[len(own) : len(own + classical)]}
    assert len(grey) == 4 + len(classical), "told apart in grey by their markers alone"
    assert len(names_beside(axis)) == len(lines)


def pixels_of(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def holds(canvas: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a picture is in another pixel by pixel."""
    h, w = picture.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(canvas, (h, w, 3))[:, :, 0]
    return any((window == picture).all() for window in windows[(windows[:, :, 0, 0] == picture[0, 0]).all(-1)])


@pytest.mark.parametrize("file", [False, True])
def test_photographs_keep_their_pixels(tmp_path, file):
    pictures = [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(2)]
    figure = plotting.image_row([pictures[0], Image.fromarray(pictures[1])], ["x", "x_hat"])
    assert [axis.get_title() for axis in figure.axes] == ["x", "x_hat"]
    if file:
        plotting.save(figure, "photographs", tmp_path)
        canvas = np.asarray(Image.open(tmp_path / "photographs.png").convert("RGB"))
    else:
        canvas = pixels_of(figure)
    assert all(holds(canvas, picture) for picture in pictures)


def test_an_enlarged_region_has_whole_squares_for_pixels():
    pictures = [rng.integers(0, 256, (100, 150, 3), dtype=np.uint8) for _ in range(4)]
    figure = plotting.image_row(pictures, list("abcd"), box=(10, 20, 80, 60))
    whole, *crops = figure.axes
    assert [axis.get_title() for axis in crops] == list("abcd")
    (frame,) = whole.patches
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (9.5, 19.5, 80, 60)
    canvas = pixels_of(figure)
    for picture in pictures:
        region = picture[20:80, 10:90].repeat(4, 0).repeat(4, 1)
        assert holds(canvas, region[2:-2, 2:-2])


def test_grey_pictures_reach_from_black_to_white():
    (axis,) = plotting.image_row([np.zeros((8, 8), np.uint8)], ["black"]).axes
    assert axis.images[0].get_clim() == (0, 255)


def test_channel_grid_shows_every_array_on_one_scale():
    arrays = [rng.normal(size=(4, 6)) for _ in range(5)]
    figure = plotting.channel_grid(arrays, [f"channel {i}" for i in range(5)], columns=3, label="bits")
    images = [image for axis in figure.axes for image in axis.images]
    for image, array in zip(images, arrays, strict=True):
        np.testing.assert_array_equal(image.get_array(), array)
        assert image.get_clim() == (-np.abs(arrays).max(), np.abs(arrays).max()), "zero in the middle"
        assert image.get_cmap().name == "signed"
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "bits" and any(isinstance(c, QuadMesh) for c in bar.collections)
    assert [axis.get_title() for axis in figure.axes[:6]] == [f"channel {i}" for i in range(5)] + [""]


def test_titles_must_match():
    with pytest.raises(ValueError):
        plotting.channel_grid([np.zeros((2, 2))] * 2, ["one"])
    with pytest.raises(ValueError):
        plotting.image_row([np.zeros((2, 2), np.uint8)] * 2, ["one"])


def test_saved_figures_are_repeatable(tmp_path):
    figures = tmp_path / "new" / "figures"
    for name in ("a", "b"):
        figure = plotting.rate_distortion({"joint": [{"bpp": 0.1, "psnr": 30.0}, {"bpp": 0.2, "psnr": 32.0}]})
        assert isinstance(figure, Figure)
        assert plotting.save(figure, name, figures) is None, "a path would end up in the notebook's output"
        assert figure.get_gid() == name, "SVG keeps it, pages show it"
    assert (figures / "a.png").read_bytes() == (figures / "b.png").read_bytes()
    with Image.open(figures / "a.png") as picture:
        assert picture.size == (1275, 690)  # 8.5 x 4.6 inches at 150 dpi
        assert "Software" not in picture.info


def test_saved_tables_come_back(tmp_path):
    rows = [{"name": "a", "bpp": 0.5}]
    plotting.save_table(rows, "t", tmp_path)
    assert tables.read_csv(tmp_path / "t.csv") == rows


def test_the_style_stays_inside_the_module():
    before = dict(plt.rcParams)
    plotting.loss_curves({"run": [{"step": 0, "loss": 1.0}]})
    assert dict(plt.rcParams) == before


def test_histograms_draw_the_table_over_the_symbols():
    panel = {
        "name": "channel 1",
        "value": [-3, -2, -1, 0, 1, 2, 3],
        "seen": [0, 0.1, 0.2, 0.4, 0.3, 0, 0],
        "table": [1e-5, 1e-5, 0.25, 0.5, 0.25, 1e-5, 1e-5],
    }
    figure = plotting.histograms([panel, panel])
    assert len(figure.axes) == 2
    for axis in figure.axes:
        assert axis.get_title() == "channel 1" and axis.get_yscale() == "log"
        assert [bar.get_height() for bar in axis.patches] == panel["seen"]
        assert axis.get_xlim() == pytest.approx((-2.8, 1.8)), "without the padding of the table"
        assert lines_of(axis)["table"] == (panel["value"], panel["table"])


def test_a_relative_folder_is_the_checkouts(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "ROOT", tmp_path)
    monkeypatch.chdir("/")
    plotting.save_table([{"a": 1}], "t", "build/figures")
    plotting.save(plotting.rate_distortion({"joint": [{"bpp": 0.1, "psnr": 30.0}]}), "f", "build/figures")
    assert sorted(p.name for p in (tmp_path / "build" / "figures").iterdir()) == ["f.png", "t.csv"]


def test_histograms_name_what_is_shown():
    panel = {"name": "a", "value": [-0.25, 0.0, 0.25], "seen": [0.2, 0.5, 0.3], "table": [0.25, 0.5, 0.25]}
    (axis,) = plotting.histograms([panel], x="y / σ", model="N(0, 1)", bars="latent").axes
    assert axis.get_xlabel() == "y / σ" and set(labels_of(axis.get_legend())) == {"N(0, 1)", "latent"}
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([0.2] * 3)


def test_panels_show_the_photograph_and_each_array_on_a_scale_of_its_own():
    picture = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    arrays = {"y": rng.normal(size=(2, 3)) - 1, "scale": 1 + rng.random((2, 3))}
    figure = plotting.panels(picture, arrays)
    photograph, y, scale, bar_y, bar_scale = figure.axes
    np.testing.assert_array_equal(photograph.images[0].get_array(), picture)
    assert [axis.get_title() for axis in (photograph, y, scale)] == ["photograph", *arrays]
    for axis, bar, array in zip((y, scale), (bar_y, bar_scale), arrays.values(), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), array)
        assert any(isinstance(c, QuadMesh) for c in bar.collections)
    low, high = y.images[0].get_clim()
    assert low == -high == pytest.approx(np.percentile(arrays["y"], 1)), "zero in the middle"
    assert scale.images[0].get_clim() == pytest.approx(np.percentile(arrays["scale"], (1, 99)))


def test_panels_can_share_the_scale_of_the_first():
    arrays = {name: factor * rng.normal(size=(4, 4)) for name, factor in [("y", 8), ("mean", 1), ("residual", 1)]}
    figure = plotting.panels(np.zeros((64, 64, 3), np.uint8), arrays, together=2)
    y, mean, residual = (axis.images[0].get_clim() for axis in figure.axes[1:4])
    assert y == mean != residual


def test_block_map_lays_blocks_over_the_picture_and_cuts_them_at_its_border():
    picture = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    values = rng.random((3, 4))
    figure = plotting.block_map(picture, values, 16, "bits")
    left, right, bar = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), picture)
    grey, blocks = right.images
    np.testing.assert_array_equal(grey.get_array(), picture.mean(2))
    np.testing.assert_array_equal(blocks.get_array(), values)
    assert list(blocks.get_extent()) == [-0.5, 63.5, 47.5, -0.5], "the blocks keep their size"
    assert (right.get_xlim(), right.get_ylim()) == ((-0.5, 59.5), (39.5, -0.5))
    assert blocks.get_clim() == pytest.approx((0, np.percentile(values, 99)))
    assert right.get_title() == "bits" and any(isinstance(c, QuadMesh) for c in bar.collections)


def test_number_grids_write_every_number_and_frame_the_marked_cells():
    grids = {"a": np.arange(6).reshape(2, 3), "b": np.zeros((4, 4), int)}
    marked = {"a": grids["a"] == 4, "b": grids["b"] > 0}
    figure = plotting.number_grids(grids, marked)
    a, b = figure.axes
    for axis, (title, grid) in zip((a, b), grids.items(), strict=True):
        assert axis.get_title() == title
        np.testing.assert_array_equal(axis.images[0].get_array(), grid)
        written = {text.get_position()[::-1]: int(text.get_text()) for text in axis.texts}
        assert written == dict(np.ndenumerate(grid))
    (frame,) = a.patches
    middle = frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2
    assert middle == pytest.approx((1, 1)) and not b.patches


def test_number_grids_with_a_label_share_a_scale_and_a_bar():
    grids = {"a": np.array([[1, 2]]), "b": np.array([[5, 7]])}
    figure = plotting.number_grids(grids, {t: g < 0 for t, g in grids.items()}, numbers=False, label="share [%]")
    a, b, bar = figure.axes
    assert a.images[0].get_clim() == b.images[0].get_clim() == (0, 7)
    assert bar.get_ylabel() == "share [%]" and not a.texts


def test_stacked_bars_end_at_the_sum_of_their_columns():
    rows = [{"model": "a", "y": 1.0, "z": 0.25}, {"model": "b", "y": 0.5, "z": None}]
    figure = plotting.stacked_bars(rows, "model", ["y", "z"], "rate")
    (axis,) = figure.axes
    drawn = [[(bar.get_x(), bar.get_width()) for bar in container] for container in axis.containers]
    assert drawn == [[(0, 1.0), (0, 0.5)], [(1.0, 0.25), (0.5, 0.0)]]
    assert [text.get_text().strip() for text in axis.texts] == ["1.25", "0.50"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"] and axis.yaxis_inverted()
    assert axis.get_xlabel() == "rate" and labels_of(figure.legends[0]) == ["y", "z"]


def test_stacked_bars_of_one_column_need_no_legend():
    figure = plotting.stacked_bars([{"way": "serial", "seconds": 2.0}], "way", ["seconds"], "time [s]")
    assert not figure.legends and figure.axes[0].texts[0].get_text().strip() == "2.00"


def test_lines_carry_their_names_and_bands_theirs():
    x = np.array([1.0, 4.0, 16.0])
    curves = {"joint, raster": (x, x), "joint, wavefront": (x, x / 2), "hyperprior": (x, x / 4)}
    (axis,) = plotting.lines(curves, "across", "up", "xy", {"first": (1, 4), "second": (4, 16)}).axes
    assert lines_of(axis)["joint, wavefront"] == ([1, 4, 16], [0.5, 2, 8])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("across", "up")
    assert axis.get_xscale() == axis.get_yscale() == "log"
    assert {"first", *curves} <= {text.get_text() for text in axis.texts}
    assert next(t for t in axis.texts if t.get_text() == "first").get_position()[0] == 2
    assert [line.get_linestyle() for line in axis.get_lines()] == ["-", "--", "-"], "one colour, two dashes"
    assert axis.get_xlim() == (1, 16)
    many = {"hyperprior": (np.arange(41.0), np.arange(41.0))}
    (axis,) = plotting.lines(many, "across", "up").axes
    assert axis.get_xscale() == "linear" and axis.get_lines()[0].get_marker() in (None, "None")


def test_bars_against_others_have_a_tick_and_the_difference():
    rows = [{"part": "a", "ours": 80.0, "theirs": 100.0}, {"part": "b", "ours": 60.0, "theirs": 50.0}]
    (axis,) = plotting.bars_against(rows, "part", "ours", "theirs", "bits").axes
    assert [bar.get_width() for bar in axis.patches] == [80, 60]
    assert list(lines_of(axis)["theirs"][0]) == [100, 50]
    assert [text.get_text().strip() for text in axis.texts] == ["-20 %", "+20 %"]
    assert [text.get_position()[0] for text in axis.texts] == [100, 60]
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "from top to bottom"


def test_live_losses_are_drawn_in_one_place():
    rows = [{"step": 1, "val_loss": 3.0, "loss": 9.0}, {"step": 2, "val_loss": 2.0, "loss": 9.0}]
    handle = Mock()
    draw = plotting.live_losses("mine", handle)
    draw(rows[:1])
    draw(rows)
    assert handle.display.call_count == handle.update.call_count == 1
    (figure,) = handle.update.call_args.args
    assert lines_of(figure.axes[0])["mine"] == ([1, 2], [3.0, 2.0]) and not plt.get_fignums()
