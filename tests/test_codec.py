"""A codec's files give exactly the pixels and nearly the bits that the model predicts; nothing else is accepted."""

import copy
import dataclasses
import inspect
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import codec_lib
from codec_lib import bitstream, codec, datasets, images, models
from codec_lib.bitstream import unpack
from codec_lib.codec import Codec, freeze, load, load_for, read, weights_path
from codec_lib.entropy_coding import CODERS, Tables
from codec_lib.errors import (
    BadData,
    BadImage,
    CodecError,
    Corrupt,
    Desynchronised,
    TooLarge,
    Unsupported,
    WrongModel,
)


def is_a_sentence(error: Exception) -> bool:
    return re.fullmatch(r"[A-Z][^\n]*\.", str(error)) is not None


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def resized(data: bytes, height: int, width: int) -> bytes:
    """A file that claims another size, with a checksum that fits."""
    return with_checksum(data[:20] + struct.pack("<II", height, width) + data[28:-4])


@pytest.fixture(scope="module")
def saved(tiny_codec, tmp_path_factory) -> bytes:
    """The weight file of `tiny_codec`."""
    path = tmp_path_factory.mktemp("saved") / "a.safetensors"
    tiny_codec.save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def file(tiny_codec, photo) -> bytes:
    """The `.cbk` file of a corner of `photo`, 37 wide and 20 high."""
    return tiny_codec.encode(photo[:20, :37])


# --- pixels and bits ------------------------------------------------------------------------


def assert_file_is_prediction(tiny_codec: Codec, pixels: np.ndarray, coder: str) -> None:
    predicted, _ = tiny_codec.predict(pixels)
    decoded = tiny_codec.decode(tiny_codec.encode(pixels, coder))
    assert decoded.dtype == np.uint8
    assert decoded.shape == pixels.shape
    np.testing.assert_array_equal(decoded, predicted)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 37), (37, 1), (15, 16), (16, 16), (17, 33), (64, 64)])
def test_decoded_pixels_are_those_predicted(tiny_codec, photo, coder, height, width):
    assert_file_is_prediction(tiny_codec, photo[:height, :width], coder)


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(list(CODERS)), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_decoded_pixels_are_those_predicted_at_any_size_even_of_noise(tiny_codec, height, width, coder, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert_file_is_prediction(tiny_codec, pixels, coder)


def test_decoded_pixels_resemble_the_picture(tiny_codec, photo):
    error = tiny_codec.decode(tiny_codec.encode(photo)).astype(float) - photo
    assert (error**2).mean() < 0.1 * photo.astype(float).var()


def test_the_file_has_nearly_the_estimated_bits_and_never_fewer(tiny_codec, coder):
    pixels = images.read_image(datasets.find("embedded")[0])[0][:256, 128:384]
    data = tiny_codec.encode(pixels, coder)
    _, estimate = tiny_codec.predict(pixels)
    assert estimate > 10_000
    assert estimate < 8 * len(data) <= 1.005 * estimate + 8 * 48
    assert len(data) - len(unpack(data).streams[0]) <= 48


def test_symbols_are_the_models_latent_rounded(tiny_codec, tiny_model, photo, coder):
    symbols = tiny_codec.analyse(photo[:96, :96])
    assert symbols.dtype == np.int32
    assert symbols.shape == (12, 6, 6)
    # half precision moves y by a thousandth: most symbols stay
    with torch.no_grad():
        y = tiny_model.g_a(images.to_tensor(photo[:96, :96]))[0].numpy()
    assert np.abs(symbols - y).max() < 0.5 + 0.01 * np.abs(y).max()
    assert (symbols == np.round(y)).mean() > 0.9
    data = tiny_codec.encode(photo[:96, :96], coder)
    np.testing.assert_array_equal(tiny_codec.read_symbols(unpack(data)), symbols)


def test_symbols_of_any_size_come_back(tiny_codec, coder):
    symbols = np.random.default_rng(0).integers(-3, 4, (12, 2, 3)).astype(np.int32)
    symbols[0, 0], symbols[11, 1] = [30_000, -30_000, 2**30], [-(2**31), 2**31 - 1, 0]
    data = tiny_codec.write_symbols(symbols, 20, 37, coder)
    np.testing.assert_array_equal(tiny_codec.read_symbols(unpack(data)), symbols)
    assert tiny_codec.decode(data).shape == (20, 37, 3)


def test_symbols_of_another_shape_are_a_mistake_of_the_caller(tiny_codec):
    with pytest.raises(ValueError, match=re.escape("need symbols of shape (12, 2, 3), got (12, 3, 2)")):
        tiny_codec.write_symbols(np.zeros((12, 3, 2), np.int32), 20, 37)


def test_encoding_is_repeatable_and_says_what_it_was(tiny_codec, photo, coder):
    data = tiny_codec.encode(photo, coder)
    assert tiny_codec.encode(photo, coder) == data
    container = unpack(data)
    assert (container.model, container.quality, container.coder) == ("factorized", 3, coder)
    assert (container.height, container.width) == photo.shape[:2]
    assert container.weights == tiny_codec.digest[:8]


def test_the_first_coder_is_the_default(tiny_codec, photo):
    assert unpack(tiny_codec.encode(photo[:8, :8])).coder == next(iter(CODERS))


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_pillow_pictures_of_any_mode_are_encoded_as_rgb(tiny_codec, photo, mode):
    image = Image.fromarray(photo[:24, :31])
    image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
    rgb, _ = images.to_rgb(image)
    assert tiny_codec.encode(image) == tiny_codec.encode(rgb)
    assert tiny_codec.decode(tiny_codec.encode(image)).shape == (24, 31, 3)


def test_arrays_in_any_memory_layout_are_encoded(tiny_codec, photo):
    for view in (photo[::-1, ::-2], np.asfortranarray(photo), photo.transpose(1, 0, 2)):
        assert tiny_codec.encode(view) == tiny_codec.encode(np.ascontiguousarray(view))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3)),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        [[[0, 0, 0]]],
        "photo.png",
    ],
    ids=["float", "two-dimensional", "four channels", "empty", "list", "path"],
)
def test_what_is_no_picture_is_refused(tiny_codec, array):
    for use in (tiny_codec.encode, tiny_codec.predict):
        with pytest.raises(BadImage) as caught:
            use(array)
        assert is_a_sentence(caught.value)


