"""The command line: round trips, and one sentence for everything that can go wrong."""

import argparse
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import assert_refused, python, snapshot
from PIL import Image

from codec_lib import datasets, files, images, tables
from codec_lib.codecs import autoencoder_codec, freezing
from codec_lib.coding import range_coding
from codec_lib.coding.container import unpack
from codec_lib.commands import options, parser
from codec_lib.networks import models
from codec_lib.places import ROOT
from codec_lib.training import checkpoints, initialisation
from codec_lib.weights import weight_files

COMMANDS = ("encode", "decode", "info", "models", "train", "evaluate", "data")
TABLE = "lmbda,num_pixels,bits,bpp,psnr,time(enc),time(dec),ms_ssim,bpp_estimated"

FINE = ["--model", "factorized", "--quality", 4]


@pytest.fixture(scope="module")
def made(photo, tiny_codecs) -> dict[str, bytes]:
    """What the files of `place` hold."""
    saved = io.BytesIO()
    Image.fromarray(photo).save(saved, "png")
    png, cbk, old = saved.getvalue(), tiny_codecs[1].encode(photo), b"what was here before"
    middle = len(cbk) // 2
    return {
        "photo.png": png,
        "cut.png": png[: len(png) // 2],
        "text.png": b"not a picture",
        "empty": b"",
        "photo.cbk": cbk,
        "flipped.cbk": cbk[:middle] + bytes([cbk[middle] ^ 4]) + cbk[middle + 1 :],
        "long.cbk": cbk + b"!",
        "other_weights.cbk": freezing.freeze(models.make("factorized", "tiny", 0.013), "tiny", 0.013).encode(photo),
        "pictures/photo.png": png,
        "old": old,
        "old.cbk": old,
        "old.png": old,
    }


@pytest.fixture
def place(tmp_path, made) -> Path:
    """A folder with good and bad files, and an older output."""
    for name in ("folder", "pictures"):
        (tmp_path / name).mkdir()
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


# --- round trips ----------------------------------------------------------------------------


@pytest.mark.parametrize("coder", options.CODERS)
@pytest.mark.parametrize("quality", [1, 4])
def test_encode_info_decode(run, place, weights, tiny_codecs, photo, coder, quality):
    file, png = place / "out.cbk", place / "out.png"
    status, out, err = run(
        "encode",
        place / "photo.png",
        file,
        "--model",
        "factorized",
        "--quality",
        quality,
        "--coder",
        coder,
        "--weights",
        weights,
    )
    size = file.stat().st_size
    assert (status, err) == (0, "")
    assert out == f"{file}: 112x96, {size:,} bytes, {8 * size / (112 * 96):.3f} bpp\n"
    assert file.read_bytes() == tiny_codecs[quality - 1].encode(photo, coder)

    status, out, err = run("info", file, "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    known = {"model": "factorized", "quality": quality, "coder": coder, "width": 112, "height": 96, "bytes": size}
    assert facts == facts | known
    assert facts["container"] + sum(facts["streams"]) == size
    assert facts["bpp"] == round(8 * size / (112 * 96), 4)
    assert facts["weights"] == tiny_codecs[quality - 1].digest[:8].hex()

    status, text, err = run("info", file)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in text.splitlines()] == list(facts)

    status, out, err = run("decode", file, png, "--weights", weights)
    assert (status, out, err) == (0, f"{png}: 112x96\n", "")
    with Image.open(png) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(picture), tiny_codecs[quality - 1].estimate(photo)[0])


