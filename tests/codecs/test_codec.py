"""A codec's files give exactly the pixels and nearly the bits that the model predicts; nothing else is accepted."""

import copy
import dataclasses
import functools
import io
import math
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from conftest import is_a_sentence
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from codec_lib import datasets, images, registry
from codec_lib.codecs.codec import Codec, Symbols
from codec_lib.coding.container import pack, unpack
from codec_lib.coding.order import RASTER, WAVEFRONT
from codec_lib.coding.range_coding import CODERS
from codec_lib.errors import (
    BadData,
    BadImage,
    CodecError,
    Corrupt,
    Desynchronised,
    TooLarge,
    Truncated,
    Unsupported,
    WrongModel,
)
from codec_lib.weights import weight_files


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def resized(data: bytes, height: int, width: int) -> bytes:
    """A file that claims another size, with a checksum that fits."""
    return pack(dataclasses.replace(unpack(data), height=height, width=width))


def assert_same_symbols(one: Symbols, other: Symbols) -> None:
    assert list(one) == list(other)
    for stream in one:
        assert one[stream].dtype == other[stream].dtype == np.int32
        np.testing.assert_array_equal(one[stream], other[stream])


@pytest.fixture(scope="module")
def file(each_codec, photo) -> bytes:
    """Each codec's `.cbk` file of a corner of `photo`, 37 wide and 20 high."""
    return each_codec.encode(photo[:20, :37])


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    """A face, uint8 (256, 256, 3): large enough for rates."""
    return images.read_image(datasets.find("embedded")[0])[0][:256, 128:384]


# --- pixels and bits ------------------------------------------------------------------------


def assert_file_is_prediction(frozen: Codec, pixels: np.ndarray, coder: str) -> None:
    predicted, _ = frozen.estimate(pixels)
    decoded = frozen.decode(frozen.encode(pixels, coder))
    assert decoded.dtype == np.uint8
    assert decoded.shape == pixels.shape
    np.testing.assert_array_equal(decoded, predicted)


@pytest.mark.parametrize("height, width", [(1, 1), (17, 33), (64, 64), (65, 96)])
def test_decoded_pixels_are_those_predicted(pair, photo, height, width):
    frozen, coder = pair
    assert_file_is_prediction(frozen, photo[:height, :width], coder)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_decoded_pixels_are_those_predicted_at_any_size_even_of_noise(pair, height, width, seed):
    frozen, coder = pair
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert_file_is_prediction(frozen, pixels, coder)


def test_decoded_pixels_resemble_the_picture(each_codec, photo):
    error = each_codec.decode(each_codec.encode(photo)).astype(float) - photo
    assert (error**2).mean() < 0.1 * photo.astype(float).var()


def relative_bits(data: bytes, estimate: float) -> float:
    """What the streams of a file take, of what the model says."""
    besides = len(data) - sum(map(len, unpack(data).streams))
    assert besides == unpack(data).overhead <= 48
    assert estimate > 10_000
    return 8 * (len(data) - besides) / estimate


def test_the_file_has_nearly_the_estimated_bits(pair, crop):
    """Nearly, for these weights are not trained: of outliers the model says more than an escape costs."""
    frozen, coder = pair
    assert 0.94 < relative_bits(frozen.encode(crop, coder), frozen.estimate(crop)[1]) < 1.02


@functools.cache
def trained(name: str) -> Codec:
    """The committed codec of a model at a high rate."""
    return weight_files.load(name, 4)


@pytest.mark.parametrize("name", registry.PRIORS)
def test_files_of_trained_weights_have_no_more_than_the_estimated_bits(name):
    pixels = images.read_image(datasets.find("embedded")[2])[0][:333, :421]  # coffee
    frozen = trained(name)
    data, (predicted, bits) = frozen.encode(pixels), frozen.estimate(pixels)
    assert relative_bits(data, bits) < 1.005
    np.testing.assert_array_equal(frozen.decode(data), predicted)


