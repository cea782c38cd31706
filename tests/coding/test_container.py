"""A `.cbk` file says what it holds, costs 48 bytes at most, and notices every change of a bit."""

import io
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import is_a_sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_lib import limits, registry
from codec_lib.codecs import autoencoder_codec
from codec_lib.coding import container, range_coding
from codec_lib.coding.container import (
    CODER_IDS,
    EXIF,
    ICC,
    MAX_CHUNKS,
    SIGNATURE,
    VERSION,
    Container,
    check_seal,
    pack,
    read,
    read_header,
    seal,
    unpack,
)
from codec_lib.errors import CodecError, Corrupt, Desynchronised, TooLarge, Truncated, Unsupported

SYMBOLS = np.arange(-3, 9, dtype=np.int32)
PLAIN = seal(Container("factorized", 2400, "torchac", bytes(range(8)), 37, 300, (b"abcde", b"\0\1")), SYMBOLS)
CHUNKS = ((EXIF, b"MM\0*"), ("unKn", b""), (ICC, bytes(9)))
SMALL = seal(replace(PLAIN, chunks=CHUNKS), SYMBOLS)
OLD = (Path(__file__).parents[1] / "golden" / "photo-constriction.cbk").read_bytes()


def with_checksum(body: bytes) -> bytes:
    """A file whose last four bytes fit, whatever stands before."""
    return body + struct.pack("<I", zlib.crc32(body))


def changed(at: int, value: bytes, data: bytes | None = None) -> bytes:
    """A file with other bytes at a place, and a checksum that fits."""
    body = (data or pack(PLAIN))[:-4]
    return with_checksum(body[:at] + value + body[at + len(value) :])


chunk_types = st.from_regex("[a-z][A-Za-z]{3}", fullmatch=True)
containers = st.builds(
    Container,
    st.sampled_from(list(registry.models())),
    st.integers(0, 2**16 - 1),
    st.sampled_from(list(CODER_IDS)),
    st.binary(min_size=8, max_size=8),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.binary(max_size=300), max_size=5).map(tuple),
    chunks=st.dictionaries(chunk_types, st.binary(max_size=300), max_size=4).map(lambda d: tuple(d.items())),
    seal=st.integers(0, 2**32 - 1),
)


@given(containers)
def test_what_is_packed_comes_back(container):
    data = pack(container)
    assert unpack(data) == container
    assert unpack(read(io.BytesIO(data))) == container
    contents = sum(map(len, container.streams)) + sum(len(chunk) for _, chunk in container.chunks)
    assert len(data) == container.overhead + contents
    header, lengths = read_header(data)
    assert vars(header).items() <= vars(container).items()
    assert lengths.file == len(data)
    assert data[lengths.head : lengths.head + contents] == b"".join(
        [c for _, c in container.chunks] + [*container.streams]
    )


def test_as_many_streams_and_chunks_as_a_byte_counts_come_back():
    streams = tuple(bytes([k]) * k for k in range(255))
    chunks = tuple((f"a{chr(97 + k % 26)}{chr(97 + k // 26)}z", bytes([k])) for k in range(255))
    container = Container("joint", 1000, "torchac", b"12345678", 1, 1, streams, chunks=chunks)
    assert unpack(pack(container)) == container


def test_the_container_costs_48_bytes_at_most():
    """For the two streams that a hyperprior needs; the factorized prior has one."""
    assert [replace(SMALL, streams=(b"",) * n, chunks=()).overhead for n in range(3)] == [39, 43, 47]


def test_the_layout_is_the_documented_one():
    """A change of these bytes is a change of the format: count VERSION up."""
    assert pack(SMALL) == bytes.fromhex(
        "8943424b0d0a1a0a"  # signature
        "0201020203"  # version, model, coder, streams, chunks
        "6009"  # quality
        "0001020304050607"  # weights
        "250000002c010000"  # height, width
        "61d014d9"  # seal
        "0500000002000000"  # lengths of the streams
        "6558496604000000756e4b6e000000006943435009000000"  # types and lengths of the chunks
        "4d4d002a000000000000000000"  # the chunks
        "61626364650001"  # the streams
        "5e92f9a7"  # checksum
    )


