"""Colours as a colour-managed viewer shows them: sRGB, computed here from the profiles' own definitions."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec_lib import colour, datasets, images

SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Linear sRGB -> XYZ at D50 (Lindbloom), and so for the others."""
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0010, 0.0419, 0.7841]])
"""Display P3, as its own profile has it."""


def decoded(samples: np.ndarray) -> np.ndarray:
    """sRGB's curve, which Display P3 shares."""
    v = samples / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def as_srgb(linear: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Linear samples of a space -> sRGB, 0..255, not rounded."""
    v = np.clip(linear @ (np.linalg.inv(SRGB) @ matrix).T, 0, 1)
    return 255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


def profile(matrix: np.ndarray | None, gamma: float) -> bytes:
    """A minimal ICC profile, version 2: of RGB with these primaries, or of grey."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(65536 * v) for v in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
    text = b"a test\0"
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78 + -(len(text) + 78) % 4),
            b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249)}  # fmt: skip
    if matrix is None:
        tags[b"kTRC"] = curve
    else:
        for k, letter in enumerate((b"r", b"g", b"b")):
            tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*matrix[:, k])
            tags[letter + b"TRC"] = curve
    at, directory = 128 + 4 + 12 * len(tags), b""
    for name, data in tags.items():
        directory += name + struct.pack(">II", at, len(data))
        at += len(data)
    space = b"RGB " if matrix is not None else b"GRAY"
    head = struct.pack(">I4sI4s4s4s", at, bytes(4), 0x02100000, b"mntr", space, b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249) + bytes(48)
    return head + struct.pack(">I", len(tags)) + directory + b"".join(tags.values())


def read(image: Image.Image, kind: str = "PNG", **options) -> images.Picture:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return images.read_picture(file)


def assert_rounded(pixels: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(pixels - expected).max() < 1.5  # a level, and what the tables of LittleCMS cost in the dark


def test_wide_gamuts_become_srgb(photo):
    for matrix, gamma in ((ADOBE, 2.2), (P3, 1.8)):
        picture = read(Image.fromarray(photo), icc_profile=profile(matrix, gamma))
        assert_rounded(picture.pixels, as_srgb((photo / 255) ** gamma, matrix))
        assert picture.notes == ["colours converted from a test to sRGB"]
        assert np.abs(picture.pixels.astype(int) - photo).max() > 5


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_follows_its_profile(photo, mode):
    grey = Image.fromarray(photo).convert("L")
    picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    found = read(picture, icc_profile=profile(None, 1.8)).pixels
    expected = as_srgb(np.repeat((np.asarray(grey)[..., None] / 255) ** 1.8, 3, 2), SRGB)
    assert_rounded(found, expected)


def test_palette_and_alpha_keep_what_they_are_besides(photo):
    rgb = Image.fromarray(photo)
    palette = rgb.quantize(16)
    found = read(palette, icc_profile=profile(ADOBE, 2.2))
    assert_rounded(found.pixels, as_srgb((np.asarray(palette.convert("RGB")) / 255) ** 2.2, ADOBE))
    rgb.putalpha(128)
    found = read(rgb, icc_profile=profile(ADOBE, 2.2))
    assert_rounded(found.pixels, as_srgb((photo / 255) ** 2.2, ADOBE) * (128 / 255) + 255 * (127 / 255))
    assert found.notes[-1] == "transparency composited onto white"


def test_a_profile_of_other_samples_is_ignored(photo):
    cmyk = Image.fromarray(photo).convert("CMYK")
    found = read(cmyk, "JPEG", quality=95, icc_profile=profile(ADOBE, 2.2))
    assert found.notes == ["its colour profile is for RGB samples, which it has not, and is ignored"]
    np.testing.assert_array_equal(found.pixels, read(cmyk, "JPEG", quality=95).pixels)


def test_what_means_srgb_changes_nothing(photo):
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colour.is_srgb(made)
    assert not colour.is_srgb(profile(ADOBE, 2.2))
    picture = read(Image.fromarray(photo), icc_profile=made)
    assert picture.notes == []
    np.testing.assert_array_equal(picture.pixels, photo)


def test_a_profile_of_rgb_explains_ycbcr(photo):
    found = []
    for image in (Image.fromarray(photo).convert("YCbCr"), Image.fromarray(photo).convert("YCbCr").convert("RGB")):
        image.info["icc_profile"] = profile(ADOBE, 2.2)
        found.append(images.to_rgb(image))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1] and "converted" in found[0][1][0]


@pytest.mark.parametrize("damaged", [b"", b"not a profile", profile(ADOBE, 2.2)[:200]])
def test_damaged_profiles_are_ignored_and_said(photo, damaged):
    image = Image.fromarray(photo)
    image.info["icc_profile"] = damaged
    pixels, notes = images.to_rgb(image)
    np.testing.assert_array_equal(pixels, photo)
    assert notes == (["its colour profile is damaged and is ignored"] if damaged else [])


def test_metadata_is_kept_with_the_samples_it_explains(photo):
    exif, icc = Image.Exif(), profile(P3, 1.8)
    exif[0x0112], exif[0x010E] = 6, "a face"
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG", exif=exif, icc_profile=icc)
    file.seek(0)
    kept = images.read_picture(file, keep=True)
    np.testing.assert_array_equal(kept.pixels, np.rot90(photo, -1))
    assert kept.icc == icc
    found = Image.Exif()
    found.load(kept.exif)
    assert dict(found) == {0x010E: "a face"}  # upright now
    out = io.BytesIO()
    images.save(out, kept.pixels, ".png", kept.exif, kept.icc)
    with Image.open(out) as written:
        assert written.info["icc_profile"] == icc
        assert dict(written.getexif()) == {0x010E: "a face"}


def test_photographs_of_other_spaces():
    """The Display P3 and Adobe RGB photographs of the mirror, and the rocket of scikit-image."""
    mirror = os.environ.get("CODECBOOK_MIRROR")
    paths = sorted(Path(mirror, "more").glob("*.jpg")) if mirror else []
    seen = set()
    for path in [p for p in datasets.find("embedded") if p.stem == "rocket"] + paths:
        with Image.open(path) as image:
            icc = image.info.get("icc_profile")
            name = "" if not icc else ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
            if name in seen or name not in ("Adobe RGB (1998)", "Display P3"):
                continue
            seen.add(name)
            image.thumbnail((256, 256))
            samples = np.asarray(image)
            pixels, notes = images.to_rgb(image)
        linear = decoded(samples) if name == "Display P3" else (samples / 255) ** 2.19921875
        expected = as_srgb(linear, P3 if name == "Display P3" else ADOBE)
        assert np.abs(pixels - expected).mean() < 0.6
        assert np.quantile(np.abs(pixels - expected), 0.999) < 2
        assert notes == [f"colours converted from {name} to sRGB"]
    assert "Adobe RGB (1998)" in seen
