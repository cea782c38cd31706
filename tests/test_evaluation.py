"""Measured numbers are those of the files on disk and of the pixels decoded from them."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec_lib import bitstream, datasets, evaluation, images, metrics
from codec_lib.errors import BadImage
from codec_lib.evaluation import COLUMNS, evaluate, jpeg, jpeg_not_below, summary

OF_MODELS = [name for name in COLUMNS if name != "B"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photo) -> list[Path]:
    """One picture large enough for MS-SSIM and one that is not, neither a multiple of 16."""
    folder = tmp_path_factory.mktemp("pictures")
    large = images.read_image(datasets.find("embedded")[0])[0][:171, 100:289]
    Image.fromarray(large).save(folder / "large.png")
    Image.fromarray(photo[:, :50]).save(folder / "small.png")
    return [folder / "large.png", folder / "small.png"]


@pytest.fixture(scope="module")
def rows(pictures, tiny_codecs) -> list[dict]:
    return evaluate(tiny_codecs[1], pictures, progress=False)


def test_there_is_a_row_per_picture_with_all_columns(rows):
    assert [row["image"] for row in rows] == ["large", "small"]
    for row in rows:
        assert list(row) == ["image", *OF_MODELS, "exact", "container"]
        assert row["lmbda"] == 0.013
        assert row["time(enc)"] > 0
        assert row["time(dec)"] > 0
    assert [row["num_pixels"] for row in rows] == [171 * 189, 96 * 50]


def test_rate_and_distortion_are_those_of_the_file(pictures, pair):
    frozen, coder = pair
    for path, row in zip(pictures, evaluate(frozen, pictures, coder, progress=False), strict=True):
        pixels = images.read_image(path)[0]
        data = frozen.encode(pixels, coder)
        decoded = frozen.decode(data)
        assert row["bits"] == 8 * len(data)
        assert row["bpp"] == 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        assert row["psnr"] == metrics.psnr(pixels, decoded)
        assert row["ms_ssim"] == pytest.approx(metrics.ms_ssim(pixels, decoded), nan_ok=True)
        assert row["bpp_estimated"] == pytest.approx(frozen.predict(pixels)[1] / row["num_pixels"])
        assert row["exact"] is True
        assert row["container"] + sum(map(len, bitstream.unpack(data).streams)) == len(data)


def test_an_autoencoder_has_b_in_place_of_lmbda(pictures, ae_codec):
    for coder in (None, "adaptive", "huffman"):
        rows = evaluate(ae_codec, pictures, coder, progress=False)
        assert list(summary(rows)) == [name for name in COLUMNS if name != "lmbda"]
        for path, row in zip(pictures, rows, strict=True):
            pixels = images.read_image(path)[0]
            assert row["B"] == 4
            assert row["bits"] == 8 * len(ae_codec.encode(pixels, coder or "adaptive"))
            assert row["bpp_estimated"] == pytest.approx(ae_codec.predict(pixels)[1] / row["num_pixels"])
            assert row["exact"] is True


def test_the_bits_are_counted_from_the_disk(pictures, tiny_codecs, monkeypatch):
    """Were they the length of what `encode` returned, bytes added while writing would go unseen."""
    write = evaluation.write_bytes
    monkeypatch.setattr(evaluation, "write_bytes", lambda path, data: write(path, data + b"\0" * 10))
    monkeypatch.setattr(evaluation, "read_bytes", lambda path: path.read_bytes()[:-10])
    row = evaluate(tiny_codecs[1], pictures[1:], progress=False)[0]
    monkeypatch.undo()
    assert row["bits"] == evaluate(tiny_codecs[1], pictures[1:], progress=False)[0]["bits"] + 80


def test_pixels_that_differ_from_the_prediction_are_told(pictures, tiny_codecs, monkeypatch):
    original = type(tiny_codecs[1]).predict

    def off_by_one(self, image):
        pixels, bits = original(self, image)
        pixels = pixels.copy()
        pixels[0, 0, 0] ^= 1
        return pixels, bits

    monkeypatch.setattr(type(tiny_codecs[1]), "predict", off_by_one)
    assert evaluate(tiny_codecs[1], pictures[1:], progress=False)[0]["exact"] is False


def test_more_quality_costs_more_bits(pictures, tiny_codecs):
    means = [summary(evaluate(frozen, pictures, progress=False)) for frozen in tiny_codecs]
    bpp, psnr = ([mean[name] for mean in means] for name in ("bpp", "psnr"))
    assert bpp == sorted(bpp)
    assert psnr == sorted(psnr)
    assert len(set(bpp)) == 4


def test_the_summary_is_the_mean_of_each_column(rows):
    means = summary(rows)
    assert list(means) == OF_MODELS
    for name in OF_MODELS:
        assert means[name] == pytest.approx((rows[0][name] + rows[1][name]) / 2, nan_ok=True)
    assert math.isnan(means["ms_ssim"])  # one picture is too small for it
    assert list(summary([{"bpp": 1.0, "image": "a"}])) == ["bpp"]


def test_a_picture_that_cannot_be_read_stops_with_its_name(tmp_path, pictures, tiny_codecs):
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:1000])
    with pytest.raises(BadImage, match=r"cut\.png"):
        evaluate(tiny_codecs[1], [pictures[1], tmp_path / "cut.png"], progress=False)


# --- JPEG -----------------------------------------------------------------------------------


def test_jpeg_is_measured_from_its_bytes(photo):
    data = jpeg(photo, 40)
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    measured = evaluation.measure_jpeg(photo, data)
    assert measured["bits"] == 8 * len(data)
    assert measured["bpp"] == 8 * len(data) / (96 * 112)
    assert measured["psnr"] == metrics.psnr(photo, decoded)
    assert math.isnan(measured["ms_ssim"])
    np.testing.assert_array_equal(evaluation.open_jpeg(data), decoded)


def test_jpeg_not_below_is_the_lowest_of_all_qualities(photo):
    sizes = {quality: len(jpeg(photo, quality)) for quality in range(1, 96)}
    assert list(sizes.values()) == sorted(sizes.values())  # true of this photograph
    targets = {0, 1, max(sizes.values()) + 1, *(sizes[q] + d for q in (1, 2, 3, 30, 47, 94, 95) for d in (-1, 0, 1))}
    for target in targets:
        quality, data = jpeg_not_below(photo, target)
        assert quality == min((q for q, size in sizes.items() if size >= target), default=95)
        assert data == jpeg(photo, quality)


def test_jpeg_not_below_where_sizes_do_not_always_rise():
    flat = images.read_image(datasets.find("embedded")[3])[0][40:88, 170:218]
    sizes = {quality: len(jpeg(flat, quality)) for quality in range(1, 96)}
    assert list(sizes.values()) != sorted(sizes.values())
    for target in range(min(sizes.values()), max(sizes.values()) + 1, 3):
        quality, data = jpeg_not_below(flat, target)
        assert len(data) == sizes[quality] >= target
        assert quality == 1 or sizes[quality - 1] < target


def test_jpeg_beside_spends_no_fewer_bits(rows, pictures):
    beside = evaluation.jpeg_beside(rows, pictures)
    for row, other, path in zip(rows, beside, pictures, strict=True):
        pixels = images.read_image(path)[0]
        assert (other["image"], other["lmbda"]) == (row["image"], row["lmbda"])
        assert other["bits"] >= row["bits"]
        assert other["quality"] == 1 or 8 * len(jpeg(pixels, other["quality"] - 1)) < row["bits"]
        assert other | evaluation.measure_jpeg(pixels, jpeg(pixels, other["quality"])) == pytest.approx(
            other, nan_ok=True
        )
    with pytest.raises(ValueError, match="shorter"):
        evaluation.jpeg_beside(rows, pictures[:1])


def test_the_jpeg_curve_rises(pictures):
    curve = evaluation.jpeg_curve(pictures, [5, 20, 50, 90])
    assert [row["quality"] for row in curve] == [5, 20, 50, 90]
    for name in ("bpp", "psnr"):
        values = [row[name] for row in curve]
        assert values == sorted(values)
        assert len(set(values)) == 4
    single = [evaluation.measure_jpeg(p, jpeg(p, 20)) for p in (images.read_image(path)[0] for path in pictures)]
    assert curve[1]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in single]))
    assert curve[1]["bpp"] == pytest.approx(np.mean([row["bpp"] for row in single]))