@pytest.mark.parametrize("name", registry.PRIORS)
def test_files_of_kodak_have_the_estimated_bits_within_half_a_percent(name, kodak):
    pixels = images.read_image(kodak[0])[0][:384]
    frozen = trained(name)
    assert 0.995 < relative_bits(frozen.encode(pixels), frozen.estimate(pixels)[1]) < 1.005


def test_the_network_itself_says_nearly_the_same(each_codec, photo):
    """Its own evaluation mode, in floats from end to end, gives those pixels and bits."""
    pixels, bits = each_codec.estimate(photo)
    with torch.no_grad():
        said = each_codec.network(images.to_tensor(photo))
    assert sum(b.item() for b in said.bits.values()) == pytest.approx(bits, rel=0.005)
    assert list(said.bits) == list(each_codec.tables)
    difference = np.abs(images.to_pixels(said.x_hat).astype(int) - pixels)
    assert (difference <= 1).mean() > 0.97  # means out of integers shift y_hat by less than a hundredth


def test_symbols_are_the_latents_rounded(pair, tiny_models, photo):
    frozen, coder = pair
    symbols = frozen.analyse(photo[:90, :96])
    shapes = {stream: values.shape for stream, values in symbols.items()}
    assert shapes == ({"y": (12, 6, 6)} if frozen.model == "factorized" else {"z": (16, 2, 2), "y": (12, 6, 6)})
    model = tiny_models[frozen.model]
    with torch.no_grad():
        y = model.g_a(images.pad(images.to_tensor(photo[:90, :96]), 16))
        latents = {"y": y} if frozen.model in ("factorized", "hyperprior") else {}
        if "z" in symbols:
            latents["z"] = model.h_a(model.side_input(y))
    for stream, latent in latents.items():  # weights as stored move them by a hundredth: most symbols stay
        latent = latent[0].numpy()
        assert np.abs(symbols[stream] - latent).max() < 0.5 + 0.02 * np.abs(latent).max()
        assert (symbols[stream] == np.round(latent)).mean() > 0.9
    data = frozen.encode(photo[:90, :96], coder)
    assert_same_symbols(frozen.read_symbols(unpack(data)), symbols)


EDGES = [-(2**31), 2**31 - 1, -(2**31) + 1, 2**30, 30_000, -30_000]


def test_symbols_of_any_size_come_back(pair):
    frozen, coder = pair
    rng = np.random.default_rng(0)
    symbols = {"z": rng.integers(-3, 4, (16, 2, 2)), "y": rng.integers(-3, 4, (12, 5, 6))}
    symbols = {stream: symbols[stream].astype(np.int32) for stream in frozen.tables}
    for values in symbols.values():
        for k, edge in enumerate(EDGES):  # each in a channel, row and column of its own
            values[k, k % values.shape[1], k % values.shape[2]] = edge
    data = frozen.write_symbols(symbols, 69, 93, coder)
    assert_same_symbols(frozen.read_symbols(unpack(data)), symbols)
    assert frozen.decode(data).shape == (69, 93, 3)


def test_symbols_of_another_shape_are_a_mistake_of_the_caller(each_codec):
    right = {"z": np.zeros((16, 1, 1), np.int32), "y": np.zeros((12, 2, 3), np.int32)}
    right = {stream: right[stream] for stream in each_codec.tables}
    wrong = [right | {"y": right["y"].transpose(0, 2, 1)}, {}, right | {"w": right["y"]}]
    if "z" in right:
        wrong += [{"y": right["y"]}, {"z": right["z"]}, right | {"z": right["z"][:-1]}]
    else:
        wrong += [right | {"z": np.zeros((16, 1, 1), np.int32)}]
    each_codec.write_symbols(right, 20, 37)
    for symbols in wrong:
        with pytest.raises(ValueError, match="need symbols of the shapes"):
            each_codec.write_symbols(symbols, 20, 37)


