"""The classical codecs: what comes back, what each quality costs, and that the settings are those claimed."""

import functools
import io
import math
import struct
import sys

import numpy as np
import pytest
from conftest import is_a_sentence
from PIL import Image

from codec_lib import datasets, images, metrics
from codec_lib.errors import Unsupported
from codec_lib.evaluation import classical
from codec_lib.evaluation.classical import CODECS, jpeg_not_below

SIGNATURES = {
    "JPEG": (0, b"\xff\xd8\xff"),
    "JPEG 2000": (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
    "WebP": (8, b"WEBP"),
    "AVIF": (4, b"ftypavif"),
    "AVIF 4:4:4": (4, b"ftypavif"),
    "JPEG XL": (0, b"\xff\x0a"),
}
MIDDLE = {name: codec.qualities[6] for name, codec in CODECS.items()}


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    return classical.encode("JPEG", pixels, quality)


@functools.cache
def rates_and_qualities(name: str) -> list[tuple[float, float]]:
    """Bits a pixel and PSNR of a face, at every second quality of the table."""
    pixels = images.read_image(datasets.find("embedded")[0])[0][:256, :256]
    files = [classical.encode(name, pixels, quality) for quality in CODECS[name].qualities[::2]]
    return [(metrics.bpp(len(data), pixels), metrics.psnr(pixels, classical.decode(data))) for data in files]


# --- every codec ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (17, 33), (33, 17), (96, 112)])
def test_shape_and_type_come_back(name, height, width, photo):
    pixels = photo[:height, :width]
    for quality in (CODECS[name].qualities[0], CODECS[name].qualities[-1]):
        decoded = classical.decode(classical.encode(name, pixels, quality))
        assert (decoded.shape, decoded.dtype) == (pixels.shape, np.uint8)
    assert metrics.psnr(pixels, decoded) > 18


@pytest.mark.parametrize("name", CODECS)
def test_grey_and_flat_pictures_stay_so(name, photo):
    grey = np.repeat(photo[..., 1:2], 3, axis=2)
    decoded = classical.decode(classical.encode(name, grey, MIDDLE[name]))
    assert decoded.shape == grey.shape
    assert metrics.psnr(grey, decoded) > 30
    assert np.ptp(decoded.astype(int), axis=2).max() <= 12
    flat = np.full_like(photo, (200, 90, 30))
    assert metrics.psnr(flat, classical.decode(classical.encode(name, flat, MIDDLE[name]))) > 32


@pytest.mark.parametrize("name", CODECS)
def test_the_channels_keep_their_order(name):
    for channel in range(3):
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[..., channel] = 220
        decoded = classical.decode(classical.encode(name, pixels, MIDDLE[name]))
        assert decoded.mean(axis=(0, 1)).argmax() == channel


@pytest.mark.parametrize("name", CODECS)
def test_more_quality_costs_more_bytes_and_is_nearer_the_picture(name):
    assert len(rates_and_qualities(name)) == 4
    for values in map(list, zip(*rates_and_qualities(name), strict=True)):
        assert values == sorted(set(values))


@pytest.mark.parametrize("name", CODECS)
def test_the_same_picture_gives_the_same_file(name, photo):
    data = classical.encode(name, photo, MIDDLE[name])
    assert classical.encode(name, photo.copy(), MIDDLE[name]) == data
    start, signature = SIGNATURES[name]
    assert data[start : start + len(signature)] == signature


@pytest.mark.parametrize("name", CODECS)
def test_a_file_is_measured_from_its_bytes(name, photo):
    data = classical.encode(name, photo, MIDDLE[name])
    with Image.open(io.BytesIO(data)) as image:
        decoded = np.asarray(image.convert("RGB"))
    measured = classical.measure(photo, data)
    assert list(measured) == ["bits", "bpp", "psnr", "ms_ssim"]
    assert measured["bits"] == 8 * len(data)
    assert measured["bpp"] == 8 * len(data) / (96 * 112)
    assert measured["psnr"] == metrics.psnr(photo, decoded)
    assert math.isnan(measured["ms_ssim"])
    np.testing.assert_array_equal(classical.decode(data), decoded)


@pytest.mark.parametrize("name", CODECS)
def test_a_curve_is_the_means_over_the_pictures(name, large_and_small, capsys):
    qualities = CODECS[name].qualities[::4]
    curve = classical.curve(name, large_and_small, qualities, progress=False)
    assert capsys.readouterr().err == ""
    assert [row["quality"] for row in curve] == list(qualities)
    for key in ("bpp", "psnr"):
        values = [row[key] for row in curve]
        assert values == sorted(set(values))
    arrays = [images.read_image(path)[0] for path in large_and_small]
    single = [classical.measure(pixels, classical.encode(name, pixels, qualities[1])) for pixels in arrays]
    for key in ("bits", "bpp", "psnr"):
        assert curve[1][key] == pytest.approx(np.mean([row[key] for row in single]))


def test_a_curve_takes_the_qualities_of_the_table_and_shows_a_bar(large_and_small, capsys):
    curve = classical.curve("JPEG", iter(large_and_small[:1]))
    assert [row["quality"] for row in curve] == list(CODECS["JPEG"].qualities)
    assert all(0 < row["ms_ssim"] < 1 for row in curve)
    assert "JPEG" in capsys.readouterr().err


def test_an_unknown_codec_is_told(large_and_small, photo):
    for call in (lambda: classical.encode("BPG", photo, 30), lambda: classical.curve("BPG", large_and_small)):
        with pytest.raises(Unsupported, match="BPG") as caught:
            call()
        assert is_a_sentence(caught.value)


def test_without_its_package_jpeg_xl_names_what_to_install(photo, monkeypatch):
    data = classical.encode("JPEG XL", photo, 50)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    for call in (lambda: classical.encode("JPEG XL", photo, 50), lambda: classical.decode(data)):
        with pytest.raises(Unsupported, match="pip install pillow-jxl-plugin") as caught:
            call()
        assert is_a_sentence(caught.value)
    assert classical.decode(jpeg(photo, 50)).shape == photo.shape


# --- the settings, read back from the files -------------------------------------------------


def markers(data: bytes) -> dict[int, bytes]:
    """Marker -> first segment of a JPEG file or a JPEG 2000 codestream, up to its entropy-coded data."""
    found, at = {}, 2
    while data[at + 1] not in (0xDA, 0x90, 0x93):  # SOS of JPEG; SOT and SOD of JPEG 2000
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        found.setdefault(data[at + 1], data[at + 4 : at + 2 + length])
        at += 2 + length
    return found


def test_jpeg_is_baseline_with_halved_chroma_and_its_own_huffman_tables(photo):
    data = jpeg(photo, 40)
    segments = markers(data)
    assert 0xC0 in segments  # SOF0; progressive would be 0xC2
    assert 0xC2 not in segments
    sampling = {segments[0xC0][6 + 3 * k]: segments[0xC0][7 + 3 * k] for k in range(3)}
    assert sampling == {1: 0x22, 2: 0x11, 3: 0x11}
    plain = io.BytesIO()
    Image.fromarray(photo).save(plain, "JPEG", quality=40)
    assert len(data) < len(plain.getvalue())
    np.testing.assert_array_equal(classical.decode(data), classical.decode(plain.getvalue()))


def test_jpeg_2000_is_irreversible_with_the_colour_transform(photo):
    data = classical.encode("JPEG 2000", photo, 1.0)
    coding = markers(data[data.index(b"\xff\x4f\xff\x51") :])[0x52]  # COD
    assert coding[4] == 1  # multiple component transform
    assert coding[9] == 0  # 9/7 irreversible; 1 is 5/3 reversible


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.5])
def test_the_quality_of_jpeg_2000_is_its_rate(rate):
    pixels = images.read_image(datasets.find("embedded")[0])[0]
    found = metrics.bpp(len(classical.encode("JPEG 2000", pixels, rate)), pixels)
    assert 0.95 * rate < found < 1.01 * rate


