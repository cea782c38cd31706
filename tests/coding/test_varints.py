"""Variable-length integers come back, and impossible ones are refused."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codec_lib.coding.varints import read_varint, write_varint
from codec_lib.errors import Corrupt, Truncated


@given(st.lists(st.integers(0, 2**63 - 1), max_size=5))
@example([0, 127, 128, 16383, 16384, 2**63 - 1])
def test_varints_come_back(values):
    data = b"".join(map(write_varint, values))
    assert len(data) == sum(max(1, math.ceil(v.bit_length() / 7)) for v in values)
    at = 0
    for value in values:
        back, at = read_varint(data, at)
        assert back == value
    assert at == len(data)


def test_varints_are_leb128():
    assert write_varint(624485).hex() == "e58e26"  # the example of the DWARF standard


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 8])
def test_a_number_cut_off_is_refused(data):
    with pytest.raises(Truncated):
        read_varint(data, 0)


@pytest.mark.parametrize("data", [b"\x80" * 9, b"\xff" * 20, write_varint(2**63)])
def test_a_number_of_more_than_63_bits_is_refused(data):
    with pytest.raises(Corrupt):
        read_varint(data, 0)