def test_numbers_of_models_and_coders_never_change():
    numbers = {name: entry.number for name, entry in registry.models().items()}
    assert len({*numbers.values()}) == len(numbers)
    assert numbers.items() >= {
        "factorized": 1, "hyperprior": 2, "joint": 3, "checkerboard": 4, "ae-maxpool": 16, "ae-strided": 17,
        "ae-residual": 18, "ae-vae": 19, "ae-vector": 20, "ae-resnet18": 21,
    }.items()  # fmt: skip
    assert CODER_IDS == {"constriction": 1, "torchac": 2, "huffman": 16, "adaptive": 17, "huffman-file": 18}
    assert set(CODER_IDS) == {*range_coding.CODERS, *autoencoder_codec.CODERS}


def test_version_1_is_read_and_not_written():
    container = unpack(OLD)
    assert (container.version, container.quality, container.chunks) == (1, 3000, ())
    assert container.overhead + len(container.streams[0]) == len(OLD)
    assert read_header(OLD[: container.overhead - 4])[1].file == len(OLD)
    with pytest.raises(ValueError, match="not written any more"):
        pack(container)


# --- the seal -------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [PLAIN, SMALL])
def test_the_seal_covers_every_byte_and_every_symbol(container):
    """Of a file whose checksum was made right: what it holds otherwise, the seal tells."""
    check_seal(container, SYMBOLS)
    data = pack(container)
    for bit in range(8 * 8, 8 * (len(data) - 4)):
        try:
            forged = unpack(changed(bit // 8, bytes([data[bit // 8] ^ 1 << bit % 8]), data))
        except CodecError:
            continue
        with pytest.raises(Desynchronised):
            check_seal(forged, SYMBOLS)
    for k in range(len(SYMBOLS)):
        with pytest.raises(Desynchronised):
            check_seal(container, SYMBOLS + (np.arange(len(SYMBOLS)) == k))


# --- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [pack(SMALL), OLD, pack(replace(PLAIN, streams=()))])
def test_every_truncation_is_refused(data):
    for length in range(1, len(data)):
        for reading in (unpack, lambda cut: unpack(read(io.BytesIO(cut)))):
            with pytest.raises(Truncated, match=r"cut off.*\.$"):
                reading(data[:length])
    with pytest.raises(Corrupt, match="signature"):
        unpack(b"")


@pytest.mark.parametrize("data", [pack(SMALL), OLD])
def test_every_flipped_bit_is_refused(data):
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
    with pytest.raises(Corrupt, match="1 bytes more"):  # no more is read
        unpack(read(io.BytesIO(pack(SMALL) + tail)))


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
    for data in (tail, SIGNATURE + tail, *(with_checksum(SIGNATURE + bytes([v]) + tail) for v in (1, 2))):
        try:
            container = unpack(data)
        except CodecError as error:
            assert is_a_sentence(error)
        else:  # hypothesis has found a sound file
            assert container.version == 1 or pack(container) == data


@given(st.integers(0, 80), st.binary(min_size=1, max_size=8))
@settings(max_examples=300)
def test_a_header_forged_with_a_fitting_checksum_is_refused_or_says_what_it_holds(at, value):
    data = changed(at, value, pack(SMALL))
    try:
        container = unpack(data)
    except CodecError as error:
        assert is_a_sentence(error)
    else:
        assert pack(container) == data
        limits.check_size(container.height, container.width)


@pytest.mark.parametrize(
    "at, value, kind, words",
    [
        (8, b"\x00", Unsupported, "version 0; this program reads versions 1 to 2"),
        (8, b"\x03", Unsupported, "version 3; this program reads versions 1 to 2"),
        (9, b"\x00", Unsupported, "model number 0"),
        (9, b"\xc8", Unsupported, "model number 200"),
        (10, b"\x00", Unsupported, "coder number 0"),
        (10, b"\x4d", Unsupported, "coder number 77"),
        (11, b"\x00", Corrupt, "15 bytes more"),
        (11, b"\xff", Truncated, "inside its header"),
        (12, b"\xff", Truncated, "inside its header"),
        (23, bytes(4), Corrupt, "300x0 pixels"),
        (27, bytes(4), Corrupt, "0x37 pixels"),
        (23, b"\xff" * 8, TooLarge, "4294967295x4294967295"),
        (23, struct.pack("<II", 2**13 + 1, 2**13), TooLarge, "8192x8193"),
        (35, struct.pack("<II", 2**32 - 1, 2**32 - 1), Truncated, "54 bytes of 8,589,934,637"),
        (35, struct.pack("<II", 6, 2), Truncated, "54 bytes of 55"),
        (35, struct.pack("<II", 4, 2), Corrupt, "1 bytes more"),
    ],
)
def test_each_field_is_checked(at, value, kind, words):
    with pytest.raises(kind, match=re.escape(words)) as caught:
        unpack(changed(at, value))
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize(
    "chunks, kind, words",
    [
        ((("Need", b""),), Unsupported, "a reader that knows its chunk Need"),
        ((("a1zz", b""),), Corrupt, "impossible types"),
        (((EXIF, b"a"), (EXIF, b"b")), Corrupt, "impossible types"),
        (((EXIF, bytes(MAX_CHUNKS + 1)),), TooLarge, "16 MiB of metadata"),
    ],
)
def test_chunks_that_cannot_be_are_refused(chunks, kind, words, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(container, "MAX_CHUNKS", 2**25)  # it is not written, either
        data = pack(replace(PLAIN, chunks=chunks))
    for reading in (unpack, lambda data: read_header(data[:200])):
        with pytest.raises(kind, match=words) as caught:
            reading(data)
        assert is_a_sentence(caught.value)


def test_the_largest_picture_is_accepted_and_the_limit_can_be_set(monkeypatch):
    data = changed(23, struct.pack("<II", 2**13, 2**13))
    assert unpack(data).height * unpack(data).width == limits.MAX_PIXELS
    monkeypatch.setenv("CODECBOOK_MAX_PIXELS", str(2**26 - 1))
    with pytest.raises(TooLarge, match="CODECBOOK_MAX_PIXELS"):
        read_header(data)
    monkeypatch.setenv("CODECBOOK_MAX_PIXELS", "many")
    with pytest.raises(Unsupported, match="must be a number of pixels, not 'many'"):
        read_header(data)


HOSTILE = {
    "lengths": pack(replace(PLAIN, streams=()))[:11] + b"\xff\xff" + b"\xff" * 4000,
    "a stream for its picture": changed(35, struct.pack("<I", 2**31)),
    "pixels": changed(23, b"\xff" * 8),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_claims_are_checked_before_memory_is_taken(kind, tmp_path):
    data, path = HOSTILE[kind], tmp_path / "a.cbk"
    path.write_bytes(data)
    os.truncate(path, 2**32)  # a sparse file that is as long as it says, or longer
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            unpack(data)
        with open(path, "rb") as file, pytest.raises(CodecError):
            read(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_bomb_is_refused_before_torch_is_loaded(tmp_path):
    """By `decode` and `info`, within 100 ms and 50 MB, the interpreter's own included."""
    (tmp_path / "a.cbk").write_bytes(HOSTILE["pixels"])
    code = (
        "import re, sys, time; from codec_lib.commands.parser import main; t = time.process_time();"
        "status = main(sys.argv[1:]); seconds = time.process_time() - t;"
        "peak = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 2**10;"
        "print(status, 'torch' in sys.modules, seconds < 0.1, peak < 50)"
    )
    for command in (["decode", "a.cbk", "a.png"], ["info", "a.cbk"]):
        done = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True)
        assert "megapixels allowed" in done.stderr
        assert done.stdout == "2 False True True\n"


def test_version_is_the_one_of_this_layout():
    assert VERSION == pack(SMALL)[8] == 2
