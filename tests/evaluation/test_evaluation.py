"""Measured numbers are those of the files on disk and of the pixels decoded from them."""

import math

import pytest

from codec_lib import images, metrics
from codec_lib.coding.container import unpack
from codec_lib.errors import BadImage
from codec_lib.evaluation import evaluation
from codec_lib.evaluation.evaluation import COLUMNS, evaluate, summary

OF_MODELS = [name for name in COLUMNS if name != "B"]


@pytest.fixture(scope="module")
def rows(large_and_small, tiny_codecs) -> list[dict]:
    return evaluate(tiny_codecs[1], large_and_small, progress=False)


def test_there_is_a_row_per_picture_with_all_columns(rows):
    assert [row["image"] for row in rows] == ["large", "small"]
    for row in rows:
        assert list(row) == ["image", *OF_MODELS, "exact", "container"]
        assert row["lmbda"] == 0.013
        assert row["time(enc)"] > 0
        assert row["time(dec)"] > 0
    assert [row["num_pixels"] for row in rows] == [171 * 189, 96 * 50]


def test_rate_and_distortion_are_those_of_the_file(large_and_small, pair):
    frozen, coder = pair
    for path, row in zip(large_and_small, evaluate(frozen, large_and_small, coder, progress=False), strict=True):
        pixels = images.read_image(path)[0]
        data = frozen.encode(pixels, coder)
        decoded = frozen.decode(data)
        assert row["bits"] == 8 * len(data)
        assert row["bpp"] == 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        assert row["psnr"] == metrics.psnr(pixels, decoded)
        assert row["ms_ssim"] == pytest.approx(metrics.ms_ssim(pixels, decoded), nan_ok=True)
        assert row["bpp_estimated"] == pytest.approx(frozen.estimate(pixels)[1] / row["num_pixels"])
        assert row["exact"] is True
        assert row["container"] + sum(map(len, unpack(data).streams)) == len(data)


def test_an_autoencoder_has_b_in_place_of_lmbda(large_and_small, ae_codec):
    for coder in (None, "adaptive", "huffman"):
        rows = evaluate(ae_codec, large_and_small, coder, progress=False)
        assert list(summary(rows)) == [name for name in COLUMNS if name != "lmbda"]
        for path, row in zip(large_and_small, rows, strict=True):
            pixels = images.read_image(path)[0]
            assert row["B"] == 4
            assert row["bits"] == 8 * len(ae_codec.encode(pixels, coder or "adaptive"))
            assert row["bpp_estimated"] == pytest.approx(ae_codec.estimate(pixels)[1] / row["num_pixels"])
            assert row["exact"] is True


def test_the_bits_are_counted_from_the_disk(large_and_small, tiny_codecs, monkeypatch):
    """Were they the length of what `encode` returned, bytes added while writing would go unseen."""
    write = evaluation.write_bytes
    monkeypatch.setattr(evaluation, "write_bytes", lambda path, data: write(path, data + b"\0" * 10))
    monkeypatch.setattr(evaluation, "read_bytes", lambda path: path.read_bytes()[:-10])
    row = evaluate(tiny_codecs[1], large_and_small[1:], progress=False)[0]
    monkeypatch.undo()
    assert row["bits"] == evaluate(tiny_codecs[1], large_and_small[1:], progress=False)[0]["bits"] + 80


def test_a_latent_that_differs_from_the_prediction_is_told(large_and_small, tiny_codecs, monkeypatch):
    original = type(tiny_codecs[1]).expect

    def off_by_one(self, y, z):
        y_hat, bits = original(self, y, z)
        y_hat = y_hat.clone()
        y_hat[0, 0, 0, 0] += 1
        return y_hat, bits

    monkeypatch.setattr(type(tiny_codecs[1]), "expect", off_by_one)
    assert evaluate(tiny_codecs[1], large_and_small[1:], progress=False)[0]["exact"] is False


def test_more_quality_costs_more_bits(large_and_small, tiny_codecs):
    means = [summary(evaluate(frozen, large_and_small, progress=False)) for frozen in tiny_codecs]
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


def test_a_picture_that_cannot_be_read_stops_with_its_name(tmp_path, large_and_small, tiny_codecs):
    (tmp_path / "cut.png").write_bytes(large_and_small[0].read_bytes()[:1000])
    with pytest.raises(BadImage, match=r"cut\.png"):
        evaluate(tiny_codecs[1], [large_and_small[1], tmp_path / "cut.png"], progress=False)
