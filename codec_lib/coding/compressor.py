"""What the lossless coders share: the entropy of a sequence, and checks of sequences and of streams.

stream = varint(number of symbols) | code          nothing follows the number when it is 0
"""

import numpy as np

from codec_lib.coding.varints import read_varint
from codec_lib.errors import BadData, Corrupt

WIDEST = 4096
"""Symbols in the widest alphabet."""

LONGEST = 1 << 28
"""Symbols in the longest sequence."""


def entropy(symbols: np.ndarray) -> float:
    """Order-0 empirical entropy in bits per symbol: what a code that knows only the counts needs at least."""
    counts = np.unique(symbols, return_counts=True)[1]
    p = counts / max(1, counts.sum())
    return float(abs((p * np.log2(p)).sum()))  # abs: not -0.0


def checked_alphabet(alphabet: int) -> int:
    if isinstance(alphabet, bool) or not isinstance(alphabet, int | np.integer) or not 1 <= alphabet <= WIDEST:
        raise BadData(f"An alphabet has 1 to {WIDEST} symbols, not {alphabet!r}.")
    return int(alphabet)


def checked_symbols(symbols: np.ndarray, alphabet: int) -> np.ndarray:
    """As int64 (n); `BadData` unless they are integers in one dimension, not too many, of 0 to alphabet - 1."""
    symbols = np.asarray(symbols)
    if symbols.ndim != 1 or symbols.dtype.kind not in "iu":
        raise BadData(f"Symbols are a one-dimensional array of integers, not {symbols.dtype} {symbols.shape}.")
    if len(symbols) > LONGEST:
        raise BadData(f"A sequence has at most {LONGEST} symbols, not {len(symbols)}.")
    if len(symbols) and not 0 <= symbols.min() <= symbols.max() < alphabet:
        raise BadData(f"Symbols lie in 0 to {alphabet - 1}, not in {symbols.min()} to {symbols.max()}.")
    return symbols.astype(np.int64)


def read_count(data: bytes, count: int | None) -> tuple[int, int]:
    """The number of symbols, which is `count` unless that is None, and the position after it."""
    found, at = read_varint(data, 0)
    if found > LONGEST or (count is not None and found != count):
        raise Corrupt(f"A stream says that it holds {found} symbols, which is impossible.")
    return found, at


def expect_end(data: bytes, end: int) -> None:
    if end < len(data):
        raise Corrupt("A stream goes on after its last symbol.")


def read_alphabet(data: bytes, at: int, expected: int | None) -> tuple[int, int]:
    """The number of symbols in the alphabet, which is `expected` unless that is None, and the position after it."""
    alphabet, at = read_varint(data, at)
    if not 1 <= alphabet <= WIDEST or (expected is not None and alphabet != expected):
        raise Corrupt(f"A stream says that its alphabet has {alphabet} symbols, which is impossible.")
    return alphabet, at