def test_the_file_of_what_the_transforms_make_is_that_of_effort_0(each_codec, photo):
    y, z = each_codec.latents(photo)
    assert each_codec.write_latents(y, z, *photo.shape[:2]) == each_codec.encode(photo)
    assert each_codec.write_latents(y + 1, z, *photo.shape[:2]) != each_codec.encode(photo)


def test_encoding_is_repeatable_and_says_what_it_was(pair, photo):
    frozen, coder = pair
    data = frozen.encode(photo, coder)
    assert frozen.encode(photo, coder) == data
    container = unpack(data)
    assert (container.model, container.quality, container.coder) == (frozen.model, 3000, coder)
    assert (container.height, container.width) == photo.shape[:2]
    assert container.weights == frozen.digest[:8]
    assert len(container.streams) == (1 if frozen.model == "factorized" else 2)


def test_the_first_coder_is_the_default(each_codec, photo):
    assert unpack(each_codec.encode(photo[:8, :8])).coder == next(iter(CODERS))


def test_torchac_cannot_code_the_joint_model(codecs, photo):
    frozen = codecs["joint"]
    data = frozen.encode(photo[:20, :37])
    symbols = frozen.read_symbols(unpack(data))
    forged = pack(dataclasses.replace(unpack(data), coder="torchac"))
    for use in (
        lambda: frozen.encode(photo, "torchac"),
        lambda: frozen.write_symbols(symbols, 20, 37, "torchac"),
        lambda: frozen.decode(forged),
    ):
        with pytest.raises(Unsupported, match=r"^The coder torchac keeps no state .* joint .* --coder constriction\.$"):
            use()


@torch.no_grad()
def test_a_decoder_uses_no_network_in_floats_but_g_s(pair, photo):
    """Where floats are summed in another order nothing changes, for none are summed."""
    frozen, coder = pair
    data = frozen.encode(photo, coder)
    network = copy.deepcopy(frozen.network)
    for name, parameter in network.named_parameters():
        if not name.startswith("g_s"):
            parameter.fill_(math.nan)
    assert_same_symbols(dataclasses.replace(frozen, network=network).read_symbols(unpack(data)), frozen.analyse(photo))
    np.testing.assert_array_equal(dataclasses.replace(frozen, network=network).decode(data), frozen.decode(data))


def test_another_order_of_the_same_context_codes_the_same_symbols(codecs, photo):
    joint = codecs["joint"]
    serial = joint.with_order(RASTER)
    data = serial.encode(photo)
    assert_same_symbols(serial.read_symbols(unpack(data)), joint.analyse(photo))
    np.testing.assert_array_equal(serial.decode(data), joint.decode(joint.encode(photo)))
    with pytest.raises((Desynchronised, Corrupt)):
        joint.decode(data)
    assert joint.network.order is WAVEFRONT, "the codec itself is as it was"
    with pytest.raises(Unsupported, match="another context than that of raster") as caught:
        codecs["checkerboard"].with_order(RASTER)
    assert is_a_sentence(caught.value)


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_pillow_pictures_of_any_mode_are_encoded_as_rgb(tiny_codec, photo, mode):
    image = Image.fromarray(photo[:24, :31])
    image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
    rgb, _ = images.to_rgb(image)
    assert tiny_codec.encode(image) == tiny_codec.encode(rgb)
    assert tiny_codec.decode(tiny_codec.encode(image)).shape == (24, 31, 3)


def test_arrays_in_any_memory_layout_are_encoded(each_codec, photo):
    for view in (photo[::-1, ::-2], np.asfortranarray(photo), photo.transpose(1, 0, 2)):
        assert each_codec.encode(view) == each_codec.encode(np.ascontiguousarray(view))


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
    for use in (tiny_codec.encode, tiny_codec.estimate):
        with pytest.raises(BadImage) as caught:
            use(array)
        assert is_a_sentence(caught.value)


def test_a_picture_too_large_is_refused_before_memory_is_taken(each_codec):
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (2**14, 2**14, 3))
    for use in (each_codec.encode, each_codec.estimate):
        with pytest.raises(TooLarge):
            use(huge)


