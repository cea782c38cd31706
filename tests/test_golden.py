"""Files written once decode for ever, and are written again byte for byte. See golden/README.md."""

from pathlib import Path

import numpy as np
import pytest

from codec_lib import bitstream, codec, images
from codec_lib.codec import Codec
from codec_lib.entropy_coding import CODERS, Reader, Tables, Writer

GOLDEN = Path(__file__).parent / "golden"

# --- a stream of hand-made tables, in full --------------------------------------------------

TABLES = Tables(
    np.array([2, 8, 4, 8], np.int32),
    np.array([0, -3, 100, -4], np.int32),
    np.array(
        [65000, 536, 1, 655, 10000, 40000, 12000, 2000, 800, 80, 16384, 16384, 16384, 16384, *[8192] * 8], np.int32
    ),
)
GROUPS = [
    ([0, 0, -1, 100, 3, -3, 0, 102, 0, 1, -30_000, 0, 2**30], [0, 0, 1, 2, 3, 1, 0, 2, 1, 1, 3, 0, 2]),
    ([], []),
    ([-4, 2, 5, 0, 1, -(2**31), 2**31 - 1, 103, 99], [3, 3, 3, 0, 0, 1, 1, 2, 2]),
]
STREAMS = {
    "constriction": "1700d7d403b2feffff070400f9ffffff0ff6ffffff0f" + "0001bbe67a020c072ee0938a0cbb",
    "torchac": "1700d7d403b2feffff070400f9ffffff0ff6ffffff0f" + "00010140012d0424be039801fc01f4041bfffff4",
}
"""By coder: the escapes and their length, then the range coder's bytes."""


@pytest.mark.parametrize("coder", CODERS)
def test_stream_of_hand_made_tables(coder):
    writer = Writer(TABLES, coder)
    for symbols, index in GROUPS:
        writer.put(np.array(symbols, np.int32), np.array(index, np.int64))
    data = bytes.fromhex(STREAMS[coder])
    assert writer.finish() == data
    reader = Reader(TABLES, coder, data)
    for symbols, index in GROUPS:
        assert reader.get(np.array(index, np.int64)).tolist() == symbols
    reader.finish()


# --- whole files ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden() -> Codec:
    return codec.read(GOLDEN / "tiny.safetensors")


def symbols_of(name: str) -> np.ndarray:
    return np.loadtxt(GOLDEN / f"{name}.csv", np.int64, delimiter=",").astype(np.int32).reshape(12, 6, 7)


@pytest.mark.parametrize("name", ["photo", "outliers"])
@pytest.mark.parametrize("coder", CODERS)
def test_symbols_are_coded_byte_for_byte(golden, name, coder):
    data = (GOLDEN / f"{name}-{coder}.cbk").read_bytes()
    assert golden.write_symbols(symbols_of(name), 83, 101, coder) == data


@pytest.mark.parametrize("name", ["photo", "outliers"])
@pytest.mark.parametrize("coder", CODERS)
def test_files_decode_to_their_symbols(golden, name, coder):
    container = bitstream.unpack((GOLDEN / f"{name}-{coder}.cbk").read_bytes())
    assert (container.model, container.quality, container.coder) == ("factorized", 3, coder)
    assert (container.height, container.width) == (83, 101)
    np.testing.assert_array_equal(golden.read_symbols(container), symbols_of(name))


def test_outliers_are_far_out_and_beyond_every_table(golden):
    symbols, tables = symbols_of("outliers"), golden.tables["y"]
    assert {-(2**31), -(2**30), -30_000, 30_000, 2**30, 2**31 - 1} <= set(symbols.ravel().tolist())
    below = symbols.min((1, 2)) < tables.offsets
    above = symbols.max((1, 2)) >= tables.offsets + tables.widths - 1
    assert below.sum() >= 6
    assert above.sum() >= 6


@pytest.mark.parametrize("coder", CODERS)
def test_pixels_stay_within_one_grey_level(golden, coder):
    """g_s may round otherwise on another machine, but it is the same function."""
    decoded = golden.decode((GOLDEN / f"photo-{coder}.cbk").read_bytes()).astype(int)
    expected, _ = images.read_image(GOLDEN / "photo-decoded.png")
    assert np.abs(decoded - expected).max() <= 1
    assert (decoded == expected).mean() > 0.99


def test_the_symbols_are_those_of_the_photograph(golden):
    """Up to ties that another machine's g_a may break otherwise."""
    pixels, _ = images.read_image(GOLDEN / "photo.png")
    difference = golden.analyse(pixels) - symbols_of("photo")
    assert np.abs(difference).max() <= 1
    assert (difference == 0).mean() > 0.98
