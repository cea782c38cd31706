"""What every lossless compressor does: any sequence comes back, states are kept in files, bad input is refused."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import is_a_sentence
from hypothesis import given, settings
from sequences import EMPTY, SAMPLE, check_round_trip, sequences

from codec_lib.coding import compressor
from codec_lib.coding.adaptive_arithmetic import LONGEST_MEMORY
from codec_lib.coding.compressor import WIDEST, LosslessCompressor, entropy
from codec_lib.coding.range_coding import write_varint
from codec_lib.coding.symbol_streams import COMPRESSORS, pack, unpack
from codec_lib.errors import BadData, Corrupt, Truncated

# --- round trips ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPRESSORS)
@given(sequences(), sequences())
@settings(max_examples=50)
def test_any_sequence_comes_back_whatever_the_state_was_made_from(name, one, other):
    symbols, alphabet = one
    check_round_trip(COMPRESSORS[name].from_sequence(symbols, alphabet), symbols)
    check_round_trip(COMPRESSORS[name].from_sequence(other[0] % alphabet, alphabet), symbols)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("alphabet", [1, 2, 3, 1025, WIDEST])
@pytest.mark.parametrize("length", [0, 1, 2, 500])
def test_constant_sequences_come_back(name, alphabet, length):
    for symbol in {0, alphabet // 2, alphabet - 1}:
        symbols = np.full(length, symbol)
        check_round_trip(COMPRESSORS[name].from_sequence(symbols, alphabet), symbols)
        check_round_trip(COMPRESSORS[name].from_sequence(EMPTY, alphabet), symbols)
        unseen = np.full(length, (symbol + 1) % alphabet)
        check_round_trip(COMPRESSORS[name].from_sequence(symbols, alphabet), unseen)
        np.testing.assert_array_equal(unpack(name, pack(name, symbols, alphabet), alphabet, length), symbols)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64])
def test_any_integers_will_do(name, dtype):
    coder = COMPRESSORS[name].from_sequence(SAMPLE.astype(dtype), 5)
    assert coder.encode(SAMPLE.astype(dtype)) == COMPRESSORS[name].from_sequence(SAMPLE, 5).encode(SAMPLE)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_coding_does_not_change_the_state(name):
    coder = COMPRESSORS[name].from_sequence(SAMPLE, 5)
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
    kind = COMPRESSORS[name]
    for use in (
        lambda: kind.from_sequence(symbols, 5),
        lambda: kind.from_sequence(SAMPLE, 5).encode(symbols),
        lambda: pack(name, symbols, 5),
    ):
        with pytest.raises(BadData, match="Symbols") as caught:
            use()
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("alphabet", [0, -3, WIDEST + 1, 2.0, True, None])
def test_an_impossible_alphabet_is_refused(name, alphabet):
    for use in (lambda: COMPRESSORS[name].from_sequence(EMPTY, alphabet), lambda: pack(name, EMPTY, alphabet)):
        with pytest.raises(BadData, match="An alphabet has"):
            use()


def test_too_long_a_sequence_is_refused(monkeypatch):
    monkeypatch.setattr(compressor, "LONGEST", 13)
    with pytest.raises(BadData, match="at most 13 symbols, not 14"):
        pack("huffman", SAMPLE, 5)


# --- state files ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("alphabet", [1, 5, 1025])
def test_a_state_comes_back_from_its_file(tmp_path, name, alphabet):
    coder = COMPRESSORS[name].from_sequence(SAMPLE % alphabet, alphabet)
    coder.save(tmp_path / "state.json")
    back = COMPRESSORS[name].from_file(str(tmp_path / "state.json"))
    assert back.alphabet == alphabet
    assert back.state() == coder.state()
    assert back.encode(SAMPLE % alphabet) == coder.encode(SAMPLE % alphabet)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json"]


def edited(name: str, **changed) -> str:
    return json.dumps(COMPRESSORS[name].from_sequence(SAMPLE, 5).state() | changed)


def codes(*values) -> str:
    return edited("huffman", codes={str(s): value for s, value in enumerate(values)})


def weights(*values) -> str:
    return edited("adaptive", weights={str(s): value for s, value in enumerate(values)})


DAMAGED = {
    "nothing": ("huffman", "", "not a JSON file"),
    "half": ("huffman", edited("huffman")[:100], "not a JSON file"),
    "deep": ("huffman", "[" * 100_000, "not a JSON file"),
    "not text": ("huffman", "\udcff", "not a JSON file"),
    "a list": ("huffman", "[]", "no state of a lossless coder"),
    "another format": ("huffman", edited("huffman", format="x"), "no state of a lossless coder"),
    "no format": ("huffman", "{}", "no state of a lossless coder"),
    "a later version": ("huffman", edited("huffman", version=2), "version is 2, not 1"),
    "the other coder": ("huffman", edited("adaptive"), "coder is 'adaptive', not 'huffman'"),
    "an empty alphabet": ("huffman", edited("huffman", alphabet=0), "an alphabet has"),
    "a huge alphabet": ("adaptive", edited("adaptive", alphabet=10**30), "an alphabet has"),
    "no alphabet": ("adaptive", edited("adaptive", alphabet=None), "an alphabet has"),
    "a smaller alphabet": ("huffman", edited("huffman", alphabet=4), "codes are not one for each symbol of 0 to 3"),
    "a larger alphabet": ("adaptive", edited("adaptive", alphabet=6), "weights are not one for each symbol"),
    "no codes": ("huffman", edited("huffman", codes=None), "codes are not one for each"),
    "a list of codes": ("huffman", edited("huffman", codes=["0", "1"]), "codes are not one for each"),
    "a symbol out of range": ("huffman", edited("huffman").replace('"4":', '"5":'), "codes are not one for each"),
    "a symbol written oddly": ("huffman", edited("huffman").replace('"4":', '"04":'), "codes are not one for each"),
    "a symbol twice": ("huffman", edited("huffman").replace('"4":', '"3":'), "names something twice"),
    "a code twice": ("huffman", codes("10", "0", "110", "1110", "1110"), "complete prefix code"),
    "a prefix of another": ("huffman", codes("10", "0", "11", "1110", "1111"), "complete prefix code"),
    "an incomplete code": ("huffman", codes("10", "0", "110", "1110", "11111"), "complete prefix code"),
    "a code that begins late": ("huffman", codes("01", "001", "10", "110", "111"), "complete prefix code"),
    "an empty code": ("huffman", codes("10", "", "110", "1110", "1111"), "complete prefix code"),
    "other digits": ("huffman", codes("10", "0", "110", "1110", "1121"), "strings of at most"),
    "a gap in a code": ("huffman", codes("10", "0", "110", "1110", "1_1"), "strings of at most"),
    "a number as code": ("huffman", codes("10", "0", "110", "1110", 1111), "strings of at most"),
    "a code too long": ("huffman", codes("10", "0", "110", "1110", "1" * 57), "strings of at most"),
    "no memory": ("adaptive", edited("adaptive", memory=None), "memory is missing"),
    "a memory of 0": ("adaptive", edited("adaptive", memory=0), "memory is 0 and not"),
    "a memory too long": ("adaptive", edited("adaptive", memory=LONGEST_MEMORY + 1), "memory is 16385 and not"),
    "half a memory": ("adaptive", edited("adaptive", memory=0.5), "memory is 0.5 and not"),
    "a negative weight": ("adaptive", weights(1, 2, 3, 4, -1), "weights are not 5 integers"),
    "a broken weight": ("adaptive", weights(1, 2, 3, 4, 1.5), "weights are not 5 integers"),
    "no number": ("adaptive", weights(1, 2, 3, 4, math.nan), "weights are not 5 integers"),
    "weights too large": ("adaptive", weights(1, 2, 3, 4, 2**32), "weights add up to more"),
    "a weight is missing": ("adaptive", weights(1, 2, 3, 4), "weights are not one for each"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_refused_with_the_name_of_its_file(folder, damage):
    name, text, message = DAMAGED[damage]
    path = folder / "state.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadData, match=message) as caught:
        COMPRESSORS[name].from_file(path)
    assert str(path) in str(caught.value)
    assert is_a_sentence(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadData, match=r"Cannot read .*none\.json"):
        COMPRESSORS["huffman"].from_file(tmp_path / "none.json")
    with pytest.raises(BadData, match="does not exist"):
        COMPRESSORS["adaptive"](3).save(tmp_path / "none" / "state.json")


# --- damaged streams ------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPRESSORS)
def test_every_cut_and_every_tail_is_refused(name):
    coder = COMPRESSORS[name].from_sequence(SAMPLE, 5)
    for data, decode in (
        (coder.encode(SAMPLE), coder.decode),
        (pack(name, SAMPLE, 5), lambda d: unpack(name, d, 5)),
        (coder.encode(EMPTY), coder.decode),
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
    coder = COMPRESSORS[name].from_sequence(SAMPLE, 5)
    for promised, error in ((30, Truncated), (compressor.LONGEST, Truncated), (2**28 + 1, Corrupt)):
        start = time.process_time()
        with pytest.raises(error):
            coder.decode(write_varint(promised) + coder.encode(SAMPLE)[1:])
        assert time.process_time() - start < 1
    single = COMPRESSORS[name].from_sequence(EMPTY, 1)
    with pytest.raises(Corrupt, match="goes on"):
        single.decode(write_varint(5) + b"\0")


def test_compressors_have_names():
    assert {name: kind.name for name, kind in COMPRESSORS.items()} == {"huffman": "huffman", "adaptive": "adaptive"}
    assert all(issubclass(kind, LosslessCompressor) for kind in COMPRESSORS.values())
    with pytest.raises(TypeError):
        LosslessCompressor()
