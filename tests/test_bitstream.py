"""A `.cbk` file says what it holds, costs 48 bytes at most, and notices every change of a bit."""

import re
import struct
import tracemalloc
import zlib

import pytest
from conftest import is_a_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_lib import images
from codec_lib.codecs import autoencoder_codec
from codec_lib.coding import range_coding
from codec_lib.coding.container import CODER_IDS, MODEL_IDS, SIGNATURE, VERSION, Container, overhead, pack, unpack
from codec_lib.errors import CodecError, Corrupt, TooLarge, Truncated, Unsupported
from codec_lib.networks import autoencoders, models

SMALL = Container("factorized", 2, "torchac", bytes(range(8)), 37, 300, 0xDEADBEEF, (b"abcde", b"\0\1"))


def with_checksum(body: bytes) -> bytes:
    """A file whose last four bytes fit, whatever stands before."""
    return body + struct.pack("<I", zlib.crc32(body))


def changed(at: int, value: bytes, data: bytes | None = None) -> bytes:
    """A file with other bytes at a place, and a checksum that fits."""
    body = (data or pack(SMALL))[:-4]
    return with_checksum(body[:at] + value + body[at + len(value) :])


containers = st.builds(
    Container,
    st.sampled_from(list(MODEL_IDS)),
    st.integers(0, 255),
    st.sampled_from(list(CODER_IDS)),
    st.binary(min_size=8, max_size=8),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(0, 2**32 - 1),
    st.lists(st.binary(max_size=300), max_size=5).map(tuple),
)


@given(containers)
def test_what_is_packed_comes_back(container):
    data = pack(container)
    assert unpack(data) == container
    assert len(data) == overhead(len(container.streams)) + sum(map(len, container.streams))


def test_as_many_streams_as_a_byte_counts_come_back():
    container = Container("joint", 1, "torchac", b"12345678", 1, 1, 0, tuple(bytes([k]) * k for k in range(255)))
    assert unpack(pack(container)) == container


def test_the_container_costs_48_bytes_at_most():
    """For the two streams that a hyperprior needs; the factorized prior has one."""
    assert [overhead(n) for n in range(3)] == [37, 41, 45]


def test_the_layout_is_the_documented_one():
    """A change of these bytes is a change of the format: count VERSION up."""
    assert pack(SMALL) == bytes.fromhex(
        "8943424b0d0a1a0a"  # signature
        "01010202"  # version, model, quality, coder
        "0001020304050607"  # weights
        "250000002c010000"  # height, width
        "efbeadde"  # checksum of the symbols
        "020500000002000000"  # two streams and their lengths
        "61626364650001"  # the streams
        "6afe3be9"  # checksum
    )


def test_numbers_of_models_and_coders_never_change():
    assert MODEL_IDS == {
        "factorized": 1, "hyperprior": 2, "joint": 3, "checkerboard": 4, "ae-maxpool": 16, "ae-strided": 17,
        "ae-residual": 18, "ae-vae": 19, "ae-vector": 20, "ae-resnet18": 21,
    }  # fmt: skip
    assert CODER_IDS == {"constriction": 1, "torchac": 2, "huffman": 16, "adaptive": 17, "huffman-file": 18}
    assert set(CODER_IDS) == {*range_coding.CODERS, *autoencoder_codec.CODERS}
    assert set(MODEL_IDS) == {*models.MODELS, *autoencoders.AUTOENCODERS}


# --- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [SMALL, Container("factorized", 1, "constriction", b"w" * 8, 1, 1, 0, ())])
def test_every_truncation_is_refused(container):
    data = pack(container)
    for length in range(1, len(data)):
        with pytest.raises(Truncated, match=r"cut off.*\.$"):
            unpack(data[:length])
    with pytest.raises(Corrupt, match="signature"):
        unpack(b"")


def test_every_flipped_bit_is_refused():
    data = pack(SMALL)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError) as caught:
            unpack(bytes(flipped))
        assert is_a_sentence(caught.value)


@given(st.binary(min_size=1, max_size=50))
def test_bytes_after_the_end_are_refused(tail):
    with pytest.raises(Corrupt, match=f"{len(tail)} bytes more"):
        unpack(pack(SMALL) + tail)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"a text\n",
        b"\0",
        SIGNATURE[1:],
        pack(SMALL).replace(b"\r\n", b"\n"),
        pack(SMALL).replace(b"\n", b"\r\n"),
        bytes(b & 0x7F for b in pack(SMALL)),
    ],
    ids=["png", "jpeg", "text", "zero", "no first byte", "unix line ends", "dos line ends", "seven bits"],
)
def test_other_files_and_text_transfers_are_recognised(data):
    with pytest.raises(Corrupt, match=r"not a \.cbk file"):
        unpack(data)


@given(st.binary(max_size=120))
@settings(max_examples=300)
def test_arbitrary_bytes_end_in_a_codec_error(tail):
    for data in (tail, SIGNATURE + tail, with_checksum(SIGNATURE + b"\x01" + tail)):
        try:
            container = unpack(data)
        except CodecError as error:
            assert is_a_sentence(error)
        else:  # hypothesis has found a sound file
            assert pack(container) == data


@given(st.integers(0, 51), st.binary(min_size=1, max_size=8))
@settings(max_examples=300)
def test_a_header_forged_with_a_fitting_checksum_is_refused_or_says_what_it_holds(at, value):
    data = changed(at, value)
    try:
        container = unpack(data)
    except CodecError as error:
        assert is_a_sentence(error)
    else:
        assert pack(container) == data
        images.check_size(container.height, container.width)


@pytest.mark.parametrize(
    "at, value, kind, words",
    [
        (8, b"\x00", Unsupported, "version 0; this program reads version 1"),
        (8, b"\x02", Unsupported, "version 2; this program reads version 1"),
        (9, b"\x00", Unsupported, "model number 0"),
        (9, b"\xc8", Unsupported, "model number 200"),
        (11, b"\x00", Unsupported, "coder number 0"),
        (11, b"\x4d", Unsupported, "coder number 77"),
        (20, bytes(4), Corrupt, "300x0 pixels"),
        (24, bytes(4), Corrupt, "0x37 pixels"),
        (20, b"\xff" * 8, TooLarge, "4294967295x4294967295"),
        (20, struct.pack("<II", 2**13 + 1, 2**13), TooLarge, "8192x8193"),
        (32, b"\x00", Corrupt, "15 bytes more"),
        (32, b"\xff", Truncated, "inside its header"),
        (33, struct.pack("<II", 2**32 - 1, 2**32 - 1), Truncated, "52 bytes of 8,589,934,635"),
        (33, struct.pack("<II", 6, 2), Truncated, "52 bytes of 53"),
        (33, struct.pack("<II", 4, 2), Corrupt, "1 bytes more"),
    ],
)
def test_each_field_is_checked(at, value, kind, words):
    with pytest.raises(kind, match=re.escape(words)) as caught:
        unpack(changed(at, value))
    assert is_a_sentence(caught.value)


def test_the_largest_picture_is_accepted():
    container = unpack(changed(20, struct.pack("<II", 2**13, 2**13)))
    assert container.height * container.width == images.MAX_PIXELS


def test_lengths_are_checked_before_memory_is_taken():
    huge = with_checksum(pack(SMALL)[:32] + b"\xff" + b"\xff" * 4 * 255 + bytes(100))
    tracemalloc.start()
    try:
        with pytest.raises(Truncated):
            unpack(huge)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_version_is_the_one_of_this_layout():
    assert VERSION == pack(SMALL)[8] == 1