def test_webp_is_lossy(photo):
    data = classical.encode("WebP", photo, 80)
    assert data[12:16] == b"VP8 "  # lossless is "VP8L", and "VP8X" would hold metadata


@pytest.mark.parametrize(("name", "halved"), [("AVIF", 1), ("AVIF 4:4:4", 0)])
def test_avif_subsamples_as_its_name_says(name, halved, photo):
    data = classical.encode(name, photo, 60)
    at = data.index(b"av1C") + 4
    assert data[at] == 0x81
    assert (data[at + 2] >> 3 & 1, data[at + 2] >> 2 & 1) == (halved, halved)  # chroma_subsampling_x and _y


def test_jpeg_xl_is_lossy(photo):
    data = classical.encode("JPEG XL", photo, 93)
    lossless = io.BytesIO()
    Image.fromarray(photo).save(lossless, "JXL", lossless=True)
    assert len(data) < 0.6 * len(lossless.getvalue())
    assert 30 < metrics.psnr(photo, classical.decode(data)) < 60


def test_each_codec_needs_fewer_bits_than_jpeg():
    """At equal PSNR on a photograph."""
    curves = {name: np.array(rates_and_qualities(name)) for name in CODECS}
    saved = {name: metrics.bd_rate(curves["JPEG"], curve) for name, curve in curves.items()}
    assert saved.pop("JPEG") == 0
    assert all(value < -15 for value in saved.values()), saved


# --- JPEG beside a codec --------------------------------------------------------------------


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


@pytest.mark.parametrize("named", [{"lmbda": 0.013}, {"B": 4}])
def test_jpeg_beside_spends_no_fewer_bits(named, large_and_small):
    rows = [
        {"image": path.stem, **named, "bits": bits} for path, bits in zip(large_and_small, (24_000, 9_000), strict=True)
    ]
    beside = classical.jpeg_beside(rows, large_and_small)
    for row, other, path in zip(rows, beside, large_and_small, strict=True):
        pixels = images.read_image(path)[0]
        assert {name: other[name] for name in ("image", *named)} == {"image": row["image"], **named}
        assert other["bits"] >= row["bits"]
        assert 1 < other["quality"] < 95
        assert 8 * len(jpeg(pixels, other["quality"] - 1)) < row["bits"]
        assert other | classical.measure(pixels, jpeg(pixels, other["quality"])) == pytest.approx(other, nan_ok=True)
    with pytest.raises(ValueError, match="shorter"):
        classical.jpeg_beside(rows, large_and_small[:1])