def test_a_picture_too_large_is_refused_before_memory_is_taken(tiny_codec):
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (2**14, 2**14, 3))
    for use in (tiny_codec.encode, tiny_codec.predict):
        with pytest.raises(TooLarge):
            use(huge)


def test_an_unknown_coder_is_refused(tiny_codec, photo):
    with pytest.raises(Unsupported, match="There is no coder 'zip'"):
        tiny_codec.encode(photo, "zip")


def test_weights_that_explode_are_refused(tiny_codec, photo):
    for value in (1e30, math.nan):
        network = copy.deepcopy(tiny_codec.network)
        network.g_a.mixes[0].linear.bias.fill_(value)
        broken = dataclasses.replace(tiny_codec, network=network)
        with pytest.raises(BadData, match="numbers that no file can hold"):
            broken.encode(photo)


# --- two types ------------------------------------------------------------------------------

TRAINING = {"train", "eval", "forward", "__call__", "parameters", "state_dict", "load_state_dict", "requires_grad_"}
CODING = {"encode", "decode", "compress", "decompress", "update", "save", "analyse", "tables"}


def test_a_codec_cannot_be_trained_and_a_model_cannot_encode(tiny_codec, tiny_model):
    assert not TRAINING & set(dir(tiny_codec))
    assert not CODING & set(dir(tiny_model))
    assert not tiny_codec.network.training
    assert not any(p.requires_grad for p in tiny_codec.network.parameters())
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_codec.lmbda = 1.0


def test_a_codec_has_no_second_state(tiny_codec):
    """All that is needed is given at once: no `update()`, no field that is filled later."""
    assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(Codec))
    assert list(inspect.signature(freeze).parameters) == ["model", "preset", "lmbda"]


def test_training_on_leaves_the_codec_as_it_was(tiny_model, photo):
    model = copy.deepcopy(tiny_model)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    frozen = freeze(model, "tiny", 0.025)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    data = frozen.encode(photo)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert frozen.encode(photo) == data


def test_a_model_in_training_mode_freezes_to_the_same_codec(tiny_model, tiny_codec):
    assert freeze(copy.deepcopy(tiny_model).train(), "tiny", 0.025).digest == tiny_codec.digest


