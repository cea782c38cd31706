"""The command line with autoencoders: round trips, tables in files of their own, training, and wrong combinations."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import assert_refused, python, snapshot
from PIL import Image

from codec_lib import datasets, files, images, tables
from codec_lib.coding.container import Container, pack, unpack
from codec_lib.commands.options import LOSSLESS
from codec_lib.networks.resnet18 import ResNet18
from codec_lib.registry import AUTOENCODERS
from codec_lib.training import checkpoints
from codec_lib.training.runs import Settings, make_model
from codec_lib.weights import weight_files


@pytest.fixture(scope="module")
def made(tmp_path_factory, photo, ae_codecs, tiny_codec) -> dict[str, bytes]:
    """What the files of `place` hold."""
    folder = tmp_path_factory.mktemp("made")
    Image.fromarray(photo).save(folder / "photo.png")
    strided = ae_codecs["ae-strided"]
    (folder / "inside.cbk").write_bytes(strided.encode(photo, "huffman"))
    (folder / "beside.cbk").write_bytes(strided.encode(photo, "huffman-file", folder / "table.json"))
    (folder / "model.cbk").write_bytes(tiny_codec.encode(photo))
    (folder / "cut.json").write_bytes((folder / "table.json").read_bytes()[:200])
    strided.encode(255 - photo[:30], "huffman-file", folder / "other.json")
    for name in ("old", "old.cbk", "old.png"):
        (folder / name).write_bytes(b"what was here before")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def place(tmp_path, made) -> Path:
    """A folder with a picture, files of three kinds, a table, and an older output."""
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    return tmp_path


# --- round trips ----------------------------------------------------------------------------


@pytest.mark.parametrize("lossless", LOSSLESS)
def test_encode_info_decode(run, place, ae_weights, ae_codec, photo, lossless):
    file, png = place / "out.cbk", place / "out.png"
    options = ["--model", ae_codec.model, "--bits", 4, "--lossless", lossless, "--weights", ae_weights]
    status, out, err = run("encode", place / "photo.png", file, *options)
    size = file.stat().st_size
    assert (status, err) == (0, "")
    assert out == f"{file}: 112x96, {size:,} bytes, {8 * size / (112 * 96):.3f} bpp\n"
    assert file.read_bytes() == ae_codec.encode(photo, lossless)

    status, out, err = run("info", file, "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert (facts["model"], facts["bits"], facts["coder"]) == (ae_codec.model, 4, lossless)
    assert facts["container"] + sum(facts["streams"]) == facts["bytes"] == size
    assert run("info", file)[::2] == (0, "")

    assert run("decode", file, png, "--weights", ae_weights) == (0, f"{png}: 112x96\n", "")
    np.testing.assert_array_equal(images.read_image(png)[0], ae_codec.estimate(photo)[0])


def test_the_default_is_adaptive_coding(run, place, ae_codecs, ae_weights, photo):
    encode = ["encode", place / "photo.png", place / "out.cbk", "--model", "ae-strided", "--weights", ae_weights]
    assert run(*encode, "--bits", 4)[0] == 0
    assert (place / "out.cbk").read_bytes() == ae_codecs["ae-strided"].encode(photo, "adaptive")


def test_a_table_in_a_file_of_its_own(place, ae_weights, ae_codecs, photo):
    """In two processes: nothing but the two files goes from one to the other."""
    options = ["--model", "ae-strided", "--bits", 4, "--lossless", "huffman", "--weights", ae_weights]
    encoded = python("encode", "photo.png", "out.cbk", "--state", "t.json", *options, cwd=place)
    assert (encoded.returncode, encoded.stderr) == (0, "")
    assert (place / "out.cbk").read_bytes() == (place / "beside.cbk").read_bytes()
    assert (place / "t.json").read_bytes() == (place / "table.json").read_bytes()
    decoded = python("decode", "out.cbk", "out.png", "--state", "t.json", "--weights", ae_weights, cwd=place)
    assert (decoded.returncode, decoded.stdout, decoded.stderr) == (0, "out.png: 112x96\n", "")
    np.testing.assert_array_equal(images.read_image(place / "out.png")[0], ae_codecs["ae-strided"].estimate(photo)[0])


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_every_autoencoder_can_have_its_table_beside_it(run, place, ae_codecs, ae_weights, photo, name):
    options = ["--model", name, "--bits", 4, "--lossless", "huffman", "--weights", ae_weights]
    table, file, png = place / "t.json", place / "out.cbk", place / "out.png"
    assert run("encode", place / "photo.png", file, "--state", table, *options)[::2] == (0, "")
    assert unpack(file.read_bytes()).coder == "huffman-file"
    assert run("decode", file, png, "--state", table, "--weights", ae_weights)[::2] == (0, "")
    np.testing.assert_array_equal(images.read_image(png)[0], ae_codecs[name].estimate(photo)[0])


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_no_table_is_left_of_a_file_that_cannot_be_written(run, place, ae_weights):
    options = ["--model", "ae-strided", "--bits", 4, "--lossless", "huffman", "--weights", ae_weights, "--force"]
    assert run("encode", place / "photo.png", "/dev/full", "--state", place / "t.json", *options)[0] == 2
    assert not (place / "t.json").exists()


# --- what is refused ------------------------------------------------------------------------

ENCODE = "encode {d}/photo.png {d}/old.cbk --force --weights {w} --model ae-strided --bits 4"
DECODE = "decode {d}/beside.cbk {d}/old.png --force --weights {w}"
HUFFMAN = ENCODE + " --lossless huffman"
TRAIN = "train --preset tiny --dataset {d}/folder --out {d}/run --steps 1"
EVALUATE = "evaluate --dataset {d}/folder --weights {w} --csv {d}/old --quiet"
BAD = {
    "a quality": (ENCODE.removesuffix("--bits 4") + "--quality 2", "no --quality; use --bits"),
    "a coder": (ENCODE + " --coder constriction", "no --coder; use --lossless"),
    "an unknown lossless coder": (ENCODE + " --lossless zip", "'zip'"),
    "a table's name for a lossless coder": (ENCODE + " --lossless huffman-file", "'huffman-file'"),
    "bits of a model": ("encode {d}/photo.png {d}/old.cbk --force --weights {w} --bits 2", "no --bits; use --quality"),
    "a model's lossless coder": (
        "encode {d}/photo.png {d}/old.cbk --force --weights {w} --model hyperprior --lossless adaptive",
        "no --lossless; use --coder",
    ),
    "3 bits": (ENCODE + " --bits 3", "ae-strided has 3 bits; choose from 1, 2, 4, 10"),
    "0 bits": (ENCODE + " --bits 0", "0 bits"),
    "x bits": (ENCODE + " --bits x", "'x'"),
    "two numbers of bits": (ENCODE + " --bits 1 4", "4"),
    "an unknown autoencoder": (ENCODE + " --model ae-other", "'ae-other'; choose from"),
    "an unknown preset": (ENCODE + " --preset huge", "'huge' of ae-strided; choose from compact, tiny"),
    "bits without weights": (ENCODE + " --bits 10", "no weights for ae-strided with 10 bits"),
    "a preset without weights": (ENCODE + " --preset compact", "in the preset compact"),
    "a table of adaptive coding": (ENCODE + " --lossless adaptive --state {d}/t.json", "--lossless huffman"),
    "a table of the default": (ENCODE + " --state {d}/t.json", "--lossless huffman"),
    "a table of a model": (
        "encode {d}/photo.png {d}/old.cbk --force --weights {w} --state {d}/t.json",
        "Only the table of --lossless huffman",
    ),
    "a table for a picture that is not there": (
        "encode {d}/absent.png {d}/old.cbk --force --weights {w} --model ae-strided --bits 4 --lossless huffman "
        "--state {d}/t.json",
        "No such file",
    ),
    "a table in no folder": (HUFFMAN + " --state {d}/absent/t.json", "output folder"),
    "a folder for a table": (HUFFMAN + " --state {d}/folder", "it is a folder"),
    "the picture for a table": (HUFFMAN + " --state {d}/photo.png", "photo.png"),
    "the output for a table": (HUFFMAN + " --state {d}/old.cbk", "cannot both be"),
    "the new output for a table": (
        "encode {d}/photo.png {d}/new.cbk --weights {w} --model ae-strided --bits 4 --lossless huffman "
        "--state {d}/folder/../new.cbk",
        "new",
    ),
    "decode: a table for a file that has it inside": (
        "decode {d}/inside.cbk {d}/old.png --force --weights {w} --state {d}/table.json",
        "inside.cbk needs no --state",
    ),
    "decode: a table for a model's file": (
        "decode {d}/model.cbk {d}/old.png --force --weights {m} --state {d}/table.json",
        "needs no --state",
    ),
    "decode: no table": ("decode {d}/beside.cbk {d}/old.png --force --weights {w}", "name it with --state"),
    "decode: a table that is not there": (
        "decode {d}/beside.cbk {d}/old.png --force --weights {w} --state {d}/absent.json",
        "absent.json",
    ),
    "decode: a table that is cut": (
        DECODE + " --state {d}/cut.json",
        "cut.json",
    ),
    "decode: another picture's table": (
        DECODE + " --state {d}/other.json",
        "tream",
    ),
    "decode: the output is the table": (
        "decode {d}/beside.cbk {d}/table.json --weights {w} --state {d}/table.json",
        "table.json",
    ),
    "decode: no weights": (
        "decode {d}/inside.cbk {d}/old.png --force --weights {d}/folder",
        "no weights for ae-strided",
    ),
    "train: no bits": (TRAIN + " --model ae-strided", "how many bits the quantiser of ae-strided has: --bits"),
    "train: 11 bits": (TRAIN + " --model ae-strided --bits 11", "has 11 bits; choose from 1, 2, 4, 10"),
    "train: 3 bits": (TRAIN + " --model ae-strided --bits 3", "has 3 bits; choose from 1, 2, 4, 10"),
    "train: rounding of noise": (
        TRAIN + " --model ae-vae --bits 4 --lmbda 0.01 --straight-through",
        "leave --straight",
    ),
    "train: a model without lmbda": (TRAIN + " --model hyperprior", "hyperprior cannot be trained without --lmbda"),
    "train: a variational one without lmbda": (TRAIN + " --model ae-vae --bits 4", "without --lmbda"),
    "train: a vector without lmbda": (TRAIN + " --model ae-vector --bits 4", "without --lmbda"),
    "train: bits of a model": (TRAIN + " --model factorized --lmbda 0.01 --bits 2", "leave --bits out"),
    "train: a model straight through": (
        TRAIN + " --model factorized --lmbda 0.01 --straight-through",
        "always rounds straight through",
    ),
    "train: a prior alone": (TRAIN + " --model ae-strided --bits 4 --prior-only", "no prior that could be trained"),
    "train: an unknown autoencoder": (TRAIN + " --model ae-other --lmbda 0.01", "'ae-other'"),
    "train: a preset of others": (TRAIN + " --model ae-strided --bits 4 --preset paper", "'paper' of ae-strided"),
    "train: a crop of less than a vector": (
        TRAIN + " --model ae-vector --bits 4 --lmbda 0.01 --crop 64",
        "multiple of 128",
    ),
    "train: start from another autoencoder": (
        TRAIN + " --model ae-maxpool --bits 4 --start {w}/ae-strided-tiny-q4.safetensors",
        "other sizes",
    ),
    "train: start from a model": (
        TRAIN + " --model ae-strided --bits 4 --start {m}/factorized-tiny-q3.safetensors",
        "other sizes",
    ),
    "train: start a model from an autoencoder": (
        TRAIN + " --model factorized --lmbda 0.01 --start {w}/ae-strided-tiny-q4.safetensors",
        "other sizes",
    ),
    "evaluate: a quality": (EVALUATE + " --model ae-strided --quality 2", "no --quality; use --bits"),
    "evaluate: a coder": (EVALUATE + " --model ae-strided --coder torchac", "no --coder; use --lossless"),
    "evaluate: bits of a model": (EVALUATE + " --bits 2", "no --bits; use --quality"),
    "evaluate: 3 bits": (EVALUATE + " --model ae-strided --bits 4 3", "3 bits"),
    "evaluate: bits without weights": (EVALUATE + " --model ae-vae --bits 4 10", "no weights for ae-vae with 10 bits"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_combination_costs_one_sentence_and_nothing_else(run, place, ae_weights, weights, case):
    arguments, word = BAD[case]
    before = snapshot(place)
    words = [a.format(d=place, w=ae_weights, m=weights) for a in arguments.split()]
    assert_refused(run(*words), word)
    assert snapshot(place) == before


def test_a_model_s_file_that_claims_a_table_is_refused(run, place, weights):
    """The coder's number is no secret; whoever forges it can make the checksum fit."""
    container = unpack((place / "model.cbk").read_bytes())
    fields = container.__dict__ | {"coder": "huffman-file"}
    (place / "model.cbk").write_bytes(pack(Container(**fields)))
    before = snapshot(place)
    decode = ["decode", place / "model.cbk", place / "old.png", "--force", "--weights", weights]
    assert_refused(run(*decode))
    assert_refused(run(*decode, "--state", place / "table.json"))
    assert snapshot(place) == before


