"""An autoencoder's files give exactly the pixels that it predicts; damage and foreign tables end in a `CodecError`."""

import copy
import dataclasses
import json
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import is_a_sentence, random_autoencoder
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sequences import damages, inflict

from codec_lib import images
from codec_lib.codecs import autoencoder_codec
from codec_lib.codecs.autoencoder_codec import CODERS, AutoencoderCodec, freeze
from codec_lib.coding import compressor
from codec_lib.coding.container import pack, unpack
from codec_lib.coding.huffman import Huffman
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
from codec_lib.networks.autoencoders import BITS
from codec_lib.registry import AUTOENCODERS


@pytest.fixture(params=CODERS)
def lossless(request) -> str:
    """Each lossless coder in turn."""
    return request.param


WITH_CODERS = [
    *(("ae-strided", coder) for coder in CODERS),
    *((name, CODERS[0]) for name in AUTOENCODERS if name != "ae-strided"),
]


@pytest.fixture(params=WITH_CODERS, ids="-".join)
def with_coder(request, ae_codecs) -> tuple[AutoencoderCodec, str]:
    """One autoencoder with each lossless coder, and each other one with the default."""
    name, coder = request.param
    return ae_codecs[name], coder


@pytest.fixture
def state(tmp_path) -> Path:
    """Where `huffman-file` puts its table."""
    return tmp_path / "table.json"


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


# --- pixels and symbols ---------------------------------------------------------------------


def assert_file_is_prediction(frozen: AutoencoderCodec, pixels: np.ndarray, coder: str, state: Path) -> None:
    predicted, _ = frozen.estimate(pixels)
    data = frozen.encode(pixels, coder, state)
    container = unpack(data)
    assert (container.model, container.quality, container.coder) == (frozen.model, 1000 * frozen.quality, coder)
    np.testing.assert_array_equal(frozen.read_symbols(container, state), frozen.analyse(pixels))
    decoded = frozen.decode(data, state)
    assert decoded.dtype == np.uint8
    assert decoded.shape == pixels.shape
    np.testing.assert_array_equal(decoded, predicted)
    assert frozen.decode(data, state).tobytes() == decoded.tobytes()


@pytest.mark.parametrize("height, width", [(1, 1), (70, 130)])
def test_decoded_pixels_are_those_predicted(ae_codec, lossless, state, photo, height, width):
    pixels = np.tile(photo, (1, 2, 1))[:height, :width]
    assert_file_is_prediction(ae_codec, pixels, lossless, state)
    assert state.is_file() == (lossless == "huffman-file")


@pytest.mark.parametrize("name", AUTOENCODERS)
@given(st.data())
@settings(max_examples=8)
def test_decoded_pixels_are_those_predicted_at_any_size_even_of_noise(ae_codecs, tmp_path_factory, name, data):
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 130))
    coder, seed = data.draw(st.sampled_from(CODERS)), data.draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert_file_is_prediction(ae_codecs[name], pixels, coder, tmp_path_factory.getbasetemp() / "table.json")


@pytest.mark.parametrize("B", BITS)
def test_every_quantiser_comes_back(lossless, state, photo, B):
    frozen = freeze(random_autoencoder("ae-residual", B), "tiny")
    assert (frozen.quality, frozen.rate_point) == (B, {"B": B})
    symbols = frozen.analyse(photo)
    assert symbols.min() <= 0.03 * 2**B and symbols.max() >= 0.97 * 2**B
    assert_file_is_prediction(frozen, photo, lossless, state)