def test_every_model_encodes_and_decodes(run, place, weights, pair, photo):
    frozen, coder = pair
    file, png = place / "out.cbk", place / "out.png"
    options = ["--model", frozen.model, "--quality", 3, "--coder", coder, "--weights", weights]
    assert run("encode", place / "photo.png", file, *options)[::2] == (0, "")
    assert file.read_bytes() == frozen.encode(photo, coder)
    status, out, err = run("info", file, "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert (facts["model"], facts["quality"], facts["coder"]) == (frozen.model, 3, coder)
    assert len(facts["streams"]) == (1 if frozen.model == "factorized" else 2)
    assert facts["container"] + sum(facts["streams"]) == facts["bytes"] == file.stat().st_size
    status, out, err = run("info", file)
    (line,) = [line for line in out.splitlines() if line.startswith("streams")]
    assert line.split()[1:] == [f"{length:,}" for length in facts["streams"]]
    assert run("decode", file, png, "--weights", weights) == (0, f"{png}: 112x96\n", "")
    np.testing.assert_array_equal(images.read_image(png)[0], frozen.estimate(photo)[0])


def test_processes_of_their_own(run, place, weights, tiny_codecs, photo):
    name = os.fsdecode(b"\xff.cbk")  # a file's name may be no text
    encoded = python("encode", "photo.png", name, "--model", "factorized", "--weights", weights, cwd=place)
    assert (encoded.returncode, encoded.stderr) == (0, "")
    assert encoded.stdout.startswith(r"\udcff.cbk: 112x96, ")
    png = place / "out.png"
    assert run("decode", place / name, png, "--weights", weights) == (0, f"{png}: 112x96\n", "")
    np.testing.assert_array_equal(images.read_image(png)[0], tiny_codecs[1].estimate(photo)[0])
    refused = python("decode", "cut.png", "new.png", cwd=place)
    assert_refused((refused.returncode, refused.stdout, refused.stderr), "not a .cbk file")
    assert not (place / "new.png").exists()


def test_the_default_quality_is_2(run, place, weights):
    assert run(*ENCODE.replace("old", "out").format(d=place, w=weights).split())[0] == 0
    assert unpack((place / "out.cbk").read_bytes()).quality == 2000


def test_an_older_output_is_replaced(run, place, weights):
    assert run(*ENCODE.format(d=place, w=weights).split())[0] == 0
    assert unpack((place / "old.cbk").read_bytes()).width == 112
    assert run("decode", place / "photo.cbk", place / "old.png", "--force", "--weights", weights)[0] == 0
    assert images.read_image(place / "old.png")[0].shape == (96, 112, 3)


def make_picture(kind: str, photo: np.ndarray) -> tuple[Image.Image, str, dict]:
    """A picture of a kind, the suffix of its file, and options to save it with."""
    rgb = Image.fromarray(photo)
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "alpha": (alpha, "png", {}),
        "grey": (rgb.convert("L"), "png", {}),
        "grey with alpha": (rgb.convert("LA"), "png", {}),
        "bilevel": (rgb.convert("1"), "png", {}),
        "palette": (rgb.quantize(16), "png", {}),
        "transparent palette": (rgb.quantize(16), "gif", {"transparency": 3}),
        "CMYK": (rgb.convert("CMYK"), "jpg", {}),
        "EXIF": (rgb, "jpg", {"exif": exif}),
        "16 bits": (Image.fromarray(photo[..., 1].astype(np.uint16) * 257), "png", {}),
        "1x1": (rgb.crop((0, 0, 1, 1)), "png", {}),
        "1x50": (rgb.crop((0, 0, 1, 50)), "png", {}),
        "odd": (rgb.crop((0, 0, 111, 17)), "bmp", {}),
        "animation": (rgb, "gif", {"save_all": True, "append_images": [rgb.rotate(180)]}),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        ("alpha", ["transparency"]), ("grey", []), ("grey with alpha", ["transparency"]), ("bilevel", []),
        ("palette", []), ("transparent palette", ["transparency"]), ("CMYK", []), ("EXIF", ["rotated"]),
        ("16 bits", ["8 bits"]), ("1x1", []), ("1x50", []), ("odd", []), ("animation", ["first of 2 frames"]),
    ],
)  # fmt: skip
def test_every_kind_of_picture_comes_out_rgb_at_its_size(run, tmp_path, weights, tiny_codecs, photo, kind, notes):
    picture, suffix, options = make_picture(kind, photo)
    source = tmp_path / f"in.{suffix}"
    picture.save(source, **options)
    status, _, err = run(
        "encode", source, tmp_path / "a.cbk", "--model", "factorized", "--quality", 4, "--weights", weights
    )
    assert status == 0
    lines = err.splitlines()
    assert len(lines) == len(notes)
    for line, note in zip(lines, notes, strict=True):
        assert line.startswith(f"codec_lib: {source}: ")
        assert note in line
    assert run("decode", tmp_path / "a.cbk", tmp_path / "a.png", "--weights", weights)[0] == 0
    with Image.open(tmp_path / "a.png") as decoded:
        assert decoded.mode == "RGB"
        assert decoded.size == (picture.size[::-1] if kind == "EXIF" else picture.size)
        expected = tiny_codecs[3].estimate(images.read_image(source)[0])[0]
        np.testing.assert_array_equal(np.asarray(decoded), expected)


# --- what is refused ------------------------------------------------------------------------

