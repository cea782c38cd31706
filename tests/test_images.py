"""Any picture that Pillow opens becomes RGB of its own size; anything else becomes one sentence."""

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codec_lib import files, images, limits
from codec_lib.errors import BadData, BadImage, CodecError, TooLarge, Unsupported

WHITE = [255, 255, 255]
COMPOSITED = "transparency composited onto white"
SCALED = "samples scaled to 8 bits"
HAS_FULL_DEVICE = Path("/dev/full").is_char_device()


def png(width: int, height: int, depth: int, colour: int, samples: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file written by hand, for what Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = len(samples) // max(height, 1)
    lines = b"".join(b"\0" + samples[i * row : (i + 1) * row] for i in range(height)) if samples else b""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(tmp_path: Path, data: bytes) -> tuple[np.ndarray, list[str]]:
    path = tmp_path / "picture.bin"  # Pillow must look at the bytes, not at the name
    path.write_bytes(data)
    pixels, notes = images.read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return pixels, notes


def assert_is_a_sentence(message: str):
    assert "\n" not in message
    assert message.endswith(".")
    assert not message.endswith(": .")


# --- every kind of picture --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_rgb_is_read_exactly_and_without_a_note(tmp_path, photo, kind):
    pixels, notes = read(tmp_path, encoded(Image.fromarray(photo), kind))
    assert np.array_equal(pixels, photo)
    assert notes == []


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 1), (31, 33)])
def test_any_size_is_kept(tmp_path, photo, size):
    height, width = size
    part = photo[:height, :width]
    pixels, _ = read(tmp_path, encoded(Image.fromarray(part), "PNG"))
    assert np.array_equal(pixels, part)


def test_grey(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    pixels, notes = read(tmp_path, encoded(Image.fromarray(grey), "PNG"))
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=2))
    assert notes == []


def test_one_bit(tmp_path):
    bits = np.array([[1, 0, 0], [0, 1, 1]], dtype=bool)
    data = encoded(Image.fromarray(bits), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "1"
    pixels, notes = read(tmp_path, data)
    assert np.array_equal(pixels, np.repeat(bits[..., None] * np.uint8(255), 3, axis=2))
    assert notes == []


def palette_picture() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 0, 7, 8, 9])
    return image


def test_palette(tmp_path):
    data = encoded(palette_picture(), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "P"
    pixels, notes = read(tmp_path, data)
    assert pixels.tolist() == [[[10, 20, 30], [200, 100, 0]], [[7, 8, 9], [200, 100, 0]]]
    assert notes == []


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_entry(tmp_path, kind):
    data = encoded(palette_picture(), kind, transparency=1)
    pixels, notes = read(tmp_path, data)
    assert pixels.tolist() == [[[10, 20, 30], WHITE], [[7, 8, 9], WHITE]]
    assert notes == [COMPOSITED]


def test_palette_with_half_transparent_entries(tmp_path):
    pixels, notes = read(tmp_path, encoded(palette_picture(), "PNG", transparency=bytes([255, 0, 51])))
    expected = [[[10, 20, 30], WHITE], [[205, 206, 206], WHITE]]  # 51/255 = 0.2: 0.2 * 7 + 0.8 * 255 = 205.4
    assert np.abs(pixels.astype(int) - expected).max() <= 1
    assert notes == [COMPOSITED]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_composited_onto_white(tmp_path, mode):
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (16, 16, len(mode)), dtype=np.uint8)
    samples[0, :, -1], samples[1, :, -1] = 0, 255
    data = encoded(Image.fromarray(samples, mode), "PNG")
    assert Image.open(io.BytesIO(data)).mode == mode
    pixels, notes = read(tmp_path, data)
    alpha = samples[..., -1:] / 255
    expected = samples[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels - np.broadcast_to(expected, pixels.shape)).max() <= 1
    assert (pixels[0] == 255).all()
    assert np.array_equal(pixels[1], np.broadcast_to(samples[1, :, :-1], (16, 3)))
    assert notes == [COMPOSITED]


def test_one_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    pixels, notes = read(tmp_path, encoded(image, "PNG", transparency=(4, 5, 6)))
    assert pixels.tolist() == [[[1, 2, 3], WHITE]]
    assert notes == [COMPOSITED]


def test_premultiplied_alpha():
    for mode, straight in (("La", "LA"), ("RGBa", "RGBA")):
        image = Image.new(straight, (2, 2), (100, 50) if straight == "LA" else (100, 100, 100, 50))
        image = image.convert(mode)
        assert image.mode == mode
        pixels, notes = images.to_rgb(image)
        assert np.abs(pixels.astype(int) - 225).max() <= 2  # 100 * 50/255 + 255 * 205/255 = 224.6
        assert notes == [COMPOSITED]