def test_symbols_are_those_of_the_network(ae_codec, photo):
    symbols = ae_codec.analyse(photo)
    network = ae_codec.network
    x = images.pad(images.to_tensor(photo), network.downscale)
    assert symbols.dtype == np.int32
    assert symbols.shape == (network.size.C, *(side // network.downscale for side in x.shape[2:]))
    np.testing.assert_array_equal(symbols, network.quantise(network.encode(x))[0])
    assert len(np.unique(symbols)) > 3


def test_pillow_pictures_and_arrays_in_any_layout_are_encoded(ae_codec, photo):
    data = ae_codec.encode(photo)
    assert ae_codec.encode(images.Image.fromarray(photo)) == data
    assert ae_codec.encode(np.asfortranarray(photo)) == data


def test_what_is_no_picture_is_refused(ae_codec):
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (2**14, 2**14, 3))
    for use in (ae_codec.encode, ae_codec.estimate):
        with pytest.raises(BadImage):
            use(np.zeros((8, 8), np.uint8))
        with pytest.raises(TooLarge):
            use(huge)


# --- bits -----------------------------------------------------------------------------------


def stream(frozen: AutoencoderCodec, pixels: np.ndarray, coder: str, state: Path) -> bytes:
    data = frozen.encode(pixels, coder, state)
    (only,) = unpack(data).streams
    assert len(data) == len(only) + unpack(data).overhead
    return only


def test_the_estimate_is_the_entropy_of_all_symbols(ae_codec, photo):
    symbols = ae_codec.analyse(photo).ravel()
    _, bits = ae_codec.estimate(photo)
    assert bits == pytest.approx(len(symbols) * compressor.entropy(symbols), rel=1e-6)


def test_huffman_streams_are_less_than_a_bit_a_symbol_above_the_estimate(ae_codec, state, photo):
    """Its table in the stream costs two gamma codes a symbol of the alphabet."""
    count = ae_codec.analyse(photo).size
    _, bits = ae_codec.estimate(photo)
    beside, inside = (8 * len(stream(ae_codec, photo, coder, state)) for coder in ("huffman-file", "huffman"))
    assert bits <= beside <= bits + count + 24  # the number of symbols, and up to a byte
    assert beside - 16 <= inside <= beside + 17 * 9 + 32


@pytest.mark.parametrize("B, share", [(1, 1.03), (2, 1.03), (4, 1.05)])
def test_adaptive_streams_are_near_the_estimate_at_worst(state, photo, B, share):
    """Or below it: the coder follows channels that differ."""
    frozen = freeze(random_autoencoder("ae-strided", B), "tiny")
    pixels = np.tile(photo, (3, 3, 1))
    assert 8 * len(stream(frozen, pixels, "adaptive", state)) <= share * frozen.estimate(pixels)[1] + 60 * 2**B


# --- freezing -------------------------------------------------------------------------------


def test_freezing_twice_gives_the_same(ae_codec):
    again = freeze(random_autoencoder(ae_codec.model, 4), "tiny")
    once_more = freeze(copy.deepcopy(ae_codec.network), "tiny")
    assert again.digest == once_more.digest == ae_codec.digest
    for name, tensor in ae_codec.network.state_dict().items():
        assert torch.equal(once_more.network.state_dict()[name], tensor), name


def test_training_on_leaves_the_codec_as_it_was(ae_codec, photo):
    model = random_autoencoder(ae_codec.model, 4).train()
    frozen = freeze(model, "tiny")
    assert model.training and all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert frozen.digest == ae_codec.digest
    assert frozen.encode(photo) == ae_codec.encode(photo)
    assert not frozen.network.training
    assert not any(p.requires_grad for p in frozen.network.parameters())


def test_everything_that_matters_moves_the_digest(ae_codec):
    model = random_autoencoder(ae_codec.model, 4)
    digests = [ae_codec.digest, freeze(random_autoencoder(ae_codec.model, 2), "tiny").digest]
    assembled = autoencoder_codec.assemble(copy.deepcopy(ae_codec.network), ae_codec.tensors, "compact")
    digests.append(assembled.digest)
    floating = [name for name, tensor in model.state_dict().items() if tensor.is_floating_point()]
    variances = [name for name in floating if name.endswith("running_var")]
    for name in dict.fromkeys((floating[0], floating[-1], *variances[:1], *variances[-1:])):
        changed = copy.deepcopy(model)
        changed.state_dict()[name].view(-1)[-1].mul_(1.02).add_(0.02)
        digests.append(freeze(changed, "tiny").digest)
    assert len(set(digests)) == len(digests) >= 5


def test_a_codec_is_shown_in_a_line(ae_codec):
    shown = f"<AutoencoderCodec {ae_codec.model}, preset {ae_codec.preset}, {ae_codec.quality} bits>"
    assert repr(ae_codec) == shown and {ae_codec: 1}


def test_the_name_moves_the_digest(ae_codecs):
    strided = ae_codecs["ae-strided"]
    network = copy.deepcopy(strided.network)
    network.name = "ae-maxpool"
    assert autoencoder_codec.assemble(network, strided.tensors, "tiny").digest != strided.digest


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
def test_weights_that_cannot_be_stored_are_refused(ae_codec, value):
    model = random_autoencoder(ae_codec.model, 4)
    bias = next(name for name, p in model.named_parameters() if p.dim() == 1)
    for name in (bias, *([next(iter(dict(model.named_parameters())))] if value != 1e6 else [])):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            dict(changed.named_parameters())[name].view(-1)[0] = value
        with pytest.raises(BadData, match=rf"{re.escape(name)}(\.scale)? hold numbers that are not finite") as caught:
            freeze(changed, "tiny")
        assert is_a_sentence(caught.value)


@torch.no_grad()
def test_symbols_that_are_no_numbers_are_refused(with_coder, state, photo):
    frozen, coder = with_coder
    network = copy.deepcopy(frozen.network)
    next(network.g_a.parameters()).fill_(math.nan)
    broken = dataclasses.replace(frozen, network=network)
    for use in (lambda p: broken.encode(p, coder, state), broken.analyse, broken.estimate):
        with pytest.raises(BadData, match="numbers that no file can hold") as caught:
            use(photo)
        assert is_a_sentence(caught.value)
    assert not state.exists()


def test_coders(ae_codec, photo):
    assert ae_codec.coders == ("adaptive", "huffman")
    assert unpack(ae_codec.encode(photo)).coder == "adaptive"
    for unknown in ("constriction", "zip"):
        with pytest.raises(Unsupported, match=f"no lossless coder '{unknown}'; choose from"):
            ae_codec.encode(photo, unknown)


# --- files of others, and damage ------------------------------------------------------------


def test_a_file_of_other_weights_is_refused(ae_codec, ae_codecs, photo):
    others = [c for c in ae_codecs.values() if c is not ae_codec]
    for other in [*others, freeze(random_autoencoder(ae_codec.model, 2), "tiny")]:
        with pytest.raises(WrongModel, match=other.digest[:8].hex()) as caught:
            ae_codec.decode(other.encode(photo))
        assert ae_codec.digest[:8].hex() in str(caught.value)
        assert is_a_sentence(caught.value)


def test_an_autoencoder_and_a_model_refuse_each_other_s_files(ae_codecs, tiny_codec, photo):
    with pytest.raises(WrongModel):
        ae_codecs["ae-strided"].decode(tiny_codec.encode(photo))
    with pytest.raises(WrongModel):
        tiny_codec.decode(ae_codecs["ae-strided"].encode(photo))


def test_a_coder_of_the_models_is_refused(ae_codec, photo):
    container = unpack(ae_codec.encode(photo))
    for coder in ("constriction", "torchac"):
        with pytest.raises(CodecError) as caught:
            ae_codec.decode(pack(dataclasses.replace(container, coder=coder)))
        assert is_a_sentence(caught.value)


def test_another_seal_is_desynchronised(with_coder, state, photo):
    frozen, coder = with_coder
    container = unpack(frozen.encode(photo, coder, state))
    forged = dataclasses.replace(container, seal=container.seal ^ 1)
    with pytest.raises(Desynchronised):
        frozen.decode(pack(forged), state)


def test_another_number_of_streams_is_refused(ae_codec, photo):
    container = unpack(ae_codec.encode(photo))
    for count in (0, 2, 255):
        forged = dataclasses.replace(container, streams=container.streams * count)
        with pytest.raises(Unsupported, match=f"{count} streams where {ae_codec.model} writes 1") as caught:
            ae_codec.decode(pack(forged))
        assert is_a_sentence(caught.value)


def test_another_size_is_refused(with_coder, state, photo):
    frozen, coder = with_coder
    container = unpack(frozen.encode(photo, coder, state))
    for height, width, kind in [(300, 300, Corrupt), (8192, 8192, Corrupt), (2**16, 2**16, TooLarge)]:
        with pytest.raises(kind):
            frozen.decode(pack(dataclasses.replace(container, height=height, width=width)), state)


@pytest.mark.parametrize("name", ["ae-strided", "ae-vae", "ae-vector"])
@pytest.mark.parametrize("coder", CODERS)
@given(damages)
@example([("cut", 0)])
@settings(max_examples=12)
def test_a_damaged_stream_is_refused_or_holds_the_same_symbols(ae_codecs, photo, tmp_path_factory, name, coder, damage):
    """Even when the damage comes with a fitting checksum and so reaches the coder."""
    frozen, state = ae_codecs[name], tmp_path_factory.getbasetemp() / "table.json"
    container = unpack(frozen.encode(photo[:20, :37], coder, state))
    damaged = dataclasses.replace(container, streams=(inflict(container.streams[0], damage),))
    try:
        symbols = frozen.read_symbols(unpack(pack(damaged)), state)
    except CodecError as error:
        assert isinstance(error, Truncated | Corrupt | Desynchronised)
        assert is_a_sentence(error)
    else:
        np.testing.assert_array_equal(symbols, frozen.analyse(photo[:20, :37]))


@pytest.mark.parametrize("coder", CODERS)
@given(damages)
@settings(max_examples=20)
def test_a_damaged_file_is_a_codec_error_or_the_same_symbols(ae_codecs, photo, tmp_path_factory, coder, damage):
    frozen, state = ae_codecs["ae-strided"], tmp_path_factory.getbasetemp() / "table.json"
    data = frozen.encode(photo[:20, :37], coder, state)
    try:
        symbols = frozen.read_symbols(unpack(with_checksum(data[:8] + inflict(data[8:-4], damage))), state)
    except CodecError as error:
        assert is_a_sentence(error)
    else:
        np.testing.assert_array_equal(symbols, frozen.analyse(photo[:20, :37]))


@pytest.mark.parametrize("coder", CODERS)
def test_every_flipped_bit_of_a_file_is_refused(ae_codecs, state, photo, coder):
    frozen = ae_codecs["ae-strided"]
    data = frozen.encode(photo[:9, :17], coder, state)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            frozen.decode(bytes(flipped), state)


# --- tables in files of their own -----------------------------------------------------------


@pytest.fixture
def with_table(ae_codecs, photo, state) -> tuple[AutoencoderCodec, bytes]:
    """A codec and a file of it whose table is in `state`."""
    return ae_codecs["ae-strided"], ae_codecs["ae-strided"].encode(photo, "huffman-file", state)


def test_the_table_is_that_of_the_picture_s_symbols(with_table, photo, state):
    frozen, _ = with_table
    expected = Huffman.from_sequence(frozen.analyse(photo).ravel(), 17)
    assert json.loads(state.read_text()) == expected.state()


def test_a_table_that_is_not_named_is_refused(with_table, photo):
    frozen, data = with_table
    for use in (lambda: frozen.decode(data), lambda: frozen.encode(photo, "huffman-file")):
        with pytest.raises(BadData, match="--state") as caught:
            use()
        assert is_a_sentence(caught.value)


def test_a_table_that_is_not_there_is_refused(with_table, photo, tmp_path):
    frozen, data = with_table
    with pytest.raises(BadData, match=r"Cannot read .*none\.json"):
        frozen.decode(data, tmp_path / "none.json")
    with pytest.raises(BadData, match="does not exist"):
        frozen.encode(photo, "huffman-file", tmp_path / "none" / "table.json")


def test_the_table_of_another_picture_is_noticed(with_table, photo, state):
    frozen, data = with_table
    own = state.read_bytes()
    frozen.encode(255 - photo[:40], "huffman-file", state)
    assert state.read_bytes() != own
    with pytest.raises((Truncated, Corrupt, Desynchronised)) as caught:
        frozen.decode(data, state)
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize("alphabet", [1, 3, 16, 18, 1025])
def test_the_table_of_another_alphabet_is_refused(with_table, photo, state, alphabet):
    """Even of one that is larger, whose symbols the network does not have."""
    frozen, data = with_table
    symbols = np.arange(10_000) % alphabet
    Huffman.from_sequence(symbols, alphabet).save(state)
    with pytest.raises(CodecError) as caught:
        frozen.decode(data, state)
    assert is_a_sentence(caught.value)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_a_damaged_table_is_refused_or_gives_the_same_symbols(ae_codecs, photo, tmp_path_factory, seed):
    frozen, state = ae_codecs["ae-strided"], tmp_path_factory.getbasetemp() / "damaged.json"
    data = frozen.encode(photo, "huffman-file", state)
    rng, text = np.random.default_rng(seed), bytearray(state.read_bytes())
    text[rng.integers(len(text))] = rng.choice(np.frombuffer(b'01 "{}:,x\xff\n', np.uint8))
    state.write_bytes(text)
    try:
        symbols = frozen.read_symbols(unpack(data), state)
    except CodecError as error:
        assert is_a_sentence(error)
    else:
        np.testing.assert_array_equal(symbols, frozen.analyse(photo))
