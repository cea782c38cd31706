"""The lossless coders by name, as files need them: nothing beside the stream is wanted to read it.

`huffman` puts its table into the stream; `adaptive` learns as it goes.
"""

import numpy as np

from codec_lib.adaptive_arithmetic import AdaptiveArithmetic
from codec_lib.entropy_coding import write_varint
from codec_lib.errors import Unsupported
from codec_lib.huffman import Huffman
from codec_lib.lossless_compressor import read_alphabet

COMPRESSORS = {"huffman": Huffman, "adaptive": AdaptiveArithmetic}
"""The coders by name."""


def _check_name(name: str) -> None:
    if name not in COMPRESSORS:
        raise Unsupported(f"There is no lossless coder '{name}'; choose from {', '.join(COMPRESSORS)}.")


def pack(name: str, symbols: np.ndarray, alphabet: int) -> bytes:
    """Code int (n) symbols of 0 to alphabet - 1 so that `unpack` needs no state.

    Raises:
        BadData: they are not that.
        Unsupported: no such coder.
    """
    _check_name(name)
    if name == "huffman":
        return Huffman.encode_with_table(symbols, alphabet)
    coder = AdaptiveArithmetic(alphabet)
    return write_varint(coder.alphabet) + coder.encode(symbols)


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
    return AdaptiveArithmetic(alphabet).decode(data[at:], count)