@pytest.mark.parametrize("part, value", [("g_s", math.nan), ("g_a", 1e6), ("density_y", math.inf)])
def test_weights_that_cannot_be_stored_are_refused(tiny_model, part, value):
    model = copy.deepcopy(tiny_model)
    name, parameter = next(iter(getattr(model, part).named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[0] = value
    with pytest.raises(BadData, match=rf"{part}\.{name} hold numbers that are not finite or too large") as caught:
        freeze(model, "tiny", 0.025)
    assert is_a_sentence(caught.value)


# --- weight files ---------------------------------------------------------------------------


def test_a_codec_read_back_is_the_same(tiny_codec, photo, tmp_path, coder):
    path = tmp_path / "a.safetensors"
    tiny_codec.save(path)
    again = read(path)
    assert again.digest == tiny_codec.digest
    assert (again.model, again.preset, again.lmbda, again.quality) == ("factorized", "tiny", 0.025, 3)
    assert again.encode(photo, coder) == tiny_codec.encode(photo, coder)
    for one, other in zip(again.predict(photo), tiny_codec.predict(photo), strict=True):
        np.testing.assert_array_equal(one, other)
    again.save(tmp_path / "b.safetensors")
    one, other = path.read_bytes(), (tmp_path / "b.safetensors").read_bytes()
    assert len(one) == len(other)
    assert described(one) == described(other)  # in any order: safetensors shuffles them


def test_freezing_a_frozen_network_changes_nothing(tiny_codec, tmp_path):
    tiny_codec.save(tmp_path / "a.safetensors")
    again = freeze(read(tmp_path / "a.safetensors").network, "tiny", 0.025)
    assert again.digest == tiny_codec.digest


def test_networks_are_stored_in_half_precision_and_densities_in_single(saved):
    for name, tensor in safetensors.torch.load(saved).items():
        if name.startswith("tables."):
            assert tensor.dtype == torch.int32
        else:
            assert tensor.dtype == (torch.float32 if name.startswith("density_y.") else torch.float16)


def test_everything_that_matters_moves_the_digest(tiny_model, tiny_codec):
    digests = {tiny_codec.digest}
    digests.add(freeze(tiny_model, "tiny", 0.0251).digest)
    digests.add(freeze(tiny_model, "tiny2", 0.025).digest)
    for name in ("g_a.mixes.0.linear.weight", "g_s.mixes.2.linear.bias", "density_y.b.0"):
        model = copy.deepcopy(tiny_model)
        with torch.no_grad():
            model.get_parameter(name).view(-1)[-1].mul_(1.01).add_(0.01)
        digests.add(freeze(model, "tiny", 0.025).digest)
    t = tiny_codec.tables["y"]
    moved = Tables(t.widths, t.offsets + np.int32(1), t.frequencies)
    digests.add(codec._assemble(copy.deepcopy(tiny_codec.network), {"y": moved}, "tiny", 0.025).digest)
    assert len(digests) == 7


def test_a_decoder_uses_the_stored_tables_not_the_density(tiny_codec, photo, saved, tmp_path):
    """Another machine's exp() must not matter: the density of this file says nothing of its symbols."""
    tensors = safetensors.torch.load(saved)
    for name in tensors:
        if name.startswith("density_y.b"):
            tensors[name] += 3
    moved = read(rewritten(tmp_path / "a.safetensors", saved, tensors))
    for part in ("widths", "offsets", "frequencies"):
        np.testing.assert_array_equal(getattr(moved.tables["y"], part), getattr(tiny_codec.tables["y"], part))
    assert unpack(moved.encode(photo)).streams == unpack(tiny_codec.encode(photo)).streams


def described(data: bytes) -> dict[str, str]:
    """The metadata of a weight file."""
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length])["__metadata__"]


def rewritten(path, data: bytes, tensors: dict | None = None, metadata: dict | None = None):
    """Write a weight file with other tensors or metadata than it had."""
    tensors = safetensors.torch.load(data) if tensors is None else tensors
    path.write_bytes(safetensors.torch.save(tensors, described(data) if metadata is None else metadata))
    return path


