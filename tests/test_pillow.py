"""Pillow opens and saves `.cbk` files once the plugin is imported."""

import importlib
import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from codec_lib.errors import TooLarge, Unsupported
from codec_lib.registry import DEFAULT_MODEL
from codec_lib.weights import weight_files


@pytest.fixture(scope="module", autouse=True)
def in_these_tests_only():
    """Without the plugin Pillow takes no `.cbk` file for a picture, which other tests rely on."""
    importlib.reload(importlib.import_module("codec_lib.pillow"))
    yield
    for table in (Image.OPEN, Image.SAVE, Image.MIME):
        table.pop("CBK", None)
    Image.ID.remove("CBK")
    Image.EXTENSION.pop(".cbk", None)


@pytest.fixture(scope="module")
def file(photo, tmp_path_factory):
    path = tmp_path_factory.mktemp("cbk") / "a.cbk"
    exif = Image.Exif()
    exif[0x010E] = "a face"
    Image.fromarray(photo).save(path, quality=1, exif=exif)
    return path


def test_what_was_saved_is_opened(file, photo):
    codec = weight_files.load(DEFAULT_MODEL, 1)
    with Image.open(file) as image:
        assert (image.format, image.mode, image.size) == ("CBK", "RGB", (112, 96))
        assert (image.info["model"], image.info["quality"]) == (DEFAULT_MODEL, 1)
        assert image.getexif()[0x010E] == "a face"
        np.testing.assert_array_equal(np.asarray(image), codec.estimate(photo)[0])
        assert image.resize((56, 48)).size == (56, 48)
    assert Image.open(io.BytesIO(file.read_bytes())).convert("L").size == (112, 96)


def test_the_size_is_known_without_torch(file):
    code = "import sys, codec_lib.pillow; from PIL import Image; "
    code += "print(Image.open(sys.argv[1]).size, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout == "(112, 96) False\n"


def test_hostile_headers_allocate_nothing(file):
    head = bytearray(file.read_bytes())
    head[23:31] = struct.pack("<II", 2**31, 2**31)
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(head))


def test_damage_is_an_oserror_when_the_pixels_are_wanted(file):
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    image = Image.open(io.BytesIO(data))
    assert image.size == (112, 96)
    with pytest.raises(OSError, match="damaged"):
        image.load()


def test_what_cannot_be_saved(photo, tmp_path):
    with pytest.raises(Unsupported, match="quality 7"):
        Image.fromarray(photo).save(tmp_path / "a.cbk", quality=7)


def test_a_picture_that_was_turned_is_not_turned_again(photo):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a face"
    source, file = io.BytesIO(), io.BytesIO()
    Image.fromarray(photo).save(source, "JPEG", exif=exif)
    image = Image.open(source)
    image.save(file, "CBK", model="factorized", exif=image.info["exif"])
    with Image.open(file) as saved:
        assert saved.size == photo.shape[:2]
        assert (saved.getexif().get(0x0112), saved.getexif()[0x010E]) == (None, "a face")


def test_verify_finds_damage_without_decoding(file):
    data = bytearray(file.read_bytes())
    Image.open(io.BytesIO(data)).verify()
    for damaged in (data[: len(data) // 2], data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]):
        with pytest.raises(OSError, match=r"The \.cbk file is"):
            Image.open(io.BytesIO(damaged)).verify()


def test_metadata_that_no_reader_takes_is_not_written(photo):
    with pytest.raises(TooLarge, match="metadata"):
        Image.fromarray(photo).save(io.BytesIO(), "CBK", model="factorized", exif=bytes(2**24 + 1))
