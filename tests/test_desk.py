"""What one expects of an encoder on the desk: many files, pipes, nothing lost, sizes met."""

import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import assert_refused, snapshot
from PIL import Image

from codec_lib import images
from codec_lib.errors import Unsupported
from codec_lib.places import ROOT
from codec_lib.weights import targets, weight_files


@pytest.fixture
def place(tmp_path, photo):
    """Three pictures, one of them in a subfolder, and a file that is none."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "sub/c.webp"):
        Image.fromarray(photo).save(tmp_path / "in" / name)
    (tmp_path / "bad.png").write_text("no picture")
    return tmp_path


@pytest.fixture
def options(weights):
    return ["--model", "factorized", "--weights", weights]


def test_outputs_are_named_after_inputs(run, place, options, weights):
    a, b = place / "in" / "a.png", place / "in" / "b.jpg"
    assert run("encode", a, *options)[::2] == (0, "")
    assert run("encode", a, b, *options, "--out", place / "new" / "cbk", "--jobs", 2)[::2] == (0, "")
    assert [p.name for p in sorted((place / "new" / "cbk").iterdir())] == ["a.cbk", "b.cbk"]
    assert (place / "new" / "cbk" / "a.cbk").read_bytes() == (place / "in" / "a.cbk").read_bytes()
    assert run("decode", place / "new" / "cbk" / "b.cbk", "--weights", weights)[0] == 0
    assert images.read_image(place / "new" / "cbk" / "b.png")[0].shape == (96, 112, 3)


def test_a_folder_with_its_subfolders(run, place, options, weights):
    assert_refused(run("encode", place / "in", *options), "--out DIR")
    assert run("encode", place / "in", *options, "--out", place / "out")[0] == 0
    assert run("decode", place / "out", "--weights", weights, "--out", place / "back")[0] == 0
    found = sorted(str(p.relative_to(place / "back")) for p in (place / "back").rglob("*.png"))
    assert found == ["a.png", "b.png", "sub/c.png"]


def test_some_of_many_fail_after_the_others(run, place, options):
    paths = [place / "in" / "a.png", place / "bad.png", place / "absent.png", place / "in" / "b.jpg"]
    status, out, err = run("encode", *paths, *options, "--out", place / "out")
    assert status == 1
    assert [line.split(":")[0].split("/")[-1] for line in out.splitlines()] == ["a.cbk", "b.cbk"]
    bad, absent, all_in_all = err.splitlines()
    assert "bad.png is not a picture" in bad
    assert "absent.png: No such file" in absent or "absent.png" in absent
    assert all_in_all == "codec_lib: 2 of 4 files failed."


def test_nothing_is_replaced_without_force(run, place, options, weights):
    (place / "in" / "a.cbk").write_bytes(b"precious")
    before = snapshot(place)
    assert_refused(run("encode", place / "in" / "a.png", place / "in" / "b.jpg", *options), "a.cbk exists; --force")
    assert snapshot(place) == before
    assert run("encode", place / "in" / "a.png", *options, "--force")[0] == 0
    assert_refused(run("decode", place / "in" / "a.cbk", "--weights", weights), "a.png exists; --force")


def test_two_inputs_of_one_name_are_refused(run, place, options):
    Image.new("RGB", (8, 8)).save(place / "in" / "a.bmp")
    both = [place / "in" / "a.png", place / "in" / "a.bmp"]
    assert_refused(run("encode", *both, *options, "--out", place / "out"), "both become")
    assert_refused(run("encode", *both, place / "x.cbk", *options), "Several files cannot all become")
    assert not (place / "out").exists()


def test_other_formats_are_refused_and_said(run, place, options, weights):
    assert run("encode", place / "in" / "a.png", *options)[0] == 0
    before = snapshot(place)
    assert_refused(run("decode", place / "in" / "a.cbk", place / "x.jpg", "--weights", weights), ".png, .tif")
    assert_refused(run("encode", place / "in" / "a.png", place / "x.bin", *options), "ends in .cbk")
    assert snapshot(place) == before


def test_pipes(place, weights, photo):
    command = [sys.executable, "-W", "error", "-m", "codec_lib"]
    picture = (place / "in" / "a.png").read_bytes()
    encode = [*command, "encode", "-", "--model", "factorized", "--weights", weights]
    encoded = subprocess.run(encode, cwd=ROOT, input=picture, capture_output=True, check=True)
    assert encoded.stderr == b""
    assert weight_files.load("factorized", 2, folder=weights).encode(photo) == encoded.stdout
    decode = [*command, "decode", "-", "/dev/stdout", "--weights", weights]
    decoded = subprocess.run(decode, cwd=ROOT, input=encoded.stdout, capture_output=True, check=True)
    assert decoded.stderr == b""
    assert Image.open(io.BytesIO(decoded.stdout)).size == (112, 96)


def test_a_quality_that_has_no_weights_is_not_the_default(run, place, ae_weights):
    """ae-vae has weights for 4 bits alone."""
    assert run("encode", place / "in" / "a.png", "--model", "ae-vae", "--weights", ae_weights)[0] == 0
    assert '"bits": 4,' in run("info", place / "in" / "a.cbk", "--json")[1]


def test_metadata_goes_and_comes(run, place, options, weights, photo):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a face"
    Image.fromarray(photo).save(place / "x.jpg", exif=exif)
    out = ["--weights", weights, "--force"]
    assert run("encode", place / "x.jpg", *options)[0] == 0
    assert run("decode", place / "x.cbk", place / "x.png", *out)[0] == 0
    assert not dict(Image.open(place / "x.png").getexif())
    assert run("encode", place / "x.jpg", *options, "--force", "--metadata", "keep")[0] == 0
    assert '"eXIf"' in run("info", place / "x.cbk", "--json")[1]
    for name in ("x.png", "x.tif", "x.webp"):
        assert run("decode", place / "x.cbk", place / name, *out)[0] == 0
        with Image.open(place / name) as image:
            assert image.size == (96, 112)
            assert image.getexif()[0x010E] == "a face"
            assert 0x0112 not in image.getexif()


@pytest.mark.parametrize("target", ["--size", "--bpp"])
def test_a_size_is_not_exceeded(run, place, options, weights, photo, target):
    sizes = [len(weight_files.load("factorized", q, folder=weights).encode(photo)) for q in (1, 2, 3, 4)]
    for limit, expected in ((sizes[2] + 3, sizes[2]), (sizes[3], sizes[3]), (10**6, sizes[3])):
        value = limit if target == "--size" else (limit + 0.5) * 8 / (112 * 96)
        status, _, said = run("encode", place / "in" / "a.png", *options, "--force", target, value)
        assert (status, (place / "in" / "a.cbk").stat().st_size) == (0, expected)
        assert ("no quality comes nearer" in said) == (expected < 0.99 * limit)
    too_small = 20 if target == "--size" else 0.01
    assert_refused(run("encode", place / "in" / "a.png", *options, "--force", target, too_small), f"{sizes[0]:,}")


def test_a_psnr_is_reached(run, place, options, weights, photo):
    codecs = [weight_files.load("factorized", q, folder=weights) for q in (1, 2, 3, 4)]
    on = targets.Rates("factorized", folder=weights).on(photo)
    values = [on.psnr(1000 * q, on.encode(1000 * q)) for q in (1, 2, 3, 4)]
    assert run("encode", place / "in" / "a.png", *options, "--psnr", (values[0] + values[1]) / 2)[::2] == (0, "")
    assert (place / "in" / "a.cbk").read_bytes() == codecs[1].encode(photo)
    assert_refused(run("encode", place / "in" / "a.png", *options, "--force", "--psnr", 70), "the highest has")


class Smooth:
    """A picture at every quality: sizes grow with a bend and a step now and then."""

    qualities = range(5001)

    def __init__(self):
        self.encoded = []

    def encode(self, quality: int) -> bytes:
        self.encoded.append(quality)
        return bytes(int(4000 * math.exp(quality / 1500 + (quality / 5000) ** 3) + quality % 7))

    def psnr(self, quality: int, data: bytes) -> float:
        return 25 + 12 * (quality / 5000) ** 0.8


class Few:
    """A picture at four rates whose sizes and errors do not rise with them, as of ae-resnet18."""

    qualities = (1000, 2000, 4000, 10_000)
    sizes, psnrs = (4301, 1492, 10_019, 7213), (24.11, 23.08, 24.67, 24.20)

    def encode(self, quality: int) -> bytes:
        return bytes(self.sizes[self.qualities.index(quality)])

    def psnr(self, quality: int, data: bytes) -> float:
        return self.psnrs[self.qualities.index(quality)]


def test_of_few_rates_the_best_is_taken_in_whatever_order_they_lie():
    assert [len(targets.smallest_reaching(Few(), psnr)) for psnr in (20, 23.5, 24.15, 24.5)] == [
        1492,
        4301,
        7213,
        10_019,
    ]
    assert [len(targets.largest_within(Few(), size)) for size in (1500, 5000, 8000, 99_999)] == [
        1492,
        4301,
        7213,
        10_019,
    ]
    with pytest.raises(Unsupported, match="the lowest needs 1,492"):
        targets.largest_within(Few(), 1000)


@pytest.mark.parametrize("size", [4100, 9_999, 30_000, 77_777, 280_000])
def test_sizes_are_met_within_a_percent(size):
    on = Smooth()
    assert 0.99 * size <= len(targets.largest_within(on, size)) <= size
    assert len(on.encoded) <= 14


def test_psnrs_are_met_closely():
    for psnr in np.linspace(25.5, 36.9, 7):
        on = Smooth()
        data = targets.smallest_reaching(on, psnr)
        assert psnr <= on.psnr(on.encoded[-1], data) <= psnr + 0.05
        assert len(on.encoded) <= 14
    with pytest.raises(Unsupported, match="No quality reaches 40 dB"):
        targets.smallest_reaching(Smooth(), 40)


def test_presets_and_qualities_as_they_are_asked_for(place, weights):
    """A search goes by the rates of its own preset; a whole quality may be a float."""
    folder = place / "two"
    folder.mkdir()
    for preset, quality in (("compact", 1), ("tiny", 3)):
        shutil.copy(weights / "factorized-tiny-q3.safetensors", folder / f"factorized-{preset}-q{quality}.safetensors")
    assert list(targets.Rates("factorized", "tiny", folder).qualities) == [3000]
    assert weight_files.load("factorized", 3.0, folder=weights).quality == 3


def test_a_table_of_its_own_is_that_of_one_file(run, place, ae_weights):
    state = ["--model", "ae-strided", "--lossless", "huffman", "--state", place / "t.json", "--weights", ae_weights]
    assert_refused(run("encode", place / "in" / "a.png", *state, "--size", 3000), "many tables")


def test_exif_that_a_tiff_cannot_hold_is_left_out(run, place, options, weights, photo):
    """Directories and tags that tell how a file is stored, as cameras write them; and EXIF that is none."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0103], exif[0x0132] = "a face", 7, "2026:11:30 12:00:00"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:30 12:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    for name, given in (("x.jpg", exif), ("y.jpg", b"Exif\0\0none at all")):
        Image.fromarray(photo).save(place / name, exif=given)
        assert run("encode", place / name, *options, "--metadata", "keep")[0] == 0
        tiff = place / name.replace("jpg", "tif")
        assert run("decode", place / name.replace("jpg", "cbk"), tiff, "--weights", weights)[::2] == (0, "")
        with Image.open(tiff) as image:
            assert image.getexif().get(0x010E) == (None if name == "y.jpg" else "a face")
            image.load()