ENCODE = "encode {d}/photo.png {d}/old.cbk --force --weights {w} --model factorized"
DECODE = "decode {d}/photo.cbk {d}/old.png --force --weights {w}"
BAD = {
    "no arguments": ("", "COMMAND"),
    "unknown command": ("compress {d}/photo.png {d}/old.cbk", "compress"),
    "unknown option": (ENCODE + " --fast", "--fast"),
    "missing input": ("encode {d}/absent.png {d}/old.cbk --force --weights {w}", "No such file"),
    "input is a folder": ("encode {d}/folder {d}/old.cbk --force --weights {w}", "--out DIR"),
    "text for a picture": ("encode {d}/text.png {d}/old.cbk --force --weights {w}", "not a picture"),
    "empty picture": ("encode {d}/empty {d}/old.cbk --force --weights {w}", "not a picture"),
    "cut picture": ("encode {d}/cut.png {d}/old.cbk --force --weights {w}", "cut.png"),
    "file for a picture": ("encode {d}/photo.cbk {d}/old.cbk --force --weights {w}", "not a picture"),
    "unknown model": (ENCODE + " --model jpeg", "'jpeg'; choose from factorized"),
    "quality 9": (ENCODE + " --quality 9", "quality 9; choose from 0 to 5"),
    "quality 0": (ENCODE + " --quality 0", "quality 0"),
    "quality -1": (ENCODE + " --quality -1", "quality -1"),
    "quality x": (ENCODE + " --quality x", "'x'"),
    "quality 1.5": (ENCODE + " --quality 1.5", "no weights for factorized at quality 1.5"),
    "unknown coder": (ENCODE + " --coder zip", "'zip'"),
    "torchac for the joint model": (ENCODE + " --model joint --quality 3 --coder torchac", "use --coder constriction"),
    "quality without weights": (ENCODE + " --model hyperprior --quality 4", "no weights for hyperprior at quality 4"),
    "unknown preset": (ENCODE + " --preset huge", "'huge'"),
    "preset without weights": (ENCODE + " --preset paper", "preset paper"),
    "no folder of weights": ("encode {d}/photo.png {d}/old.cbk --force --weights {d}/absent", "no weights"),
    "no weights in the folder": ("encode {d}/photo.png {d}/old.cbk --force --weights {d}/folder", "no weights"),
    "output folder absent": ("encode {d}/photo.png {d}/absent/out.cbk --weights {w}", "output folder"),
    "output is a folder": ("encode {d}/photo.png {d}/folder --weights {w}", "--out DIR"),
    "output is the input": ("encode {d}/photo.cbk {d}/../{n}/photo.cbk --force", "the input itself"),
    "output below a file": ("encode {d}/photo.png {d}/old/out.cbk --weights {w}", "does not exist"),
    "decode: output folder absent": ("decode {d}/photo.cbk {d}/absent/out.png --weights {w}", "output folder"),
    "decode: output is a folder": ("decode {d}/photo.cbk {d}/folder --weights {w}", "it is a folder"),
    "decode: the same twice": ("decode {d}/photo.cbk {d}/photo.cbk --weights {w}", "both become"),
    "decode: missing input": ("decode {d}/absent {d}/old.png --force --weights {w}", "No such file"),
    "decode: input is a folder": ("decode {d}/folder {d}/old.png --force --weights {w}", "--out DIR"),
    "decode: a picture": ("decode {d}/photo.png {d}/old.png --force --weights {w}", "not a .cbk file"),
    "decode: an empty file": ("decode {d}/empty {d}/old.png --force --weights {w}", "not a .cbk file"),
    "decode: a flipped bit": ("decode {d}/flipped.cbk {d}/old.png --force --weights {w}", "damaged"),
    "decode: a byte too many": ("decode {d}/long.cbk {d}/old.png --force --weights {w}", "more than its header says"),
    "decode: other weights": ("decode {d}/other_weights.cbk {d}/old.png --force --weights {w}", "not in"),
    "decode: no weights": ("decode {d}/photo.cbk {d}/old.png --force --weights {d}/absent", "no weights"),
    "info: missing input": ("info {d}/absent", "No such file"),
    "info: a picture": ("info {d}/photo.png", "not a .cbk file"),
    "info: a flipped bit": ("info {d}/flipped.cbk --json", "damaged"),
    "train: no data set": (
        "train --model factorized --lmbda 0.01 --dataset {d}/absent --out {d}/run --steps 1",
        "absent",
    ),
    "train: an empty folder": (
        "train --model factorized --lmbda 0.01 --dataset {d}/folder --out {d}/run --steps 1",
        "no pictures",
    ),
    "train: no lmbda": ("train --model factorized --out {d}/run", "--lmbda"),
    "train: lmbda x": ("train --model factorized --lmbda x --out {d}/run", "'x'"),
    "train: lmbda 0": ("train --model factorized --lmbda 0 --out {d}/run", "above zero"),
    "train: no output": ("train --model factorized --lmbda 0.01", "--out"),
    "train: unknown model": ("train --model jpeg --lmbda 0.01 --out {d}/run", "'jpeg'"),
    "train: unknown preset": ("train --model factorized --preset huge --lmbda 0.01 --out {d}/run", "'huge'"),
    "train: two lengths": ("train --model factorized --lmbda 0.01 --out {d}/run --steps 1 --epochs 1", "not allowed"),
    "train: no steps": ("train --model factorized --lmbda 0.01 --out {d}/run --steps 0", "above zero"),
    "train: negative minutes": ("train --model factorized --lmbda 0.01 --out {d}/run --minutes -1", "above zero"),
    "train: odd crop": ("train --model factorized --lmbda 0.01 --out {d}/run --crop 100", "multiple of 16"),
    "train: on Kodak": ("train --model factorized --lmbda 0.01 --out {d}/run --dataset kodak", "testing only"),
    "train: nothing to resume": ("train --model factorized --lmbda 0.01 --out {d}/run --resume", "no checkpoint"),
    "train: start from no weights": (
        "train --model factorized --lmbda 0.01 --out {d}/run --start {d}/photo.png",
        "cannot be read",
    ),
    "train: start from other sizes": (
        "train --model factorized --lmbda 0.01 --out {d}/run --start {w}/factorized-tiny-q1.safetensors",
        "other sizes",
    ),
    "train: start another model from other sizes": (
        "train --model hyperprior --lmbda 0.01 --out {d}/run --start {w}/factorized-tiny-q1.safetensors",
        "other sizes",
    ),
    "evaluate: an empty folder": ("evaluate --dataset {d}/folder --weights {w} --csv {d}/old --quiet", "no pictures"),
    "evaluate: no data set": ("evaluate --dataset {d}/absent --weights {w} --csv {d}/old --quiet", "absent"),
    "evaluate: no picture": ("evaluate --dataset {d} --weights {w} --csv {d}/old --quiet", "cut.png"),
    "evaluate: quality 9": ("evaluate --quality 1 9 --weights {w} --csv {d}/old --quiet", "quality 9"),
    "evaluate: unknown model": ("evaluate --model jpeg --weights {w} --csv {d}/old --quiet", "'jpeg'"),
    "evaluate: no weights": ("evaluate --weights {d}/folder --csv {d}/old --quiet", "no weights"),
    "evaluate: a quality without weights": (
        "evaluate --model joint --quality 1 2 --weights {w} --csv {d}/old --quiet",
        "no weights for joint at quality 2",
    ),
    "evaluate: torchac for the joint model": (
        "evaluate --model joint --quality 1 --coder torchac --dataset {d}/pictures --weights {w} --csv {d}/old --quiet",
        "use --coder constriction",
    ),
    "evaluate: output folder absent": ("evaluate --weights {w} --csv {d}/absent/a.csv --quiet", "output folder"),
    "data: unknown set": ("data list imagenet", "no data set 'imagenet'"),
    "data: unknown action": ("data drop", "'drop'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_costs_one_sentence_and_nothing_else(run, place, weights, case):
    arguments, word = BAD[case]
    before = snapshot(place)
    words = [a.format(d=place, n=place.name, w=weights) for a in arguments.split()]
    assert_refused(run(*words), word)
    assert snapshot(place) == before


def test_a_file_cut_anywhere(run, place, weights):
    data = (place / "photo.cbk").read_bytes()
    before = snapshot(place)
    for length in (1, 7, 8, 20, 36, 40, 41, 60, len(data) // 2, len(data) - 1):
        (place / "photo.cbk").write_bytes(data[:length])
        assert_refused(run(*DECODE.format(d=place, w=weights).split()))
        assert_refused(run("info", place / "photo.cbk"))
    (place / "photo.cbk").write_bytes(data)
    assert snapshot(place) == before


def test_bad_input_to_a_picture_that_needs_a_note_costs_one_line_too(run, place, photo):
    picture, suffix, _ = make_picture("alpha", photo)
    picture.save(place / f"alpha.{suffix}")
    assert_refused(run("encode", place / "alpha.png", place / "new.cbk", "--weights", place / "folder"), "no weights")


def test_a_line_break_in_a_name_does_not_break_the_sentence(run, place, weights):
    assert_refused(run("encode", place / "two\nlines.png", place / "new.cbk", "--weights", weights), "two lines.png")
    assert_refused(run("encode", place / "photo.png", "--two\nlines"), "two lines")


@pytest.mark.parametrize("command", [ENCODE, DECODE])
@pytest.mark.parametrize("output", ["old", "new"])
def test_a_full_disk_while_writing(run, place, weights, monkeypatch, command, output):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    before = snapshot(place)
    words = command.replace("{d}/old.", "{d}/" + output + ".").format(d=place, w=weights).split()
    assert_refused(run(*words), "No space left")
    assert snapshot(place) == before


@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_a_full_device(run, place, weights, command):
    words = re.sub(r"{d}/old\S*", "/dev/full", command).format(d=place, w=weights).split()
    assert_refused(run(*words), "Cannot write /dev/full")


def test_nowhere_to_print(place):
    with open("/dev/full", "w") as full:
        done = python("info", place / "photo.cbk", stdout=full)
    assert (done.returncode, done.stderr) == (2, "codec_lib: No space left on device.\n")


def test_the_reader_of_the_output_has_gone(place):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = python("info", place / "photo.cbk", stdout=pipe)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 2, "There is not enough memory for this."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), 2, "There is not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 2, "There is not enough memory for this."),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (KeyboardInterrupt("Saved at step 3."), 130, "Interrupted. Saved at step 3.\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 2, "Permission denied: /a/b."),
    ],
    ids=["memory", "torch's memory", "the GPU's memory", "Ctrl-C", "Ctrl-C while training", "no permission"],
)
def test_what_the_system_refuses(run, place, monkeypatch, error, status, said):
    def refuse(*_):
        raise error

    monkeypatch.setattr(files, "read_bytes", refuse)
    before = snapshot(place)
    answer = run("decode", place / "photo.cbk", place / "new.png")
    assert answer[:2] == (status, "")
    assert answer[2].startswith(f"codec_lib: {said}")
    assert answer[2].count("\n") == 1
    assert snapshot(place) == before