def test_weights_cut_off_are_refused(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    for length in [*range(0, 40, 7), 1000, 5000, len(saved) // 2, len(saved) - 1]:
        path.write_bytes(saved[:length])
        with pytest.raises(BadData, match=re.escape(f"The weights {path} cannot be read")) as caught:
            read(path)
        assert is_a_sentence(caught.value)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40)
def test_a_flipped_bit_in_weights_is_refused_or_moves_the_digest(tiny_codec, saved, tmp_path_factory, seed, in_header):
    rng = np.random.default_rng(seed)
    (length,) = struct.unpack_from("<Q", saved)
    flipped = bytearray(saved)
    flipped[rng.integers(0, 8 + length) if in_header else rng.integers(8 + length, len(saved))] ^= 1 << rng.integers(8)
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(flipped)
    try:
        assert read(path).digest != tiny_codec.digest
    except BadData as error:
        assert is_a_sentence(error)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x89PNG\r\n\x1a\n" + bytes(500), b"\xff" * 500])
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadData):
        read(tmp_path / "a.safetensors")


def test_weights_that_are_not_there_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.safetensors", tmp_path / "none" / "a.safetensors"):
        with pytest.raises(BadData) as caught:
            read(path)
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "hyperprior"},
        {"model": None},
        {"preset": "giant"},
        {"preset": "paper"},
        {"format": "2"},
        {"format": None},
        {"lmbda": "nan"},
        {"lmbda": "inf"},
        {"lmbda": "0"},
        {"lmbda": "-0.025"},
        {"lmbda": "much"},
    ],
    ids=str,
)
def test_weights_of_something_else_are_refused(saved, tmp_path, changes):
    metadata = {name: value for name, value in (described(saved) | changes).items() if value is not None}
    path = rewritten(tmp_path / "a.safetensors", saved, metadata=metadata)
    with pytest.raises(BadData, match="not those of a codec of this version"):
        read(path)


def without(tensors, name):
    return {k: v for k, v in tensors.items() if k != name}


