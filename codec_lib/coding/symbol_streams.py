"""The lossless coders by name, as files need them: nothing beside the stream is wanted to read it.

`huffman` puts its table into the stream; `adaptive` learns as it goes.
"""

import numpy as np

from codec_lib.coding import adaptive_arithmetic
from codec_lib.coding.compressor import checked_alphabet, checked_symbols, read_alphabet
from codec_lib.coding.huffman import Huffman
from codec_lib.coding.varints import take, write_varint
from codec_lib.errors import Corrupt, Unsupported

COMPRESSORS = ("huffman", "adaptive")
"""The names of the coders."""


def _check_name(name: str) -> None:
    if name not in COMPRESSORS:
        raise Unsupported(f"There is no lossless coder '{name}'; choose from {', '.join(COMPRESSORS)}.")


_FINE = 64
"""Wider alphabets are coded adaptively in two digits of this base: a thousand frequencies cannot be learned one by one
from some ten thousand symbols. The finer digits are coded sorted by the coarser, whose statistics they thus follow."""


def pack(name: str, symbols: np.ndarray, alphabet: int) -> bytes:
    """Code int (n) symbols of 0 to alphabet - 1 so that `unpack` needs no state.

    Raises:
        BadData: they are not that.
        Unsupported: no such coder.
    """
    _check_name(name)
    if name == "huffman":
        return Huffman.encode_with_table(symbols, alphabet)
    head = write_varint(checked_alphabet(alphabet))
    if alphabet <= _FINE:
        return head + adaptive_arithmetic.encode(symbols, alphabet)
    coarse, fine = np.divmod(checked_symbols(symbols, alphabet), _FINE)
    first = adaptive_arithmetic.encode(coarse, -(-alphabet // _FINE))
    return head + write_varint(len(first)) + first + adaptive_arithmetic.encode(fine[_sorted(coarse)], _FINE)


def unpack(name: str, data: bytes, alphabet: int, count: int | None = None) -> np.ndarray:
    """The symbols, int32 (count), that `pack` was given.

    Raises:
        Truncated, Corrupt: it is no such stream, or of another alphabet or count.
        Unsupported: no such coder.
    """
    _check_name(name)
    if name == "huffman":
        return Huffman.decode_with_table(data, count, alphabet)
    alphabet, at = read_alphabet(data, 0, alphabet)
    if alphabet <= _FINE:
        return adaptive_arithmetic.decode(data[at:], alphabet, count)
    first, at = take(data, at)
    adaptive_arithmetic.check_length(data[at:], _FINE, count)
    coarse = adaptive_arithmetic.decode(first, -(-alphabet // _FINE), count)
    fine = adaptive_arithmetic.decode(data[at:], _FINE, len(coarse))
    symbols = coarse * _FINE
    symbols[_sorted(coarse)] += fine
    if (symbols >= alphabet).any():
        raise Corrupt("A stream holds a symbol outside its alphabet.")
    return symbols


def _sorted(coarse: np.ndarray) -> np.ndarray:
    return np.argsort(coarse, kind="stable")