def test_an_unknown_coder_is_refused(each_codec, photo):
    with pytest.raises(Unsupported, match="There is no coder 'zip'"):
        each_codec.encode(photo, "zip")


@pytest.mark.parametrize("value", [1e30, math.nan])
def test_weights_that_explode_are_refused(each_codec, photo, value):
    network = copy.deepcopy(each_codec.network)
    network.g_a.mixes[0].linear.bias.fill_(value)
    broken = dataclasses.replace(each_codec, network=network)
    for use in (broken.encode, broken.analyse, broken.estimate):
        with pytest.raises(BadData, match="numbers that no file can hold") as caught:
            use(photo)
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize("model", ["hyperprior", "joint", "checkerboard"])
@pytest.mark.parametrize("value", [2.0**31, -(2.0**32), math.nan])
def test_side_information_that_explodes_is_refused(codecs, photo, model, value):
    network = copy.deepcopy(codecs[model].network)
    network.h_a[-1].bias.fill_(value)
    broken = dataclasses.replace(codecs[model], network=network)
    for use in (broken.encode, broken.analyse, broken.estimate):
        with pytest.raises(BadData, match="numbers that no file can hold"):
            use(photo)


# --- two types ------------------------------------------------------------------------------

TRAINING = {"train", "eval", "forward", "__call__", "parameters", "state_dict", "load_state_dict", "requires_grad_"}
CODING = {"encode", "decode", "compress", "decompress", "update", "save", "analyse", "tables"}


def test_a_codec_cannot_be_trained_and_a_model_cannot_encode(each_codec, tiny_models):
    assert not TRAINING & set(dir(each_codec))
    assert not CODING & set(dir(tiny_models[each_codec.model]))
    assert not each_codec.network.training
    assert not any(p.requires_grad for p in each_codec.network.parameters())
    with pytest.raises(dataclasses.FrozenInstanceError):
        each_codec.lmbda = 1.0


def test_a_codec_is_shown_in_a_line_and_can_be_a_key(each_codec):
    assert repr(each_codec) == f"<Codec {each_codec.model}, preset tiny, quality 3>"
    assert {each_codec: 1}[each_codec] == 1 and each_codec != dataclasses.replace(each_codec)


def test_a_codec_has_no_second_state():
    """All that is needed is given at once: no `update()`, no field that is filled later."""
    assert all(f.default is dataclasses.MISSING for f in dataclasses.fields(Codec))


# --- other kinds of bytes -------------------------------------------------------------------


def test_a_file_may_be_any_buffer_but_no_path(each_codec, file):
    pixels = each_codec.decode(file)
    for buffer in (bytearray(file), memoryview(file), np.frombuffer(file, np.uint8), memoryview(file * 2)[: len(file)]):
        np.testing.assert_array_equal(each_codec.decode(buffer), pixels)
    for other in ("photo.cbk", None, 3):
        with pytest.raises(TypeError, match="bytes-like"):
            each_codec.decode(other)


# --- damage ---------------------------------------------------------------------------------


def test_another_seal_is_desynchronised(pair, photo):
    frozen, coder = pair
    container = unpack(frozen.encode(photo, coder))
    forged = dataclasses.replace(container, seal=container.seal ^ 1)
    with pytest.raises(Desynchronised):
        frozen.decode(pack(forged))


def test_a_stream_of_another_picture_is_noticed(pair, photo):
    frozen, coder = pair
    one, other = (unpack(frozen.encode(p, coder)) for p in (photo, photo[::-1]))
    for k in range(len(one.streams)):
        streams = (*one.streams[:k], other.streams[k], *one.streams[k + 1 :])
        with pytest.raises((Desynchronised, Corrupt, Truncated)):
            frozen.decode(pack(dataclasses.replace(one, streams=streams)))


@pytest.mark.parametrize("model", ["hyperprior", "joint", "checkerboard"])
def test_streams_in_another_order_are_noticed(codecs, photo, model):
    container = unpack(codecs[model].encode(photo))
    with pytest.raises((Desynchronised, Corrupt, Truncated)):
        codecs[model].decode(pack(dataclasses.replace(container, streams=container.streams[::-1])))