def test_a_picture_is_turned_though_its_exif_cannot_be_written_anew(place, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 16)).save(place / "turned.jpg", exif=exif)
    monkeypatch.setattr(Image.Exif, "tobytes", lambda exif: 1 / 0)
    picture = images.read_picture(place / "turned.jpg", keep=True)
    assert picture.pixels.shape == (32, 16, 3)
    assert picture.notes == ["rotated as its EXIF says", "its EXIF is damaged and left out"]


def test_damaged_exif_does_not_cost_the_picture(run, place, options, photo):
    Image.fromarray(photo).save(place / "x.png", exif=b"Exif\0\0none at all")
    status, _, said = run("encode", place / "x.png", *options)
    assert (status, "EXIF is damaged and left out" in said) == (0, True)


def test_a_small_picture_among_others_does_not_stop_them(run, place, options):
    Image.new("RGB", (1, 1)).save(place / "dot.png")
    status, out, said = run("encode", place / "dot.png", place / "in" / "a.png", *options, "--out", place, "--bpp", 2)
    assert (status, out.count("a.cbk")) == (1, 1)
    assert "dot.png: No quality makes a file of 0 bytes or less" in said
    assert_refused(run("encode", place / "in" / "a.png", *options[:2], "--quality", "inf"), "not a quality")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_files_are_written_though_nobody_reads_of_it(run, place, options, monkeypatch):
    paths = [place / "in" / "a.png", place / "in" / "b.jpg"]
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert run("encode", *paths, *options, "--out", place / "out")[0] == 0
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a.cbk", "b.cbk"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_all_files_are_tried_though_nobody_reads_the_notes(run, place, options, monkeypatch):
    Image.new("RGBA", (32, 32)).save(place / "in" / "noted.png")
    paths = [place / "bad.png", place / "in" / "noted.png", place / "in" / "a.png"]
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        assert run("encode", *paths, *options, "--out", place / "out")[0] == 1
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a.cbk", "noted.cbk"]