@pytest.mark.parametrize("command", [HUFFMAN + " --state {d}/table.json", HUFFMAN, ENCODE])
def test_a_full_disk_while_writing(run, place, ae_weights, monkeypatch, command):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    before = snapshot(place)
    assert_refused(run(*command.format(d=place, w=ae_weights).split()), "No space left")
    assert snapshot(place) == before


# --- evaluate -------------------------------------------------------------------------------


def test_evaluate(run, pictures, tmp_path, ae_weights, ae_codecs):
    table, ae_codec = tmp_path / "table.csv", ae_codecs["ae-strided"]
    options = ["--model", "ae-strided", "--bits", 4, "--dataset", pictures, "--weights", ae_weights, "--quiet"]
    for more, coder in (([], "adaptive"), (["--lossless", "huffman"], "huffman")):
        assert run("evaluate", *options, *more, "--csv", table)[::2] == (0, "")
        (row,) = tables.read_csv(table)
        assert list(row)[:3] == ["B", "num_pixels", "bits"]
        sizes = [len(ae_codec.encode(images.read_image(p)[0], coder)) for p in datasets.open_pictures(pictures)]
        assert (float(row["B"]), float(row["bits"])) == (4, pytest.approx(8 * np.mean(sizes)))


def test_evaluate_measures_all_that_there_are_by_default(run, pictures, tmp_path, ae_weights):
    options = ["--dataset", pictures, "--weights", ae_weights, "--quiet"]
    status, out, _ = run("evaluate", "--model", "ae-strided", *options)
    assert status == 0
    assert [line.split()[1] for line in out.splitlines()[2:]] == ["1", "4"]
    assert_refused(run("evaluate", "--model", "ae-strided", *options[:2], "--weights", tmp_path), "no weights")