def test_sixteen_bit_grey(tmp_path):
    samples = np.array([[0, 128, 129], [32768, 65406, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(samples), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    pixels, notes = read(tmp_path, data)
    assert pixels[..., 0].tolist() == [[0, 0, 1], [128, 254, 255]]  # round(v / 257), not v >> 8
    assert (pixels == pixels[..., :1]).all()
    assert notes == [SCALED]


def test_sixteen_bit_grey_with_a_transparent_level(tmp_path):
    samples = np.array([[0, 2000, 2001]], dtype=">u2").tobytes()
    pixels, notes = read(tmp_path, png(3, 1, 16, 0, samples, (b"tRNS", struct.pack(">H", 2000))))
    assert pixels[..., 0].tolist() == [[0, 255, 8]]
    assert notes == [SCALED, COMPOSITED]


def test_sixteen_bit_colour(tmp_path):
    samples = np.array([[[0, 0x8000, 0xFFFF], [0x0100, 0x1200, 0x3400]]], dtype=">u2").tobytes()
    pixels, _ = read(tmp_path, png(2, 1, 16, 2, samples))
    assert pixels.tolist() == [[[0, 0x80, 0xFF], [0x01, 0x12, 0x34]]]


def test_big_endian_sixteen_bit_tiff(tmp_path):
    samples = np.array([[0, 256, 65535]], dtype=">u2")
    data = encoded(Image.frombytes("I;16B", (3, 1), samples.tobytes()), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "I;16B"
    pixels, notes = read(tmp_path, data)
    assert pixels[..., 0].tolist() == [[0, 1, 255]]
    assert notes == [SCALED]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([0, 59, 255], [0, 59, 255]),  # taken for 8 bits
        ([0, 32768, 65535], [0, 128, 255]),  # taken for 16
        ([-5, 0, 32768, 65535, 99_995], [0, 0, 84, 167, 255]),  # stretched
    ],
)
def test_wide_integers(tmp_path, samples, expected):
    data = encoded(Image.fromarray(np.array([samples], dtype=np.int32)), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "I"
    pixels, notes = read(tmp_path, data)
    assert pixels[0, :, 0].tolist() == expected
    assert notes == [SCALED]


def test_a_dark_picture_of_sixteen_bits_stays_dark(tmp_path):
    pixels, _ = read(tmp_path, b"P5 2 1 65535 " + bytes([0, 200, 1, 0]))
    assert pixels[0, :, 0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([0.0, 0.25, 1.0], [0, 64, 255]),  # taken for [0, 1]
        ([0.0, 0.1, 0.5], [0, 26, 128]),
        ([0.0, 100.0, 200.0], [0, 100, 200]),  # taken for [0, 255]
        ([-1.0, 0.0, 3.0], [0, 64, 255]),  # stretched
        ([-2.0, -2.0, -2.0], [0, 0, 0]),
    ],
)
def test_floating_point(tmp_path, samples, expected):
    data = encoded(Image.fromarray(np.array([samples], dtype=np.float32)), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "F"
    pixels, notes = read(tmp_path, data)
    assert pixels[0, :, 0].tolist() == expected
    assert notes == [SCALED]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_floating_point_that_is_not_finite_is_refused(tmp_path, odd):
    data = encoded(Image.fromarray(np.array([[0.0, odd]], dtype=np.float32)), "TIFF")
    with pytest.raises(BadImage, match="not finite") as caught:
        read(tmp_path, data)
    assert_is_a_sentence(str(caught.value))


def test_cmyk_jpeg(tmp_path):
    inks = np.zeros((16, 32, 4), dtype=np.uint8)
    inks[:, :16], inks[:, 16:] = (200, 40, 0, 30), (0, 255, 120, 0)
    data = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    pixels, _ = read(tmp_path, data)
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    assert np.abs(pixels - expected).max() <= 4


def test_only_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    pixels, notes = read(tmp_path, data)
    assert (pixels == [255, 0, 0]).all()
    assert pixels.shape == (4, 5, 3)
    assert notes == ["only the first of 3 frames is used"]


# --- EXIF rotation ----------------------------------------------------------------------------

# How a camera held that way stores an upright picture: the inverse of what a viewer must do.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


def with_orientation(pixels: np.ndarray, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    return encoded(Image.fromarray(np.ascontiguousarray(pixels)), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", sorted(STORED))
def test_exif_rotation_is_applied(tmp_path, orientation, kind):
    upright = np.zeros((16, 40, 3), dtype=np.uint8)  # four colours, none of which may change places
    upright[:8, :24], upright[:8, 24:] = (255, 0, 0), (0, 255, 0)
    upright[8:, :24], upright[8:, 24:] = (0, 0, 255), (255, 255, 0)
    stored = STORED[orientation](upright)
    assert stored.shape == ((40, 16, 3) if orientation >= 5 else (16, 40, 3))
    pixels, notes = read(tmp_path, with_orientation(stored, orientation, kind))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() <= (6 if kind == "JPEG" else 0)
    assert notes == ([] if orientation == 1 else ["rotated as its EXIF says"])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_exif_rotation_that_does_not_exist_is_ignored(tmp_path, photo, orientation):
    pixels, notes = read(tmp_path, with_orientation(photo, orientation, "PNG"))
    assert np.array_equal(pixels, photo)
    assert notes == []


# --- what is not a picture --------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    with pytest.raises(BadImage, match="No such file") as caught:
        images.read_image(tmp_path / "absent.png")
    assert_is_a_sentence(str(caught.value))
    assert "absent.png" in str(caught.value)


def test_a_folder(tmp_path):
    with pytest.raises(BadImage, match="directory") as caught:
        images.read_image(tmp_path)
    assert_is_a_sentence(str(caught.value))


@pytest.mark.parametrize("data", [b"", b"hello\nworld\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(1000)])
def test_not_a_picture(tmp_path, data):
    with pytest.raises(BadImage) as caught:
        read(tmp_path, data)
    assert_is_a_sentence(str(caught.value))
    assert "picture.bin" in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_picture(tmp_path, photo, kind, share):
    data = encoded(Image.fromarray(photo), kind)
    with pytest.raises(BadImage) as caught:
        read(tmp_path, data[: int(share * len(data))])
    assert_is_a_sentence(str(caught.value))
    assert "picture.bin" in str(caught.value)


def test_a_png_with_a_damaged_checksum(tmp_path, photo):
    data = bytearray(encoded(Image.fromarray(photo), "PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(BadImage) as caught:
        read(tmp_path, bytes(data))
    assert_is_a_sentence(str(caught.value))


def test_a_gif_whose_palette_is_cut(tmp_path):
    """Pillow raises an IndexError here, which is none of the errors that it promises."""
    frame = Image.new("RGB", (20, 24), "red")
    good = encoded(frame, "GIF", save_all=True, append_images=[Image.new("RGB", (20, 24), "blue")])
    raised = set()
    for position in range(10, 120):
        data = good[:position] + b"\xff" + good[position + 1 :]
        try:
            with Image.open(io.BytesIO(data)) as image:
                _ = image.n_frames
                image.load()
        except Exception as error:
            raised.add(type(error))
            with pytest.raises(BadImage) as caught:
                read(tmp_path, data)
            assert_is_a_sentence(str(caught.value))
    assert IndexError in raised


@pytest.fixture(scope="module")
def good_files(photo) -> dict[str, bytes]:
    small = Image.fromarray(photo[:12, :10])
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "PNG": encoded(small, "PNG", exif=exif),
        "JPEG": encoded(small, "JPEG", exif=exif),
        "TIFF": encoded(small, "TIFF", exif=exif),
        "GIF": encoded(small, "GIF", save_all=True, append_images=[small.transpose(Image.Transpose.ROTATE_180)]),
        "WEBP": encoded(small, "WEBP", exif=exif),
        "DDS": encoded(small, "DDS"),
    }


@given(
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "WEBP", "DDS"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    head=st.booleans(),
)
def test_damage_never_escapes_as_another_error(tmp_path_factory, good_files, kind, changes, head):
    data = bytearray(good_files[kind])
    reach = min(len(data), 130) if head else len(data)
    for where, value in changes:
        data[int(where * (reach - 1))] = value
    try:
        read(tmp_path_factory.getbasetemp(), bytes(data))
    except CodecError as error:
        assert_is_a_sentence(str(error))


# --- size -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height"),
    [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (9_000, 8_000), (2**26 + 1, 1)],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, width, height):
    with pytest.raises(TooLarge, match=r"67\.1 megapixels allowed") as caught:
        read(tmp_path, png(width, height, 8, 2, b""))
    assert_is_a_sentence(str(caught.value))


def test_the_largest_size_is_allowed():
    limits.check_size(2**13, 2**13)
    limits.check_size(1, limits.MAX_PIXELS)
    with pytest.raises(TooLarge):
        limits.check_size(2**13, 2**13 + 1)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (-1, -1)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(BadImage, match="no pixels") as caught:
        limits.check_size(*size)
    assert_is_a_sentence(str(caught.value))


def test_a_png_that_says_it_has_no_pixels(tmp_path):
    with pytest.raises(BadImage) as caught:
        read(tmp_path, png(0, 5, 8, 2, b""))
    assert_is_a_sentence(str(caught.value))


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", images.FORMATS)
def test_write_picture_is_lossless_in_the_format_of_the_suffix(tmp_path, photo, suffix):
    images.write_picture(tmp_path / f"a{suffix.upper()}", photo)
    with Image.open(tmp_path / f"a{suffix.upper()}") as image:
        assert image.format == images.FORMATS[suffix][0]
        assert np.array_equal(np.asarray(image), photo)


def test_other_formats_are_not_written(tmp_path, photo):
    for name in ("a.jpg", "a"):
        with pytest.raises(Unsupported, match="decoded pictures are written as") as caught:
            images.write_picture(tmp_path / name, photo)
        assert_is_a_sentence(str(caught.value))
    with pytest.raises(Unsupported, match="too large for WEBP"):
        images.write_picture(tmp_path / "a.webp", np.zeros((1, 16400, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_write_picture_of_one_pixel(tmp_path):
    images.write_picture(tmp_path / "a.png", np.array([[[1, 2, 3]]], dtype=np.uint8))
    assert images.read_image(tmp_path / "a.png")[0].tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [None, b"old"])
def test_write_picture_on_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, photo, broken, existing):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.png"
    if existing is not None:
        path.write_bytes(existing)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, broken, fail)
        with pytest.raises(BadData, match="No space left") as caught:
            images.write_picture(path, photo)
    assert_is_a_sentence(str(caught.value))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"a.png": existing} if existing else {})


def test_write_picture_whose_encoder_fails_leaves_nothing_behind(tmp_path, monkeypatch, photo):
    def save(self, file, format, **options):
        file.write(b"\x89PNG")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(BadData, match="No space left"):
        images.write_picture(tmp_path / "a.png", photo)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not HAS_FULL_DEVICE, reason="this system has no /dev/full")
def test_write_picture_to_a_full_device(tmp_path, photo):
    link = tmp_path / "full.png"  # so that a wrong move, by root, replaces the link and not the device
    link.symlink_to("/dev/full")
    with pytest.raises(BadData) as caught:
        images.write_picture(link, photo)
    assert_is_a_sentence(str(caught.value))
    assert link.is_symlink()


def test_write_picture_to_a_missing_folder_or_a_folder(tmp_path, photo):
    (tmp_path / "b.png").mkdir()
    for path in (tmp_path / "absent" / "a.png", tmp_path / "b.png"):
        with pytest.raises(BadData, match="folder") as caught:
            images.write_picture(path, photo)
        assert_is_a_sentence(str(caught.value))
    assert [p.name for p in tmp_path.iterdir()] == ["b.png"]


# --- arrays and tensors -----------------------------------------------------------------------


def test_as_array_takes_both_kinds(photo):
    assert images.as_array(photo) is photo
    assert np.array_equal(images.as_array(Image.fromarray(photo)), photo)
    assert images.as_array(Image.new("L", (3, 2), 9)).tolist() == [[[9] * 3] * 3] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        [[[0, 0, 0]]],
        "photo.png",
        None,
    ],
)
def test_as_array_refuses_anything_else(wrong):
    with pytest.raises(BadImage) as caught:
        images.as_array(wrong)
    assert_is_a_sentence(str(caught.value))


def test_every_sample_value_survives_the_tensor():
    pixels = np.random.default_rng(0).permuted(np.tile(np.arange(256, dtype=np.uint8), 3)).reshape(16, 16, 3)
    assert set(pixels.flat) == set(range(256))
    x = images.to_tensor(pixels)
    assert x.shape == (1, 3, 16, 16)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0, 1)
    assert np.array_equal(images.to_pixels(x), pixels)


def test_tensor_axes(photo):
    x = images.to_tensor(photo)
    assert x.shape == (1, 3, *photo.shape[:2])
    assert x[0, 2, 5, 9].item() == np.float32(photo[5, 9, 2]) / np.float32(255)


def test_to_tensor_of_a_view(photo):
    assert torch.equal(images.to_tensor(photo[::2, ::-3]), images.to_tensor(photo[::2, ::-3].copy()))


def test_to_pixels_clips_and_rounds():
    values = [-1e9, -0.1, 0.4 / 255, 0.6 / 255, 100.4 / 255, 100.6 / 255, 1.0, 1.1, 1e9]
    x = torch.tensor(values).expand(1, 3, 1, -1)
    assert images.to_pixels(x)[0, :, 1].tolist() == [0, 0, 0, 1, 100, 101, 255, 255, 255]


@given(height=st.integers(1, 70), width=st.integers(1, 70), multiple=st.sampled_from([16, 64]))
def test_pad_repeats_the_edge_and_crop_undoes_it(height, width, multiple):
    x = torch.arange(3.0 * height * width).reshape(1, 3, height, width)
    padded = images.pad(x, multiple)
    h, w = padded.shape[-2:]
    assert (h % multiple, w % multiple) == (0, 0)
    assert 0 <= h - height < multiple
    assert 0 <= w - width < multiple
    rows, columns = torch.arange(h).clamp(max=height - 1), torch.arange(w).clamp(max=width - 1)
    assert torch.equal(padded, x[:, :, rows][..., columns])
    assert torch.equal(images.crop(padded, height, width), x)
