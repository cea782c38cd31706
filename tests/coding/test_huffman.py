"""Huffman codes are the best there are, and their tables small; what is no such code is refused."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import SAMPLE, check_round_trip, laplacian, sequences, skewed

from codec_lib.coding import huffman
from codec_lib.coding.compressor import LONGEST, WIDEST, entropy
from codec_lib.coding.huffman import Huffman
from codec_lib.coding.varints import write_varint
from codec_lib.errors import Corrupt, Truncated

# --- codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", [3, 1025])
def test_long_codes_go_through_the_pieces(monkeypatch, alphabet):
    """Codes of very different lengths across the borders of the pieces that are handled at once."""
    monkeypatch.setattr(huffman, "_PIECE", 5)
    rng = np.random.default_rng(alphabet)
    state = np.repeat(np.arange(min(alphabet, 20)), 2 ** np.arange(min(alphabet, 20)))
    coder = Huffman.from_sequence(state, alphabet)
    assert max(map(len, coder.codes)) == (30 if alphabet == 1025 else 2)
    for length in (1, 4, 5, 6, 300):
        check_round_trip(coder, rng.integers(0, alphabet, length))
        check_round_trip(coder, skewed(rng, alphabet, length))


def test_the_deepest_code_that_counts_can_give_fits():
    fibonacci = [1, 1]
    while sum(fibonacci) + fibonacci[-1] + fibonacci[-2] <= LONGEST:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    counts = np.array(fibonacci + [0] * (WIDEST - len(fibonacci)))
    lengths = huffman._code_lengths(counts)
    assert len(fibonacci) < lengths.max() <= huffman._DEPTH
    code = huffman._PrefixCode.canonical(np.arange(WIDEST), lengths)
    symbols = np.random.default_rng(0).integers(0, WIDEST, 3000)
    np.testing.assert_array_equal(code.read(code.write(symbols), 3000), symbols)


@given(sequences())
@settings(max_examples=50)
def test_huffman_is_within_a_bit_of_the_entropy(sequence):
    """With codes for what never came, too."""
    symbols, alphabet = sequence
    coder = Huffman.from_sequence(symbols, alphabet)
    bits = sum(len(coder.codes[s]) for s in symbols)
    assert entropy(symbols) * len(symbols) - 1e-6 <= bits <= (entropy(symbols) + 1) * len(symbols) + 1e-6
    assert len(coder.encode(symbols)) == len(write_varint(len(symbols))) + math.ceil(bits / 8)
    counts = np.bincount(symbols, minlength=alphabet)
    present = counts[counts > 0]
    if len(present):  # what never came costs a bit for each of the rarest
        best = int((present * huffman._code_lengths(present)).sum())
        assert bits <= best + present.min()
        assert len(present) < alphabet or bits == best


@pytest.mark.parametrize(
    "counts", [[1], [3, 1], [1, 1, 1], [1, 1, 2, 3, 5], [4, 4, 4, 4], [9, 1, 1, 1, 1], [7, 6, 5, 4]]
)
def test_huffman_is_the_best_of_all_prefix_codes(counts):
    depth = len(counts)
    every = itertools.product(range(0 if depth == 1 else 1, depth), repeat=depth)
    best = min(np.dot(counts, lengths) for lengths in every if sum(2.0 ** -np.array(lengths)) <= 1)
    assert np.dot(counts, huffman._code_lengths(np.array(counts))) == best


def test_huffman_codes_are_canonical():
    """The example of RFC 1951, 3.2.2, whose lengths are 3, 3, 3, 3, 3, 2, 4, 4."""
    coder = Huffman.from_sequence(np.repeat(np.arange(8), [4, 4, 4, 4, 4, 8, 2, 2]), 8)
    assert coder.codes == ["010", "011", "100", "101", "110", "00", "1110", "1111"]


def test_golden_bytes():
    """Streams in files depend on these."""
    assert Huffman.from_sequence(SAMPLE, 5).encode(SAMPLE).hex() == "0e989e6e40"


# --- tables in the stream -------------------------------------------------------------------


@given(sequences(), st.integers(0, 7))
@settings(max_examples=60)
def test_the_table_comes_back(sequence, pad):
    present = np.unique(sequence[0])
    lengths = huffman._code_lengths(np.bincount(sequence[0])[present]) if len(present) else None
    if lengths is None:
        return
    table = huffman._write_table(present.tolist(), lengths.tolist())
    code, at = huffman._read_table(b"\xff" * pad + table + b"\x5a" * 9, pad, sequence[1])
    assert at == pad + len(table)
    assert len(table) <= 1 + len(present) * 9 // 2
    original = huffman._PrefixCode.canonical(present, lengths)
    for part in ("symbols", "lengths", "starts"):
        np.testing.assert_array_equal(getattr(code, part), getattr(original, part))


@pytest.mark.parametrize(
    "alphabet, present, most", [(5, 1, 1), (1025, 1, 3), (1025, 2, 5), (1025, 20, 36), (17, 17, 10), (1025, 1025, 400)]
)
def test_the_table_in_the_stream_is_small(alphabet, present, most):
    """Few symbols that lie apart, or many with a distribution like that of latents."""
    rng = np.random.default_rng(present)
    if present < 100:
        kept = np.sort(rng.choice(alphabet, present, replace=False))
        symbols = kept[laplacian(rng, present, 50_000, 0.15)]
    else:
        symbols = laplacian(rng, alphabet, 50_000, 0.1)
    own = np.unique(symbols, return_inverse=True)[1]
    codes = len(Huffman.from_sequence(own, own.max() + 1).encode(symbols=own))
    head = len(write_varint(alphabet))
    assert len(Huffman.encode_with_table(symbols, alphabet)) - codes - head <= most


@pytest.mark.parametrize(
    "bits, alphabet, error",
    [
        ("1", 5, Truncated),  # no change of length follows
        ("0000", 5, Truncated),
        ("1 010 1", 5, Truncated),  # one code of one bit, and no other
        ("00110 1", 5, Corrupt),  # symbol 5 of 0 to 4
        ("1 00100 1 00101", 5, Corrupt),  # lengths 2, then 0
        ("1 011", 5, Corrupt),  # a length of -1
        ("1 0000001110010", 5, Corrupt),  # 57 bits
        ("1 00100 1 011 1 1", 5, Corrupt),  # lengths 2, 1, 1: too many codes
        ("1 1 1", 5, Corrupt),  # bits after the end
    ],
)
def test_an_impossible_table_is_refused(bits, alphabet, error):
    bits = bits.replace(" ", "")
    padded = bits if error is Truncated else bits.ljust(-(-len(bits) // 8) * 8, "0")
    padded = padded.ljust(-(-len(padded) // 8) * 8, "0")
    table = bytes(int(padded[k : k + 8], 2) for k in range(0, len(padded), 8))
    with pytest.raises(error):
        Huffman.decode_with_table(b"\x05" + write_varint(alphabet) + table)


def test_huffman_pads_with_zeros():
    data = Huffman.from_sequence(SAMPLE, 5).encode(SAMPLE)
    with pytest.raises(Corrupt, match="zero bits"):
        Huffman.from_sequence(SAMPLE, 5).decode(data[:-1] + bytes([data[-1] | 1]))


# --- state files ----------------------------------------------------------------------------


def test_a_state_file_can_be_read_by_people(tmp_path):
    Huffman.from_sequence(SAMPLE, 5).save(tmp_path / "state.json")
    state = json.loads((tmp_path / "state.json").read_text())
    assert state == {
        "format": "codecbook lossless state",
        "version": 1,
        "coder": "huffman",
        "alphabet": 5,
        "codes": {"0": "10", "1": "0", "2": "110", "3": "1110", "4": "1111"},
    }
    assert (tmp_path / "state.json").read_text().splitlines()[6] == '  "0": "10",'


def test_any_complete_prefix_code_is_used_as_it_stands():
    state = Huffman.from_sequence(SAMPLE, 5).state()
    state["codes"] = {"0": "1", "1": "00", "2": "0111", "3": "0110", "4": "010"}  # not canonical
    coder = Huffman.from_state(state)
    assert coder.encode(np.array([2, 0, 1, 4])).hex() == "04" + f"{0b0111_1_00_010_000000:04x}"
    check_round_trip(coder, SAMPLE)
    assert coder.state() == state