# --- train ----------------------------------------------------------------------------------


SHORT = "train --preset tiny --batch-size 2 --precision float32 --quiet --steps 2"


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_train_then_use_the_weights(run, tiles, tmp_path, no_mirror, name):
    out = tmp_path / "run"
    crop = 128 if name == "ae-vector" else 32
    more = ["--lmbda", 0.013] if name in ("ae-vae", "ae-vector") else []
    options = ["--model", name, "--bits", 4, "--crop", crop, "--dataset", tiles, "--out", out, *more]
    status, said, err = run(*SHORT.split(), *options)
    assert status == 0
    reason = "there are no pretrained weights of this width"
    assert err == (f"{name} begins as a classical transform coder: {reason}.\n" if name == "ae-resnet18" else "")
    file = out / f"{name}-tiny-q4.safetensors"
    assert re.fullmatch(rf"{re.escape(str(file))}: 2 steps, \d+\.\d minutes\n", said)
    card = json.loads(file.with_suffix(".json").read_text())
    assert (card["model"], card["bits"], card["straight_through"], card["steps"]) == (name, 4, False, 2)
    assert card["digest"] == weight_files.read(file).digest.hex()
    assert card["started_from"] is None

    picture, cbk, png = tiles / "0.png", tmp_path / "a.cbk", tmp_path / "a.png"
    assert run("encode", picture, cbk, "--model", name, "--bits", 4, "--weights", out)[::2] == (0, "")
    assert run("decode", cbk, png, "--weights", out)[::2] == (0, "")
    expected = weight_files.load(name, 4, folder=out).estimate(images.read_image(picture)[0])[0]
    np.testing.assert_array_equal(images.read_image(png)[0], expected)


