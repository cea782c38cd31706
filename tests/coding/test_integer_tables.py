"""Integer tables are close to the probabilities that they are made of, and damaged ones are refused."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from codec_lib.coding.integer_tables import TOTAL, WIDEST, Tables, build_tables
from codec_lib.errors import Corrupt

EMPTY = np.zeros(0, np.int32)


def test_bits_are_those_of_the_frequencies():
    tables = build_tables([(-1, np.array([0.5, 0.25, 0.25])), (10, np.array([0.75, 0.25]))])
    # the first table is padded by an impossible symbol, 1, at the expense of the most probable one
    symbols = np.array([-1, 0, 1, 10, 11, -500], np.int32)
    index = np.array([0, 0, 0, 1, 1, 0])
    expected = -np.log2([0.5 - 1 / TOTAL, 0.25, 1 / TOTAL, 0.75, 0.25, 0.25]).sum()
    assert tables.bits(symbols, index) == pytest.approx(expected, abs=1e-9)
    assert tables.bits(EMPTY, EMPTY) == 0
    assert tables.least_bits == pytest.approx([1, -math.log2(0.75)], abs=1e-4)


@given(st.integers(1, WIDEST), st.integers(0, 2**32 - 1), st.floats(0, 3), st.integers(-5000, 5000))
@example(1, 0, 0, 0)
@example(WIDEST, 0, 0, 0)
@settings(max_examples=60)
def test_frequencies_stay_close_to_the_probabilities(count, seed, skew, offset):
    p = np.random.default_rng(seed).dirichlet(np.full(count, 10.0**-skew))
    assume(np.isfinite(p).all())
    tables = build_tables([(offset, p)])
    (width,) = tables.widths
    f = tables.row(0)
    assert count <= width < 2 * max(count, 2)
    assert f.sum() == TOTAL
    assert f.min() >= 1
    assert offset - tables.offsets[0] == (width - count) // 2  # padded on both sides
    # where the values lie in the table, and the escape last
    at = offset - tables.offsets[0] + np.arange(count - 1)
    q = np.append(f[at], f[-1]) / TOTAL
    positive = p > 0
    divergence = (p[positive] * np.log2(p[positive] / q[positive])).sum()
    assert -1e-9 < divergence < 1.5 * width / TOTAL + 1e-9  # bits a symbol: log2(e) for each minimum of 1
    # every symbol is at most the minimum above its share, and short of it only for the others' minima
    assert (q - p).max() <= 1 / TOTAL + 1e-12


def test_tables_lie_one_after_the_other():
    tables = build_tables([(5, np.array([0.25, 0.75])), (-7, np.full(4, 0.25)), (0, np.array([1.0, 0.0]))])
    assert tables.widths.tolist() == [2, 4, 2]
    assert tables.offsets.tolist() == [5, -7, 0]
    assert tables.starts.tolist() == [0, 2, 6]
    assert tables.frequencies.tolist() == [16384, 49152, 16384, 16384, 16384, 16384, 65535, 1]
    assert tables.row(1).tolist() == [16384] * 4
    assert {a.dtype for a in (tables.widths, tables.offsets, tables.frequencies)} == {np.dtype(np.int32)}


def damaged(**changed) -> dict[str, np.ndarray]:
    sound = {"widths": [2, 4], "offsets": [0, -1], "frequencies": [32768, 32768, 16384, 16384, 16384, 16384]}
    return {name: np.asarray(value, np.int32) for name, value in (sound | changed).items()}


def test_sound_tables_are_accepted():
    Tables(**damaged())


@pytest.mark.parametrize(
    "arrays",
    {
        "empty": damaged(widths=[], offsets=[], frequencies=[]),
        "an offset is missing": damaged(offsets=[0]),
        "a frequency is missing": damaged(frequencies=[32768, 32768, 16384, 16384, 32768]),
        "a frequency too many": damaged(frequencies=[32768, 32768, 16384, 16384, 16384, 16383, 1]),
        "two-dimensional widths": damaged(widths=[[2, 4]], offsets=[[0, -1]]),
        "two-dimensional frequencies": damaged(frequencies=[[32768, 32768, 16384, 16384, 16384, 16384]]),
        "not a power of two": damaged(widths=[3, 3], frequencies=[32768, 32767, 1, 16384, 16384, 32768]),
        "a table of one": damaged(widths=[1, 4], frequencies=[65536, 16384, 16384, 16384, 16384]),
        "a negative width": damaged(widths=[-2, 8]),
        "wider than the widest": damaged(widths=[8192], offsets=[0], frequencies=[8] * 8192),
        "an impossible symbol": damaged(frequencies=[65536, 0, 16384, 16384, 16384, 16384]),
        "a negative frequency": damaged(frequencies=[65537, -1, 16384, 16384, 16384, 16384]),
        "a sum too small": damaged(frequencies=[32768, 32767, 16384, 16384, 16384, 16384]),
        "a sum too large": damaged(frequencies=[32768, 32768, 16384, 16384, 16384, 16385]),
        "sums that make up for each other": damaged(frequencies=[32769, 32768, 16384, 16384, 16384, 16383]),
        "a sum of 2^16 modulo 2^32": damaged(frequencies=[32768, 32768, 2**31 - 1, 2**31 - 1, 65537, 1]),
        "floating point": {name: a.astype(np.float32) for name, a in damaged().items()},
        "64 bits": {name: a.astype(np.int64) for name, a in damaged().items()},
    }.items(),
    ids=lambda item: item[0],
)
def test_damaged_tables_are_refused(arrays):
    with pytest.raises(Corrupt, match="tables of the weights"):
        Tables(**arrays[1])