def test_another_number_of_streams_is_refused(each_codec, file):
    right = len(each_codec.tables)
    for count in {0, 1, 2, 3, 255} - {right}:
        forged = dataclasses.replace(unpack(file), streams=(b"\0",) * count)
        with pytest.raises(Unsupported, match=f"{count} streams where {each_codec.model} writes {right}") as caught:
            each_codec.decode(pack(forged))
        assert is_a_sentence(caught.value)


def test_an_empty_stream_is_refused(pair, photo):
    frozen, coder = pair
    container = unpack(frozen.encode(photo[:20, :37], coder))
    for k in range(len(container.streams)):
        streams = (*container.streams[:k], b"", *container.streams[k + 1 :])
        for height, width in [(1, 1), (37, 20), (8192, 8192)]:
            forged = dataclasses.replace(container, streams=streams, height=height, width=width)
            with pytest.raises(CodecError) as caught:
                frozen.decode(pack(forged))
            assert is_a_sentence(caught.value)


def test_a_small_file_cannot_claim_a_large_picture(each_codec, file):
    for height, width, kind in [(8192, 8192, Corrupt), (1, 2**26, Corrupt), (2**16, 2**16, TooLarge)]:
        data = resized(file, height, width)
        tracemalloc.start()
        try:
            with pytest.raises(kind):
                each_codec.decode(data)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


def test_a_file_of_another_model_is_refused(each_codec, codecs, photo):
    for other in [c for c in codecs.values() if c is not each_codec]:
        with pytest.raises(WrongModel, match=other.digest[:8].hex()) as caught:
            each_codec.decode(other.encode(photo[:20, :37]))
        assert is_a_sentence(caught.value)


@st.composite
def edits(draw) -> tuple[list[tuple[str, int]], bool]:
    kinds = st.sampled_from(["flip", "flip in header", "cut", "insert", "random"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 2**32 - 1)), min_size=1, max_size=4)), draw(st.booleans())


def edited(data: bytes, edits: list[tuple[str, int]]) -> bytes:
    for kind, seed in edits:
        rng = np.random.default_rng(seed)
        at = int(rng.integers(8, 47 if kind == "flip in header" else len(data) + 1))
        if kind.startswith("flip") and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        elif kind == "cut":
            data = data[: max(at, 8)]
        elif kind == "insert":
            data = data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
        elif kind == "random":
            data = data[:at] + rng.bytes(len(data) - at)
    return data


@pytest.fixture(scope="module")
def intact(pair, photo) -> tuple[bytes, Symbols]:
    """A file and its symbols."""
    data = pair[0].encode(photo[:20, :37], pair[1])
    return data, pair[0].read_symbols(unpack(data))


@given(edits())
@example(([("flip in header", 3)], True))
@settings(max_examples=25)
def test_a_damaged_file_is_refused_or_holds_the_same_symbols(pair, intact, edits):
    """Even when the damage comes with a fitting checksum and so reaches the coder."""
    frozen, (data, original) = pair[0], intact
    damage, fitting = edits
    damaged = with_checksum(edited(data[:-4], damage)) if fitting else edited(data, damage)
    try:
        symbols = frozen.read_symbols(unpack(damaged))
    except CodecError as error:
        assert is_a_sentence(error)
    else:
        assert_same_symbols(symbols, original)
        container = unpack(damaged)
        assert frozen.decode(damaged).shape == (container.height, container.width, 3)


def test_every_flipped_bit_of_a_file_is_refused(each_codec, file):
    for bit in range(8 * len(file)):
        flipped = bytearray(file)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            each_codec.decode(bytes(flipped))


def test_pixels_survive_a_png(each_codec, file):
    decoded = each_codec.decode(file)
    buffer = io.BytesIO()
    Image.fromarray(decoded).save(buffer, "PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(buffer)), decoded)