def test_a_run_that_began_from_pretrained_weights_says_so(run, tiles, tmp_path, no_mirror, monkeypatch):
    monkeypatch.setattr(ResNet18, "fetch_pretrained", lambda _: None)
    options = ["--model", "ae-resnet18", "--bits", 4, "--crop", 32, "--dataset", tiles, "--out", tmp_path / "run"]
    assert run(*SHORT.split(), *options)[::2] == (0, "")
    card = json.loads((tmp_path / "run" / "ae-resnet18-tiny-q4.json").read_text())
    assert card["started_from"] == "microsoft/resnet-18"


@pytest.mark.parametrize("straight_through", [False, True])
def test_settings_reach_the_model(straight_through):
    settings = Settings("ae-residual", 0.013, "tiny", bits=10, straight_through=straight_through)
    model = make_model(settings)
    assert (model.name, model.B, model.straight_through) == ("ae-residual", 10, straight_through)


def test_train_on_from_other_bits_straight_through(run, tiles, tmp_path, no_mirror, ae_weights, ae_codecs):
    start = weight_files.path_of("ae-residual", "tiny", 4, ae_weights)
    options = ["--model", "ae-residual", "--bits", 1, "--crop", 32, "--dataset", tiles, "--out", tmp_path / "run"]
    assert run(*SHORT.split(), *options, "--start", start, "--straight-through")[::2] == (0, "")
    card = json.loads((tmp_path / "run" / "ae-residual-tiny-q1.json").read_text())
    assert (card["bits"], card["straight_through"]) == (1, True)
    assert card["started_from"] == f"ae-residual-tiny-q4 {ae_codecs['ae-residual'].digest[:8].hex()}"
    trained = weight_files.load("ae-residual", 1, folder=tmp_path / "run").network.state_dict()
    for name, tensor in ae_codecs["ae-residual"].network.state_dict().items():
        assert (trained[name] - tensor).abs().max() < 0.02, name  # two steps do not go far