def test_a_pipe_with_a_name_is_an_output(run, place, options):
    assert run("encode", place / "in" / "a.png", *options)[0] == 0
    read, write = os.pipe()
    status = run("encode", place / "in" / "a.png", f"/dev/fd/{write}", *options)[0]
    os.close(write)
    with open(read, "rb") as pipe:
        assert (status, pipe.read()) == (0, (place / "in" / "a.cbk").read_bytes())


def test_a_file_that_is_called_dash(run, place, options, weights, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copy(place / "in" / "a.png", "-")
    assert run("encode", "./-", "a.cbk", *options)[0] == 0
    os.replace("a.cbk", "-")
    assert "factorized" in run("info", "./-")[1]
    assert_refused(run("evaluate", *options, "--quality", 2, "--csv", "-"), "a file of its own")


def test_nothing_is_lost_on_a_closed_stdout(run, place, options, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert_refused(run("encode", place / "in" / "a.png", "-", *options), "it is closed")


def test_what_appears_meanwhile_is_not_replaced(run, place, options, monkeypatch):
    def encode(on, quality, encode=targets.OnPicture.encode):
        (place / "in" / "a.cbk").write_bytes(b"another")
        return encode(on, quality)

    monkeypatch.setattr(targets.OnPicture, "encode", encode)
    assert_refused(run("encode", place / "in" / "a.png", *options), "--force replaces it")
    assert (place / "in" / "a.cbk").read_bytes() == b"another"


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_many_files_are_interrupted_at_once(place):
    """A search for two files would take minutes."""
    paths = [place / "in" / "a.png", place / "in" / "b.jpg"]
    command = [sys.executable, "-m", "codec_lib", "encode", *paths, "--effort", "9", "--jobs", "2", "--out", place]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "Interrupted." in said) == (130, True)
    assert not list(place.glob("*.cbk"))


def test_a_link_to_another_input_is_not_written_through(run, place, options):
    shutil.copy(place / "in" / "a.png", place / "one.png")
    (place / "two.cbk").symlink_to("one.png")
    shutil.copy(place / "in" / "a.png", place / "two.png")
    before = (place / "one.png").read_bytes()
    assert_refused(run("encode", place / "one.png", place / "two.png", *options, "--force"), "one of the inputs")
    assert (place / "one.png").read_bytes() == before


def test_a_folder_that_is_not_there_is_named(run, place, options):
    assert_refused(run("encode", place / "nowhere" / "a.png", *options), "its folder does not exist")


def test_a_flat_picture_reaches_any_psnr(run, place, options):
    Image.new("RGB", (1, 1), (127, 120, 100)).save(place / "dot.png")
    assert run("encode", place / "dot.png", *options, "--psnr", 10)[0] == 0
    assert run("encode", place / "dot.png", *options, "--psnr", 99, "--force")[0] in (0, 2)


@pytest.mark.parametrize(
    "card", ["[" * 100_000, "7", '{"before": 7}', '{"before": [7]}', '{"lmbdas": [%s, 1]}' % (400 * "9")]
)
def test_models_names_a_damaged_card_and_passes_over_a_dead_link(run, tmp_path, card):
    (tmp_path / "hyperprior-tiny-q2.safetensors").symlink_to("nowhere")
    assert run("models", "--weights", tmp_path)[0] == 0
    (tmp_path / "hyperprior-compact.safetensors").write_bytes(b"")
    (tmp_path / "hyperprior-compact.json").write_text(card)
    assert_refused(run("models", "--weights", tmp_path), "hyperprior-compact.json cannot be read")


def test_the_commands_of_the_readme_do_not_write_over_each_other():
    lines = [line.split("#")[0].split() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    encoding = [line for line in lines if "encode" in line[1:4] and line[0] in ("codecbook", "python")]
    named = [
        next((name for name in line if name.endswith(".cbk")), "photo.cbk") for line in encoding if "--out" not in line
    ]
    assert len(named) == 3 and len(set(named)) == 3
