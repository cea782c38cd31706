"""What every lossless compressor does: any sequence comes back, states are kept in files, bad input is refused."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import is_a_sentence
from hypothesis import given, settings
from sequences import EMPTY, SAMPLE, check_round_trip, sequences

from codec_lib.coding import adaptive_arithmetic, compressor
from codec_lib.coding.compressor import WIDEST, entropy
from codec_lib.coding.huffman import Huffman
from codec_lib.coding.symbol_streams import COMPRESSORS, pack, unpack
from codec_lib.coding.varints import write_varint
from codec_lib.errors import BadData, Corrupt, Truncated

# --- round trips ----------------------------------------------------------------------------


@given(sequences(), sequences())
@settings(max_examples=50)
def test_any_sequence_comes_back_whatever_the_state_was_made_from(one, other):
    symbols, alphabet = one
    check_round_trip(Huffman.from_sequence(symbols, alphabet), symbols)
    check_round_trip(Huffman.from_sequence(other[0] % alphabet, alphabet), symbols)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("alphabet", [1, 2, 3, 1025, WIDEST])
@pytest.mark.parametrize("length", [0, 1, 2, 500])
def test_constant_sequences_come_back(name, alphabet, length):
    for symbol in {0, alphabet // 2, alphabet - 1}:
        symbols = np.full(length, symbol)
        check_round_trip(Huffman.from_sequence(symbols, alphabet), symbols)
        check_round_trip(Huffman.from_sequence(EMPTY, alphabet), symbols)
        unseen = np.full(length, (symbol + 1) % alphabet)
        check_round_trip(Huffman.from_sequence(symbols, alphabet), unseen)
        np.testing.assert_array_equal(unpack(name, pack(name, symbols, alphabet), alphabet, length), symbols)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64])
def test_any_integers_will_do(name, dtype):
    assert pack(name, SAMPLE.astype(dtype), 5) == pack(name, SAMPLE, 5)
    coder = Huffman.from_sequence(SAMPLE.astype(dtype), 5)
    assert coder.encode(SAMPLE.astype(dtype)) == Huffman.from_sequence(SAMPLE, 5).encode(SAMPLE)


def test_coding_does_not_change_the_state():
    coder = Huffman.from_sequence(SAMPLE, 5)
    state, data = coder.state(), coder.encode(SAMPLE)
    coder.encode(np.full(1000, 4))
    coder.decode(data)
    assert coder.state() == state
    assert coder.encode(SAMPLE) == data


def test_entropy():
    assert entropy(EMPTY) == 0
    assert entropy(np.array([3, 3, 3])) == 0
    assert str(entropy(np.array([7]))) == "0.0"
    assert entropy(np.array([0, 1000, 0, 1000])) == 1
    assert entropy(np.array([0, 1, 2, 2])) == pytest.approx(1.5)


# --- what is no sequence --------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize(
    "symbols",
    [
        np.array([0, 5]),
        np.array([0, -1]),
        np.array([2**63], np.uint64),
        np.array([0.0, 1.0]),
        np.array([True]),
        np.array(["0"]),
        np.array(3),
        np.zeros((2, 2), int),
    ],
    ids=str,
)
def test_what_is_no_sequence_over_the_alphabet_is_refused(name, symbols):
    for use in (
        lambda: Huffman.from_sequence(symbols, 5),
        lambda: Huffman.from_sequence(SAMPLE, 5).encode(symbols),
        lambda: pack(name, symbols, 5),
    ):
        with pytest.raises(BadData, match="Symbols") as caught:
            use()
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("alphabet", [0, -3, WIDEST + 1, 2.0, True, None])
def test_an_impossible_alphabet_is_refused(name, alphabet):
    for use in (lambda: Huffman.from_sequence(EMPTY, alphabet), lambda: pack(name, EMPTY, alphabet)):
        with pytest.raises(BadData, match="An alphabet has"):
            use()


def test_too_long_a_sequence_is_refused(monkeypatch):
    monkeypatch.setattr(compressor, "LONGEST", 13)
    with pytest.raises(BadData, match="at most 13 symbols, not 14"):
        pack("huffman", SAMPLE, 5)


# --- state files ----------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", [1, 5, 1025])
def test_a_state_comes_back_from_its_file(tmp_path, alphabet):
    coder = Huffman.from_sequence(SAMPLE % alphabet, alphabet)
    coder.save(tmp_path / "state.json")
    back = Huffman.from_file(str(tmp_path / "state.json"))
    assert back.alphabet == alphabet
    assert back.state() == coder.state()
    assert back.encode(SAMPLE % alphabet) == coder.encode(SAMPLE % alphabet)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json"]


def edited(**changed) -> str:
    return json.dumps(Huffman.from_sequence(SAMPLE, 5).state() | changed)


def codes(*values) -> str:
    return edited(codes={str(s): value for s, value in enumerate(values)})


DAMAGED = {
    "nothing": ("", "not a JSON file"),
    "half": (edited()[:100], "not a JSON file"),
    "deep": ("[" * 100_000, "not a JSON file"),
    "not text": ("\udcff", "not a JSON file"),
    "a list": ("[]", "no state of a lossless coder"),
    "another format": (edited(format="x"), "no state of a lossless coder"),
    "no format": ("{}", "no state of a lossless coder"),
    "a later version": (edited(version=2), "version is 2, not 1"),
    "the other coder": (edited(coder="adaptive"), "coder is 'adaptive', not 'huffman'"),
    "an empty alphabet": (edited(alphabet=0), "an alphabet has"),
    "a smaller alphabet": (edited(alphabet=4), "codes are not one for each symbol of 0 to 3"),
    "no codes": (edited(codes=None), "codes are not one for each"),
    "a list of codes": (edited(codes=["0", "1"]), "codes are not one for each"),
    "a symbol out of range": (edited().replace('"4":', '"5":'), "codes are not one for each"),
    "a symbol written oddly": (edited().replace('"4":', '"04":'), "codes are not one for each"),
    "a symbol twice": (edited().replace('"4":', '"3":'), "names something twice"),
    "a code twice": (codes("10", "0", "110", "1110", "1110"), "complete prefix code"),
    "a prefix of another": (codes("10", "0", "11", "1110", "1111"), "complete prefix code"),
    "an incomplete code": (codes("10", "0", "110", "1110", "11111"), "complete prefix code"),
    "a code that begins late": (codes("01", "001", "10", "110", "111"), "complete prefix code"),
    "an empty code": (codes("10", "", "110", "1110", "1111"), "complete prefix code"),
    "other digits": (codes("10", "0", "110", "1110", "1121"), "strings of at most"),
    "a gap in a code": (codes("10", "0", "110", "1110", "1_1"), "strings of at most"),
    "a number as code": (codes("10", "0", "110", "1110", 1111), "strings of at most"),
    "a code too long": (codes("10", "0", "110", "1110", "1" * 57), "strings of at most"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_refused_with_the_name_of_its_file(folder, damage):
    text, message = DAMAGED[damage]
    path = folder / "state.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadData, match=message) as caught:
        Huffman.from_file(path)
    assert str(path) in str(caught.value)
    assert is_a_sentence(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadData, match=r"Cannot read .*none\.json"):
        Huffman.from_file(tmp_path / "none.json")
    with pytest.raises(BadData, match="does not exist"):
        Huffman.from_sequence(EMPTY, 3).save(tmp_path / "none" / "state.json")


# --- damaged streams ------------------------------------------------------------------------


def coding(name: str, alphabet: int):
    """Functions that encode and decode, by a table that is kept or by statistics that adapt."""
    if name == "huffman":
        coder = Huffman.from_sequence(SAMPLE % alphabet, alphabet)
        return coder.encode, coder.decode
    return (lambda s: adaptive_arithmetic.encode(s, alphabet)), (lambda d: adaptive_arithmetic.decode(d, alphabet))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_every_cut_and_every_tail_is_refused(name):
    encode, of_coder = coding(name, 5)
    for data, decode in (
        (encode(SAMPLE), of_coder),
        (pack(name, SAMPLE, 5), lambda d: unpack(name, d, 5)),
        (encode(EMPTY), of_coder),
        (pack(name, EMPTY, 5), lambda d: unpack(name, d, 5)),
    ):
        for end in range(len(data)):
            with pytest.raises((Truncated, Corrupt)):
                decode(data[:end])
        for tail in (b"\0", b"\0\0", b"\xff", b"\x01" * 50):
            with pytest.raises(Corrupt, match="goes on after its last symbol"):
                decode(data + tail)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_stream_that_promises_too_much_is_refused_at_once(name):
    encode, decode = coding(name, 5)
    for promised, error in ((30, Truncated), (compressor.LONGEST, Truncated), (2**28 + 1, Corrupt)):
        start = time.process_time()
        with pytest.raises(error):
            decode(write_varint(promised) + encode(SAMPLE)[1:])
        assert time.process_time() - start < 1
    with pytest.raises(Corrupt, match="goes on"):
        coding(name, 1)[1](write_varint(5) + b"\0")