@pytest.mark.parametrize("start, batches", [(["--random-start"], 3), ([], -1)])
def test_a_run_is_resumed_with_its_own_settings_only(run, tiles, tmp_path, no_mirror, start, batches):
    """Batch normalisation counts its batches, but for the statistics of a classical start, which it keeps."""
    out = tmp_path / "run"
    options = [*SHORT.split()[:-2], "--model", "ae-resnet18", "--crop", 32, "--dataset", tiles, "--out", out, *start]
    assert run(*options, "--bits", 4, "--steps", 1)[0] == 0
    before = snapshot(out)
    more = ["--steps", 3, "--resume"]
    assert_refused(run(*options, *more, "--bits", 2), "another bits")
    assert_refused(run(*options, *more, "--bits", 4, "--straight-through"), "another straight_through")
    assert snapshot(out) == before
    status, said, err = run(*options, *more, "--bits", 4)
    assert (status, err) == (0, "")
    assert "3 steps" in said
    saved = checkpoints.read(out / "checkpoint.safetensors")
    tracked = [name for name in saved["model"] if name.endswith("num_batches_tracked")]
    assert tracked
    for name in saved["model"]:
        if "running" in name or name in tracked:  # batch normalisation's own averages are taken as they are
            assert torch.equal(saved["model"][name], saved["average"][name]), name
    assert {int(saved["model"][name]) for name in tracked} == {batches}