def test_a_bug_is_not_hidden(run, place, monkeypatch):
    monkeypatch.setattr(files, "read_bytes", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("info", place / "photo.cbk")
    monkeypatch.setattr(files, "read_bytes", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent"):
        run("info", place / "photo.cbk")


# --- help -----------------------------------------------------------------------------------


def parsers() -> dict[str, argparse.ArgumentParser]:
    subcommands = next(a for a in parser.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(subcommands.choices)


def test_the_commands_are_the_promised_ones(run):
    assert tuple(parsers()) == COMMANDS
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_default(run, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    assert "default: None" not in out
    assert "default: False" not in out
    for action in parsers()[name]._actions:
        assert all(option in out for option in action.option_strings)
        nothing = action.default is None or action.default is False or action.default == argparse.SUPPRESS
        assert (f"(default: {action.default})" in out) != nothing


def test_help_does_not_wait_for_torch():
    code = "import sys; from codec_lib.commands.parser import parser; parser().format_help(); "
    code += "sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_what_help_knows_without_importing_is_right():
    assert tuple(range_coding.CODERS) == options.CODERS
    assert autoencoder_codec.CODERS[:2] == options.LOSSLESS


# --- train, evaluate, data ------------------------------------------------------------------


TRAIN = "train --model factorized --preset tiny --batch-size 2 --crop 32 --precision float32 --quiet"


def test_train_then_use_the_weights(run, pictures, tmp_path, no_mirror, monkeypatch):
    monkeypatch.setattr(initialisation, "initialise", lambda *_: None)
    out = tmp_path / "run"
    options = [*TRAIN.split(), "--dataset", pictures, "--out", out]
    status, said, err = run(*options, "--lmbda", 0.0067, "--steps", 2)
    assert (status, err) == (0, "")
    name, _, made = said.rpartition(": ")
    assert name == str(out / "factorized-tiny-q1.safetensors")
    assert re.fullmatch(r"2 steps, \d+\.\d minutes\n", made)
    names = ["checkpoint.safetensors", "factorized-tiny-q1.json", "factorized-tiny-q1.safetensors", "log.csv"]
    assert sorted(p.name for p in out.iterdir()) == names

    before = snapshot(out)
    assert_refused(run(*options, "--lmbda", 0.0067, "--steps", 2), "--resume")
    assert_refused(run(*options, "--lmbda", 0.013, "--steps", 3, "--resume"), "another lmbda")
    assert snapshot(out) == before
    status, said, err = run(*options, "--lmbda", 0.0067, "--steps", 3, "--resume")
    assert (status, err) == (0, "")
    assert "3 steps" in said
    assert json.loads((out / names[1]).read_text())["length"] == "changed"  # no run of 3 steps ends alike

    second = [*TRAIN.split(), "--dataset", pictures, "--out", tmp_path / "second", "--start", out / names[2]]
    assert run(*second, "--lmbda", 0.013, "--epochs", 1)[0] == 0
    assert (tmp_path / "second" / "factorized-tiny-q2.safetensors").is_file()

    picture = pictures / "0.png"
    assert run("encode", picture, tmp_path / "a.cbk", "--model", "factorized", "--quality", 1, "--weights", out)[0] == 0
    assert run("decode", tmp_path / "a.cbk", tmp_path / "a.png", "--weights", out)[0] == 0
    assert images.read_image(tmp_path / "a.png")[0].shape == images.read_image(picture)[0].shape


SHORT = [*TRAIN.split()[3:], "--steps", 2]


@pytest.mark.parametrize("model", ["hyperprior", "joint", "checkerboard"])
def test_train_every_model(run, pictures, tmp_path, no_mirror, monkeypatch, model):
    monkeypatch.setattr(initialisation, "initialise", lambda *_: None)
    out = tmp_path / "run"
    status, said, err = run("train", "--model", model, "--lmbda", 0.013, *SHORT, "--dataset", pictures, "--out", out)
    assert (status, err) == (0, "")
    assert said.startswith(f"{out / model}-tiny-q2.safetensors: 2 steps, ")
    frozen = weight_files.load(model, 2, folder=out)
    assert (frozen.model, frozen.lmbda) == (model, 0.013)
    pixels = images.read_image(pictures / "0.png")[0]
    np.testing.assert_array_equal(frozen.decode(frozen.encode(pixels)), frozen.estimate(pixels)[0])


def transforms_of(path: Path) -> dict[str, torch.Tensor]:
    """g_a and g_s as they are stored."""
    return {name: t for name, t in weight_files.read(path).tensors.items() if name.startswith(("g_a", "g_s"))}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[bool]:
    assert one.keys() == other.keys()
    return [torch.equal(one[name], other[name]) for name in one]


def test_a_prior_alone_then_all_of_another_model(run, pictures, tmp_path, no_mirror, monkeypatch):
    """Each run begins from the one before, of another model; the cards tell of all of them."""
    monkeypatch.setattr(initialisation, "initialise", lambda *_: None)
    train = ["train", *SHORT, "--dataset", pictures, "--lmbda", 0.013]
    start, stored, cards = [], [], []
    for model, more in [("factorized", []), ("hyperprior", ["--prior-only"]), ("checkerboard", [])]:
        out = tmp_path / model
        assert run(*train, "--model", model, "--out", out, *start, *more)[::2] == (0, "")
        path = weight_files.path_of(model, "tiny", 2, out)
        start = ["--start", path]
        stored.append(transforms_of(path))
        cards.append(json.loads(path.with_suffix(".json").read_text()))
    assert all(same(stored[0], stored[1]))
    assert not all(same(stored[1], stored[2]))
    assert [card["prior_only"] for card in cards] == [False, True, False]
    names, digests = ([card[key] for card in cards] for key in ("name", "digest"))
    assert names == ["factorized-tiny-q2", "hyperprior-tiny-q2", "checkerboard-tiny-q2"]
    for k, card in enumerate(cards):
        assert card["started_from"] == (f"{names[k - 1]} {digests[k - 1][:16]}" if k else None)
        assert [stage["name"] for stage in card["before"]] == names[:k]
        assert [stage["digest"] for stage in card["before"]] == digests[:k]


def test_a_start_without_a_card_has_no_history(run, pictures, tmp_path, no_mirror, weights):
    start = weight_files.path_of("joint", "tiny", 3, weights)
    options = ["--model", "joint", "--lmbda", 0.025, "--dataset", pictures, "--out", tmp_path / "run"]
    assert run("train", *SHORT, *options, "--start", start)[::2] == (0, "")
    card = json.loads((tmp_path / "run" / "joint-tiny-q3.json").read_text())
    assert card["before"] == []
    assert card["started_from"] == f"joint-tiny-q3 {weight_files.read(start).digest[:8].hex()}"


def test_transforms_of_one_model_and_the_prior_of_another(run, pictures, tmp_path, no_mirror, weights):
    train = ["train", *SHORT, "--dataset", pictures, "--out", tmp_path / "run", "--model", "joint", "--lmbda", 0.025]
    start, transforms = (weight_files.path_of(name, "tiny", 3, weights) for name in ("joint", "hyperprior"))
    assert run(*train, "--prior-only", "--start", start, "--transforms", transforms)[::2] == (0, "")
    path = tmp_path / "run" / "joint-tiny-q3.safetensors"
    assert all(same(transforms_of(path), transforms_of(transforms)))
    before = snapshot(tmp_path / "run")
    for given in ([], ["--start", start], ["--start", start, "--transforms", start]):
        assert_refused(run(*train, "--prior-only", "--resume", *given), "The run to be resumed had")
    assert snapshot(tmp_path / "run") == before
    card = json.loads(path.with_suffix(".json").read_text())
    for key, origin in [("started_from", start), ("transforms", transforms)]:
        assert card[key] == f"{origin.stem} {weight_files.read(origin).digest[:8].hex()}"


@pytest.mark.parametrize(
    ("started", "sentence"),
    [
        (None, "--transforms needs --start, whose prior goes with them; autoencoders have none"),
        ("joint", "are for lmbda 0.0067, not 0.025"),
        ("hyperprior", "needs a --start that holds the prior of a joint model"),
    ],
)
def test_transforms_that_do_not_fit(run, pictures, tmp_path, no_mirror, weights, started, sentence):
    options = ["--model", "joint"]
    if started:
        options += ["--start", weight_files.path_of(started, "tiny", 3, weights)]
    train = ["train", *SHORT, "--dataset", pictures, "--out", tmp_path / "run", "--lmbda", 0.025, *options]
    status, said, err = run(*train, "--transforms", weight_files.path_of("hyperprior", "tiny", 1, weights))
    assert (status, said) == (2, "")
    assert sentence in err
    assert not (tmp_path / "run").exists()


def test_control_c_saves_and_says_so(pictures, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-W", "error", "-m", "codec_lib", *TRAIN.split(), "--dataset", str(pictures)]
    command += ["--lmbda", "0.013", "--minutes", "0.2", "--random-start", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    training = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (out / "log.csv").exists() and time.monotonic() < deadline:  # written after 3 seconds
            time.sleep(0.1)
        os.killpg(training.pid, signal.SIGINT)  # as a terminal does it: to the workers too
        _, err = training.communicate(timeout=120)
    finally:
        training.kill()
        training.wait()
    assert training.returncode == 130
    step = re.fullmatch(r"codec_lib: Interrupted\. Saved at step ([\d,]+); --resume goes on from there\.\n", err)
    assert step, err
    saved = checkpoints.read(out / "checkpoint.safetensors")
    assert saved["step"] == int(step[1].replace(",", "")) > 0
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint.safetensors", "log.csv"]


def test_evaluate(run, pictures, tmp_path, weights, tiny_codecs):
    table = tmp_path / "table.csv"
    options = ["--dataset", pictures, "--weights", weights, "--quiet"]
    status, out, err = run("evaluate", "--model", "factorized", "--quality", 1, 3, *options, "--csv", table)
    assert (status, err) == (0, "")
    header, *lines = table.read_text().splitlines()
    assert header == TABLE
    assert [line.split(",")[0] for line in lines] == ["0.0067", "0.025"]
    rows = [dict(zip(header.split(","), map(float, line.split(",")), strict=True)) for line in lines]
    paths = datasets.open_pictures(pictures)
    for row, quality in zip(rows, (1, 3), strict=True):
        sizes = [len(tiny_codecs[quality - 1].encode(images.read_image(path)[0])) for path in paths]
        assert row["bits"] == pytest.approx(8 * np.mean(sizes))
        assert row["num_pixels"] == pytest.approx(112 * np.mean([96, 80, 64]))

    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()]
    assert shown[0] == header.split(",")
    assert [line[0] for line in shown[2:]] == ["0.0067", "0.0250"]
    assert [float(line[3]) for line in shown[2:]] == pytest.approx([row["bpp"] for row in rows], abs=5e-4)


def test_evaluate_another_model_with_another_coder(run, pictures, tmp_path, weights, codecs):
    options = ["--model", "hyperprior", "--quality", 1, 3, "--coder", "torchac", "--dataset", pictures]
    status, _, err = run("evaluate", *options, "--weights", weights, "--quiet", "--csv", tmp_path / "table.csv")
    assert (status, err) == (0, "")
    header, low, high = (line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines())
    row = dict(zip(header, map(float, high), strict=True))
    sizes = [
        len(codecs["hyperprior"].encode(images.read_image(path)[0], "torchac"))
        for path in datasets.open_pictures(pictures)
    ]
    assert row["bits"] == pytest.approx(8 * np.mean(sizes))
    assert row["lmbda"] == 0.025
    lower = dict(zip(header, map(float, low), strict=True))
    assert lower["bits"] < row["bits"]
    assert lower["psnr"] < row["psnr"]


def test_effort_searches_in_encode_and_evaluate(run, pictures, tmp_path, weights, codecs):
    options = ["--model", "checkerboard", "--quality", 3, "--effort", 1, "--weights", weights]
    file, table = tmp_path / "0.cbk", tmp_path / "table.csv"
    assert run("encode", pictures / "0.png", file, *options)[0] == 0
    assert run("evaluate", *options, "--dataset", pictures, "--quiet", "--csv", table)[0] == 0
    found = [
        codecs["checkerboard"].encode(images.read_image(path)[0], effort=1) for path in datasets.open_pictures(pictures)
    ]
    assert file.read_bytes() == found[0]
    assert tables.read_csv(table)[0]["bits"] == pytest.approx(8 * np.mean([len(data) for data in found]))


@pytest.mark.parametrize("options", [["--effort", 10], ["--effort", -1], ["--model", "ae-strided", "--effort", 1]])
def test_efforts_that_there_are_not_are_refused(run, pictures, tmp_path, options):
    for command in (["encode", pictures / "0.png", tmp_path / "0.cbk"], ["evaluate", "--dataset", pictures]):
        status, out, err = run(*command, *options)
        assert (status, out) == (2, "")
        assert re.fullmatch(r"codec_lib: [A-Z][^\n]*effort[^\n]*\.\n", err)


def test_evaluate_measures_all_four_rates_by_default(run, pictures, weights):
    status, out, _ = run(
        "evaluate",
        "--model",
        "factorized",
        "--dataset",
        pictures,
        "--weights",
        weights,
        "--quiet",
        "--coder",
        "torchac",
    )
    assert status == 0
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["0.0067", "0.0130", "0.0250", "0.0483"]


def test_evaluate_on_a_full_disk(run, pictures, tmp_path, weights, monkeypatch):
    table = tmp_path / "table.csv"
    table.write_text("old")
    write = files.os.replace

    def full(source, target):
        if Path(target) == table:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    arguments = ["--quality", 1, "--dataset", pictures, "--weights", weights, "--quiet", "--csv", table]
    assert_refused(run("evaluate", *arguments), "No space left")
    assert table.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "table.csv"]


def test_data_list(run, no_mirror):
    status, out, err = run("data", "list")
    assert (status, err) == (0, "")
    embedded, kodak, photographs, train, more = out.splitlines()
    assert re.match(r"embedded +7 pictures .* here, /", embedded)
    assert re.match(r"kodak +24 pictures .* not complete on this machine", kodak)
    assert re.match(r"photographs +20 pictures .* not complete on this machine", photographs)
    assert re.match(r"train +1,277 pictures .* not complete on this machine", train)
    assert re.match(r"more +183 pictures .* not complete on this machine", more)
    assert run("data", "list", "embedded")[1] == embedded + "\n"


def test_data_verify(run, no_mirror, tmp_path, monkeypatch):
    assert run("data", "verify", "embedded") == (0, "embedded: 7 pictures, all present, all checksums right\n", "")
    assert_refused(run("data", "verify", "kodak"), "fetch kodak")
    monkeypatch.setenv("CODECBOOK_MIRROR", str(tmp_path))
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / "kodim01.png").write_bytes(b"another picture")
    assert_refused(run("data", "verify", "kodak"), "SHA-256")


def test_data_fetch_without_a_network(run, no_mirror, monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(datasets.pooch, "retrieve", no_network)
    assert_refused(run("data", "fetch", "kodak", "--quiet"), "CODECBOOK_MIRROR")
    assert_refused(run("evaluate", "--dataset", "kodak", "--weights", tmp_path, "--quiet"))
    assert list(tmp_path.rglob("*.png")) == []


def test_data_fetch_finds_what_is_there(run, no_mirror):
    assert run("data", "fetch", "embedded") == (0, "embedded: 7 pictures, all present, all checksums right\n", "")
