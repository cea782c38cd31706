"""Weight files of autoencoders: they give back the codec, are found by name and checksum, or are refused."""

import copy
import dataclasses
import json
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import is_a_sentence, random_autoencoder
from hypothesis import given, settings
from hypothesis import strategies as st

import codec_lib
from codec_lib import registry
from codec_lib.codecs.autoencoder_codec import freeze
from codec_lib.coding.container import pack, unpack
from codec_lib.errors import BadData, Unsupported, WrongModel
from codec_lib.networks.autoencoders import BITS
from codec_lib.registry import AUTOENCODERS
from codec_lib.weights.weight_files import available, load, load_for, path_of, read, save


@pytest.fixture(scope="module")
def files(ae_weights) -> dict[str, bytes]:
    """The weight file of each of `ae_codecs`."""
    return {name: path_of(name, "tiny", 4, ae_weights).read_bytes() for name in AUTOENCODERS}


def described(data: bytes) -> dict[str, str]:
    """The metadata of a weight file."""
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length])["__metadata__"]


def rewritten(path: Path, data: bytes, tensors: dict | None = None, **changed: str | None) -> Path:
    """Write a weight file with other tensors, or other metadata (None: without), than it had, and no digest."""
    tensors = safetensors.torch.load(data) if tensors is None else tensors
    metadata = {
        name: value for name, value in (described(data) | {"digest": None} | changed).items() if value is not None
    }
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    return path


# --- there and back -------------------------------------------------------------------------


def test_a_codec_read_back_is_the_same(ae_codec, photo, tmp_path):
    save(ae_codec, tmp_path / "a.safetensors")
    again = read(tmp_path / "a.safetensors")
    assert again.digest == ae_codec.digest
    assert (again.model, again.preset, again.quality, again.rate_point) == (ae_codec.model, "tiny", 4, {"B": 4})
    for name, tensor in ae_codec.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name
    assert again.encode(photo) == ae_codec.encode(photo)
    np.testing.assert_array_equal(again.estimate(photo)[0], ae_codec.estimate(photo)[0])
    assert not again.network.training
    save(again, tmp_path / "b.safetensors")
    assert read(tmp_path / "b.safetensors").digest == ae_codec.digest


def test_the_file_says_what_it_holds(files, ae_codecs):
    for name, data in files.items():
        known = {"model": name, "preset": "tiny", "format": "2", "B": "4"}
        assert described(data) == known | {"digest": ae_codecs[name].digest.hex()}


def test_kernels_are_stored_in_8_bits_the_rest_in_half_precision(files):
    for name, data in files.items():
        tensors = safetensors.torch.load(data)
        for key, tensor in tensors.items():
            passes_on = name == "ae-resnet18" and re.search(r"\.head\.|layers\.0\.layer\.", key)
            kind = torch.float16 if tensor.dim() < 2 or passes_on else torch.int8
            if key.endswith(".scale"):
                kind = torch.float32
            elif key.endswith("num_batches_tracked"):
                kind = torch.int64
            assert tensor.dtype == kind, key
        assert ("int64" in {str(t.dtype)[6:] for t in tensors.values()}) == (name == "ae-resnet18")


def test_a_stored_weight_is_off_by_at_most_half_a_step(ae_codec):
    exact = random_autoencoder(ae_codec.model, 4).state_dict()
    for name, tensor in ae_codec.network.state_dict().items():
        error = (tensor - exact[name]).abs()
        if f"{name}.scale" in ae_codec.tensors:
            steps = exact[name].flatten(1).abs().amax(1) / 127
            assert (error.flatten(1) <= 0.501 * steps[:, None]).all(), name
        else:
            assert (error <= 2**-11 * exact[name].abs() + 2**-25).all(), name


# --- choosing weights -----------------------------------------------------------------------


