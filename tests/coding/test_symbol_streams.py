"""Streams that need no state: they come back by the coder's name; damaged ones end in a `CodecError`."""

import time
import zlib

import numpy as np
import pytest
from conftest import is_a_sentence
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sequences import EMPTY, SAMPLE, damages, inflict, laplacian, sequences

from codec_lib.coding import compressor
from codec_lib.coding.compressor import WIDEST, entropy
from codec_lib.coding.huffman import Huffman
from codec_lib.coding.symbol_streams import COMPRESSORS, pack, unpack
from codec_lib.coding.varints import write_varint
from codec_lib.errors import CodecError, Corrupt, Truncated, Unsupported


@pytest.mark.parametrize("name", COMPRESSORS)
@given(sequences())
@settings(max_examples=50)
def test_any_sequence_comes_back_without_a_state(name, sequence):
    symbols, alphabet = sequence
    data = pack(name, symbols, alphabet)
    for count in (None, len(symbols)):
        back = unpack(name, data, alphabet, count)
        assert back.dtype == np.int32
        np.testing.assert_array_equal(back, symbols)
    with pytest.raises(Corrupt, match=f"holds {len(symbols)} symbols"):
        unpack(name, data, alphabet, len(symbols) + 1)
    with pytest.raises(Corrupt, match=f"alphabet has {alphabet} symbols"):
        unpack(name, data, alphabet + 1, len(symbols))


def test_golden_bytes():
    """Streams in files depend on these."""
    assert pack("huffman", SAMPLE, 5).hex() == "0e0592e4ac989e6e40"
    assert pack("adaptive", SAMPLE, 5).hex() == "050e1b1350219a7b"
    assert pack("huffman", EMPTY, 5).hex() == "0005"
    assert pack("adaptive", EMPTY, 5).hex() == "0500"


def test_golden_bytes_of_a_long_sequence():
    symbols = np.arange(20_000) ** 2 // 977 % 1025  # integers only: no random generator that may change
    streams = {name: pack(name, symbols, 1025) for name in COMPRESSORS}
    sums = {name: (len(data), f"{zlib.crc32(data):08x}") for name, data in streams.items()}
    assert sums == {"huffman": (25288, "a33a592a"), "adaptive": (25056, "900c9fb0")}


def test_an_unknown_coder_is_refused_with_the_known_ones():
    for use in (lambda: pack("zip", SAMPLE, 5), lambda: unpack("zip", b"\0", 5, 0)):
        with pytest.raises(Unsupported, match=r"'zip'; choose from huffman, adaptive\.$"):
            use()


@pytest.mark.parametrize("alphabet", [1, 5, 1025])
def test_a_constant_sequence_is_a_few_bytes(alphabet):
    assert len(pack("huffman", np.full(100_000, alphabet - 1), alphabet)) <= 8
    assert len(pack("adaptive", np.full(100_000, alphabet - 1), alphabet)) <= 8 + alphabet


@pytest.mark.parametrize("name, alphabet, limit", [("huffman", 17, 1), ("huffman", 1025, 2), ("adaptive", 17, 3)])
def test_coding_is_not_slow(name, alphabet, limit):
    """Several times what it takes when nothing else runs, in seconds."""
    symbols = laplacian(np.random.default_rng(0), alphabet, 200_000, 0.1)
    start = time.process_time()
    unpack(name, pack(name, symbols, alphabet), alphabet, len(symbols))
    assert time.process_time() - start < limit


@pytest.mark.parametrize("name", COMPRESSORS)
@given(sequences(), damages)
@settings(max_examples=100)
def test_a_damaged_stream_gives_symbols_or_a_codec_error(name, sequence, damage):
    symbols, alphabet = sequence
    coder = Huffman.from_sequence(symbols, alphabet)
    for data, decode in (
        (coder.encode(symbols), lambda d: coder.decode(d, len(symbols))),
        (pack(name, symbols, alphabet), lambda d: unpack(name, d, alphabet, len(symbols))),
    ):
        try:
            back = decode(inflict(data, damage))
        except CodecError as error:
            assert isinstance(error, Truncated | Corrupt)
            assert is_a_sentence(error)
        else:
            assert back.shape == (len(symbols),)
            assert back.dtype == np.int32
            assert not len(back) or 0 <= back.min() <= back.max() < alphabet


@pytest.mark.parametrize("name", COMPRESSORS)
@given(st.binary(max_size=60), st.sampled_from([1, 2, 5, 300, WIDEST]))
@example(b"\0" * 60, 5)
@example(b"\xff" * 60, 5)
@settings(max_examples=100)
def test_random_bytes_of_unknown_length_do_no_harm(name, data, alphabet):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressor, "LONGEST", 10_000)  # a constant sequence may have 2^28 symbols
        for decode in (
            lambda d: unpack(name, write_varint(alphabet) + d, alphabet),
            Huffman.from_sequence(EMPTY, alphabet).decode,
        ):
            try:
                decode(data)
            except CodecError as error:
                assert isinstance(error, Truncated | Corrupt)


def test_a_wide_alphabet_is_coded_near_its_entropy():
    """A thousand frequencies cannot be learned one by one: in one piece this takes 4 % more than the entropy."""
    generator = np.random.default_rng(0)
    channels = [generator.laplace(512, scale, 512) for scale in np.geomspace(4, 200, 48)]
    symbols = np.clip(np.rint(np.concatenate(channels)), 0, 1024).astype(int)
    data = pack("adaptive", symbols, 1025)
    assert 8 * len(data) < entropy(symbols) * len(symbols)
    assert np.array_equal(unpack("adaptive", data, 1025, len(symbols)), symbols)
    with pytest.raises(CodecError):
        unpack("adaptive", data[:100], 1025, len(symbols))
