"""A metric and a classical codec that the package does not have: an entry each, and every command goes by it."""

import io

import numpy as np
from PIL import Image

from codec_lib import metrics, registry, tables
from codec_lib.evaluation import classical, evaluation, measurements, plotting


def worst(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).max())


def gif(pixels: np.ndarray, quality: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(int(quality)).save(buffer, "GIF")
    return buffer.getvalue()


def test_a_metric_of_ones_own_is_measured_by_evaluate(monkeypatch, run, weights, pictures, tmp_path):
    monkeypatch.setitem(metrics.METRICS, "worst", metrics.Metric(worst, "largest error"))
    csv = tmp_path / "rates.csv"
    status, shown, _ = run("evaluate", "--quality", 1, "--weights", weights, "--dataset", pictures, "--csv", csv)
    (row,) = tables.read_csv(csv)
    assert status == 0 and "worst" in shown and list(row)[-1] == "worst" and 0 < row["worst"] < 256
    figure = plotting.rate_distortion({"factorized": [row]}, y="worst")
    assert figure.axes[0].get_ylabel() == "largest error"


def test_a_classical_codec_of_ones_own_has_a_curve(monkeypatch, pictures):
    monkeypatch.setitem(classical.CODECS, "GIF", classical.Classical(gif, (4, 64), "black", "d"))
    few, many = measurements.curve("GIF", str(pictures), progress=False)
    assert few["bpp"] < many["bpp"] and few["psnr"] < many["psnr"] and "gif" in measurements.curves()
    (line,) = plotting.rate_distortion({"GIF": [few, many]}).axes[0].get_lines()
    assert (line.get_color(), line.get_marker()) == ("black", "d")


def test_no_two_curves_of_the_package_look_alike():
    curves = [*registry.models().values(), *classical.CODECS.values()]
    assert len({(curve.colour, curve.marker) for curve in curves}) == len(curves)
    assert set(evaluation.columns()) >= set(metrics.METRICS)