@pytest.mark.parametrize(
    "change",
    {
        "a weight is missing": lambda t: without(t, "g_s.mixes.2.linear.bias"),
        "a weight too many": lambda t: t | {"g_x": torch.zeros(1)},
        "a weight of another shape": lambda t: t | {"g_s.mixes.2.linear.bias": torch.zeros(7)},
        "a table is missing": lambda t: without(t, "tables.y.offsets"),
        "frequencies that do not add up": lambda t: t | {"tables.y.frequencies": t["tables.y.frequencies"] + 1},
        "floating tables": lambda t: t | {"tables.y.widths": t["tables.y.widths"].float()},
        "a table for one channel only": lambda t: t | {
            "tables.y.widths": torch.tensor([2], dtype=torch.int32),
            "tables.y.offsets": torch.tensor([0], dtype=torch.int32),
            "tables.y.frequencies": torch.tensor([1, 65535], dtype=torch.int32),
        },
        "a weight that is not a number": lambda t: t | {"g_s.mixes.2.linear.bias": torch.full((48,), math.nan)},
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_unsound_weights_are_refused(saved, tmp_path, change):
    path = rewritten(tmp_path / "a.safetensors", saved, change[1](safetensors.torch.load(saved)))
    with pytest.raises(BadData) as caught:
        read(path)
    assert is_a_sentence(caught.value)


def test_saving_replaces_a_file_whole_or_not_at_all(tiny_codec, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(BadData, match="No space left"):
            tiny_codec.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"old"
    tiny_codec.save(path)
    assert read(path).digest == tiny_codec.digest
    with pytest.raises(BadData, match="does not exist"):
        tiny_codec.save(tmp_path / "none" / "a.safetensors")


# --- choosing weights -----------------------------------------------------------------------


def test_load_finds_weights_by_model_and_quality(weights, tiny_codecs, photo):
    for quality, expected in enumerate(tiny_codecs, start=1):
        for preset in (None, "tiny"):
            assert load("factorized", quality, preset, weights).digest == expected.digest
    assert codec_lib.load is load


@pytest.mark.parametrize(
    "arguments, kind, words",
    [
        (("factorised", 1), Unsupported, "There is no model 'factorised'; choose from factorized"),
        (("factorized", 0), Unsupported, "There is no quality 0; choose from 1 to 4."),
        (("factorized", 5), Unsupported, "There is no quality 5; choose from 1 to 4."),
        (("factorized", 9), Unsupported, "There is no quality 9; choose from 1 to 4."),
        (("factorized", 2, "giant"), Unsupported, "There is no preset 'giant'; choose from paper, compact, tiny."),
        (
            ("factorized", 2, "paper"),
            BadData,
            "There are no weights for factorized at quality 2 in the preset paper",
        ),
    ],
)
def test_load_refuses_what_does_not_exist(weights, arguments, kind, words):
    with pytest.raises(kind, match=re.escape(words)) as caught:
        load(*arguments, folder=weights)
    assert is_a_sentence(caught.value)


def test_load_says_which_weights_there_are(weights, tmp_path):
    with pytest.raises(BadData, match=r"there are: factorized-tiny-q1, factorized-tiny-q2, .*-q4\.$"):
        load("factorized", 2, "compact", weights)
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadData, match=r"in .*; there are: none\.$"):
            load("factorized", 2, folder=folder)


def test_load_refuses_weights_under_another_name(tiny_codecs, tmp_path):
    tiny_codecs[0].save(weights_path("factorized", "tiny", 2, tmp_path))
    with pytest.raises(BadData, match="but factorized in the preset tiny at quality 1") as caught:
        load("factorized", 2, folder=tmp_path)
    assert is_a_sentence(caught.value)


def test_a_file_finds_the_weights_that_wrote_it(weights, tiny_codecs, photo):
    for expected in tiny_codecs:
        assert load_for(unpack(expected.encode(photo)), weights).digest == expected.digest


@pytest.fixture
def two_presets(tiny_codecs, monkeypatch, tmp_path) -> list[Codec]:
    """Two codecs of quality 1 that differ in preset and weights (both of the tiny size), saved in `tmp_path`."""
    sizes = models.preset("tiny", 0.01)
    monkeypatch.setattr(models, "preset", lambda *_: sizes)
    other = copy.deepcopy(tiny_codecs[0].network)
    other.g_s.mixes[2].linear.bias.add_(0.1)
    codecs = [freeze(other, "compact", models.LMBDAS[0]), tiny_codecs[0]]
    for c in codecs:
        c.save(weights_path("factorized", c.preset, 1, tmp_path))
    return codecs


def test_the_digest_tells_between_presets(two_presets, tmp_path, photo):
    for expected in two_presets:
        assert load_for(unpack(expected.encode(photo)), tmp_path).digest == expected.digest
    assert load("factorized", 1, folder=tmp_path).digest == two_presets[0].digest  # the first of PRESETS
    assert load("factorized", 1, "tiny", tmp_path).digest == two_presets[1].digest


def test_files_of_weights_not_at_hand_are_refused(weights, tiny_codecs, tiny_codec, tiny_model, photo, tmp_path):
    stranger = freeze(tiny_model, "tiny", 0.026)
    container = unpack(stranger.encode(photo))
    assert container.quality == 3
    with pytest.raises(WrongModel, match=stranger.digest[:8].hex()) as caught:
        load_for(container, weights)
    assert is_a_sentence(caught.value)
    with pytest.raises(BadData, match="There are no weights for factorized at quality 3"):
        load_for(container, tmp_path)
    with pytest.raises(WrongModel) as caught:
        tiny_codecs[2].decode(stranger.encode(photo))
    assert stranger.digest[:8].hex() in str(caught.value)
    assert tiny_codecs[2].digest[:8].hex() in str(caught.value)


@pytest.mark.parametrize("model, quality", [("hyperprior", 1), ("factorized", 0), ("factorized", 9)])
def test_files_of_models_not_built_here_are_refused(weights, file, model, quality):
    container = dataclasses.replace(unpack(file), model=model, quality=quality)
    with pytest.raises(Unsupported, match=r"There is no (model 'hyperprior'|quality [09]); choose from") as caught:
        load_for(unpack(bitstream.pack(container)), weights)
    assert is_a_sentence(caught.value)


# --- damage ---------------------------------------------------------------------------------


def test_another_checksum_of_the_symbols_is_desynchronised(tiny_codec, photo, coder):
    container = unpack(tiny_codec.encode(photo, coder))
    forged = dataclasses.replace(container, symbols_crc=container.symbols_crc ^ 1)
    with pytest.raises(Desynchronised):
        tiny_codec.decode(bitstream.pack(forged))


def test_a_stream_of_other_symbols_is_desynchronised(tiny_codec, photo, coder):
    one, other = (unpack(tiny_codec.encode(p, coder)) for p in (photo, photo[::-1]))
    with pytest.raises(Desynchronised):
        tiny_codec.decode(bitstream.pack(dataclasses.replace(one, streams=other.streams)))


@pytest.mark.parametrize("streams", [(), (b"", b"")])
def test_another_number_of_streams_is_refused(tiny_codec, file, streams):
    forged = dataclasses.replace(unpack(file), streams=streams)
    with pytest.raises(Unsupported, match=f"{len(streams)} streams where factorized writes 1"):
        tiny_codec.decode(bitstream.pack(forged))


def test_an_empty_stream_is_refused(tiny_codec, file, coder):
    for height, width in [(1, 1), (37, 20), (8192, 8192)]:
        forged = dataclasses.replace(unpack(file), streams=(b"",), coder=coder, height=height, width=width)
        with pytest.raises(CodecError) as caught:
            tiny_codec.decode(bitstream.pack(forged))
        assert is_a_sentence(caught.value)


def test_a_small_file_cannot_claim_a_large_picture(tiny_codec, file):
    for height, width, kind in [(8192, 8192, Corrupt), (1, 2**26, Corrupt), (2**16, 2**16, TooLarge)]:
        data = resized(file, height, width)
        tracemalloc.start()
        try:
            with pytest.raises(kind):
                tiny_codec.decode(data)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


@st.composite
def edits(draw) -> tuple[list[tuple[str, int]], bool]:
    kinds = st.sampled_from(["flip", "flip in header", "cut", "insert", "random"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 2**32 - 1)), min_size=1, max_size=4)), draw(st.booleans())