def test_weights_are_found_by_model_and_bits(ae_weights, ae_codecs):
    for name, expected in ae_codecs.items():
        for preset in (None, "tiny"):
            assert codec_lib.load(name, 4, preset, ae_weights).digest == expected.digest
    assert load("ae-strided", 1, folder=ae_weights).quality == 1
    assert {name: available(name, ae_weights) for name in ("ae-vae", "ae-strided", "joint")} == {
        "ae-vae": [4], "ae-strided": [1, 4], "joint": [],
    }  # fmt: skip


def test_rate_points():
    points = {name: entry.load_codec().rate_points() for name, entry in registry.models().items()}
    assert points == dict.fromkeys(registry.PRIORS, (1, 2, 3, 4)) | dict.fromkeys(AUTOENCODERS, BITS)


@pytest.mark.parametrize(
    "arguments, kind, words",
    [
        (("ae-other", 1), Unsupported, "no model 'ae-other'; choose from factorized, hyperprior, "),
        (("ae-vae", 3), Unsupported, "No quantiser of ae-vae has 3 bits; choose from 1, 2, 4, 10."),
        (("ae-vae", 0), Unsupported, "No quantiser of ae-vae has 0 bits"),
        (("ae-vae", 4, "huge"), Unsupported, "There is no preset 'huge' of ae-vae; choose from compact, tiny."),
        (("ae-vae", 4, "paper"), Unsupported, "There is no preset 'paper' of ae-vae"),
        (("ae-vae", 10), BadData, "There are no weights for ae-vae with 10 bits in"),
        (("ae-vae", 4, "compact"), BadData, "There are no weights for ae-vae with 4 bits in the preset compact in"),
        (("ae-resnet18", 4, "paper"), BadData, "no weights for ae-resnet18 with 4 bits in the preset paper"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused(ae_weights, arguments, kind, words):
    with pytest.raises(kind, match=re.escape(words)) as caught:
        load(*arguments, folder=ae_weights)
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize(
    "name, preset, B", [("ae-maxpool", "tiny", 4), ("ae-vae", "compact", 4), ("ae-vae", "tiny", 2)]
)
def test_a_file_whose_name_lies_is_refused(ae_codecs, tmp_path, name, preset, B):
    save(ae_codecs["ae-vae"], path_of(name, preset, B, tmp_path))
    with pytest.raises(BadData, match="but ae-vae in the preset tiny with 4 bits") as caught:
        load(name, B, folder=tmp_path)
    assert is_a_sentence(caught.value)


def test_a_model_s_file_under_an_autoencoder_s_name_is_refused(ae_codecs, tiny_codec, tmp_path):
    save(tiny_codec, path_of("ae-vae", "tiny", 4, tmp_path))
    save(ae_codecs["ae-vae"], path_of("factorized", "tiny", 3, tmp_path))
    for name, point, words in (("ae-vae", 4, "factorized .* at quality 3"), ("factorized", 3, "ae-vae .* with 4 bits")):
        with pytest.raises(BadData, match=words):
            load(name, point, folder=tmp_path)


def test_a_file_finds_the_weights_that_wrote_it(ae_weights, ae_codecs, photo, tmp_path):
    for expected in ae_codecs.values():
        container = unpack(expected.encode(photo))
        assert load_for(container, ae_weights).digest == expected.digest
        with pytest.raises(BadData, match=f"There are no weights for {expected.model} with 4 bits"):
            load_for(container, tmp_path)


def test_files_of_weights_not_at_hand_are_refused(ae_weights, ae_codecs, photo):
    network = copy.deepcopy(ae_codecs["ae-vae"].network)
    network.g_a[-1].bias.add_(0.1)
    stranger = freeze(network, "tiny")
    with pytest.raises(WrongModel, match=stranger.digest[:8].hex()) as caught:
        load_for(unpack(stranger.encode(photo)), ae_weights)
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize("quality", [0, 3, 65])
def test_files_of_quantisers_that_do_not_exist_are_refused(ae_weights, ae_codecs, photo, quality):
    container = dataclasses.replace(unpack(ae_codecs["ae-vae"].encode(photo)), quality=1000 * quality)
    with pytest.raises(Unsupported, match=f"has {quality} bits; choose from") as caught:
        load_for(unpack(pack(container)), ae_weights)
    assert is_a_sentence(caught.value)


# --- damaged and foreign files --------------------------------------------------------------


def test_weights_cut_off_are_refused(files, tmp_path):
    path, data = tmp_path / "a.safetensors", files["ae-strided"]
    for length in [0, 7, 8, 100, 1000, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(BadData, match=re.escape(f"The weights {path} cannot be read")) as caught:
            read(path)
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize("name", ["ae-strided", "ae-vae", "ae-resnet18"])
@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=10)
def test_a_flipped_bit_is_refused_or_moves_the_digest(ae_codecs, files, tmp_path_factory, name, seed, in_header):
    rng, data = np.random.default_rng(seed), files[name]
    (length,) = struct.unpack_from("<Q", data)
    flipped = bytearray(data)
    flipped[rng.integers(0, 8 + length) if in_header else rng.integers(8 + length, len(data))] ^= 1 << rng.integers(8)
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(flipped)
    try:
        assert read(path).digest != ae_codecs[name].digest
    except BadData as error:
        assert is_a_sentence(error)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "ae-maxpool"}, {"model": "ae-vae"}, {"model": "factorized"}, {"model": "ae-other"}, {"model": None},
        {"preset": "compact"}, {"preset": "paper"}, {"preset": None}, {"format": "3"}, {"format": None},
        {"B": None}, {"B": "0"}, {"B": "11"}, {"B": "2.5"}, {"B": "much"}, {"B": "-1"},
        {"dagest": "8e61"},  # one bit of a digest's name: found by fuzzing, it hid the digest
    ],
    ids=str,
)  # fmt: skip
def test_weights_of_something_else_are_refused(files, tmp_path, changed):
    with pytest.raises(BadData, match="not those of a codec of this version") as caught:
        read(rewritten(tmp_path / "a.safetensors", files["ae-strided"], **changed))
    assert is_a_sentence(caught.value)


