"""Sequences of small integers for the tests of the lossless coders, and damage to streams."""

import numpy as np
import pytest
from hypothesis import strategies as st

from codec_lib.coding.huffman import Huffman
from codec_lib.errors import Corrupt

EMPTY = np.zeros(0, np.int64)
SAMPLE = np.array([0, 1, 2, 1, 1, 0, 1, 4, 1, 1, 2, 3, 1, 0])  # of an alphabet of 5

seeds = st.integers(0, 2**32 - 1)
all_alphabets = st.one_of(st.sampled_from([1, 2, 3, 4, 5, 16, 17, 1025]), st.integers(1, 1100))
all_lengths = st.one_of(st.integers(0, 5), st.integers(0, 600))


def skewed(rng: np.random.Generator, alphabet: int, length: int) -> np.ndarray:
    """Symbols of which some are frequent, some rare and some never come."""
    p = rng.dirichlet(np.full(alphabet, 10.0 ** rng.uniform(-2, 1)) + 1e-6)
    return rng.choice(alphabet, length, p=p)


@st.composite
def sequences(draw) -> tuple[np.ndarray, int]:
    """(symbols, alphabet), skewed or of arbitrary symbols."""
    alphabet = draw(all_alphabets)
    if draw(st.booleans()):
        symbols = draw(st.lists(st.integers(0, alphabet - 1), max_size=40))
        return np.array(symbols, np.int32), alphabet
    return skewed(np.random.default_rng(draw(seeds)), alphabet, draw(all_lengths)), alphabet


def laplacian(rng: np.random.Generator, alphabet: int, length: int, spread: float, centre: float = 0.5) -> np.ndarray:
    """Quantised latents of one channel; `spread` and `centre` in widths of the alphabet."""
    values = rng.laplace(centre * (alphabet - 1), spread * (alphabet - 1), length)
    return np.clip(np.rint(values), 0, alphabet - 1).astype(np.int64)


def check_round_trip(compressor: Huffman, symbols: np.ndarray) -> None:
    data = compressor.encode(symbols)
    assert type(data) is bytes
    for count in (None, len(symbols)):
        back = compressor.decode(data, count)
        assert back.dtype == np.int32
        np.testing.assert_array_equal(back, symbols, strict=False)
    with pytest.raises(Corrupt, match=f"holds {len(symbols)} symbols"):
        compressor.decode(data, len(symbols) + 1)


def inflict(data: bytes, damage: list[tuple[str, int]]) -> bytes:
    for kind, seed in damage:
        rng = np.random.default_rng(seed)
        at = int(rng.integers(0, len(data) + 1))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
        elif kind == "random":
            data = data[:at] + rng.bytes(len(data) - at)
    return data


damages = st.lists(st.tuples(st.sampled_from(["flip", "cut", "insert", "random"]), seeds), min_size=1, max_size=3)