def edited(data: bytes, edits: list[tuple[str, int]]) -> bytes:
    for kind, seed in edits:
        rng = np.random.default_rng(seed)
        at = int(rng.integers(8, 37 if kind == "flip in header" else len(data) + 1))
        if kind.startswith("flip") and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        elif kind == "cut":
            data = data[: max(at, 8)]
        elif kind == "insert":
            data = data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
        elif kind == "random":
            data = data[:at] + rng.bytes(len(data) - at)
    return data


@pytest.mark.parametrize("coder", CODERS)
@given(edits())
@example(([("flip in header", 3)], True))
@settings(max_examples=150)
def test_a_damaged_file_is_refused_or_holds_the_same_symbols(tiny_codec, photo, coder, edits):
    """Even when the damage comes with a fitting checksum and so reaches the coder."""
    data = tiny_codec.encode(photo[:20, :37], coder)
    original = tiny_codec.read_symbols(unpack(data))
    damage, fitting = edits
    damaged = with_checksum(edited(data[:-4], damage)) if fitting else edited(data, damage)
    try:
        pixels = tiny_codec.decode(damaged)
    except CodecError as error:
        assert is_a_sentence(error)
    else:
        container = unpack(damaged)
        np.testing.assert_array_equal(tiny_codec.read_symbols(container), original)
        assert pixels.shape == (container.height, container.width, 3)


def test_every_flipped_bit_of_a_file_is_refused(tiny_codec, file):
    for bit in range(8 * len(file)):
        flipped = bytearray(file)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            tiny_codec.decode(bytes(flipped))


# --- other processes ------------------------------------------------------------------------

SCRIPT = """
import sys, zlib
from codec_lib import bitstream, codec
assert "torchac" not in sys.modules
import torch
frozen = codec.read(sys.argv[1])
for path in sys.argv[2:]:
    symbols = frozen.read_symbols(bitstream.unpack(open(path, "rb").read()))
    print(torch.get_num_threads(), symbols.shape, zlib.crc32(symbols.tobytes()))
"""


def test_symbols_do_not_depend_on_the_process_or_its_threads(tiny_codec, saved, photo, tmp_path):
    """Nor does torchac, imported for the first time there, print anything."""
    (tmp_path / "a.safetensors").write_bytes(saved)
    symbols = tiny_codec.analyse(photo)
    paths = []
    for coder in CODERS:
        paths.append(tmp_path / f"{coder}.cbk")
        paths[-1].write_bytes(tiny_codec.encode(photo, coder))
    for threads in (1, 2):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, tmp_path / "a.safetensors", *paths],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.stderr == ""
        assert run.stdout == f"{threads} {symbols.shape} {zlib.crc32(symbols.tobytes())}\n" * len(CODERS)


def test_pixels_survive_a_png(tiny_codec, file):
    decoded = tiny_codec.decode(file)
    buffer = io.BytesIO()
    Image.fromarray(decoded).save(buffer, "PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(buffer)), decoded)