def test_other_bits_are_another_codec(files, ae_codecs, tmp_path):
    moved = read(rewritten(path_of("ae-strided", "tiny", 4, tmp_path), files["ae-strided"], B="2"))
    assert moved.quality == 2
    assert moved.digest != ae_codecs["ae-strided"].digest
    with pytest.raises(BadData, match="with 2 bits"):
        load("ae-strided", 4, folder=tmp_path)


KERNEL, BIAS = "g_s.0.weight", "g_a.head.bias"


UNSOUND = {
    "a bias is missing": (BIAS, {}),
    "a kernel is missing": (KERNEL, {}),
    "scales of another number": (None, {f"{KERNEL}.scale": torch.ones(3)}),
    "a weight too many": (None, {"g_x": torch.zeros(1)}),
    "tables": (None, {"tables.y.widths": torch.ones(1, dtype=torch.int32)}),
    "a weight of another shape": (None, {BIAS: torch.zeros(7)}),
    "a weight that is not a number": (None, {BIAS: torch.full((12,), math.nan)}),
    "an endless scale": (None, {f"{KERNEL}.scale": torch.full((8,), math.inf)}),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_weights_are_refused(files, tmp_path, case):
    dropped, added = UNSOUND[case]
    data = files["ae-resnet18"]
    tensors = safetensors.torch.load(data)
    assert dropped is None or dropped in tensors
    tensors = {name: tensor for name, tensor in tensors.items() if name != dropped} | added
    with pytest.raises(BadData) as caught:
        read(rewritten(tmp_path / "a.safetensors", data, tensors))
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize("name", [f"{KERNEL}.scale", "g_s.1.double_conv.1.num_batches_tracked"])
def test_what_is_missing_and_can_be_done_without_moves_the_digest(files, ae_codecs, tmp_path, name):
    data = files["ae-resnet18"]
    tensors = safetensors.torch.load(data)
    del tensors[name]
    found = read(rewritten(tmp_path / "a.safetensors", data, tensors))
    assert found.digest != ae_codecs["ae-resnet18"].digest
