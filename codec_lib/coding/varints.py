"""Variable-length integers, and bytes that begin with their length."""

from codec_lib.errors import Corrupt, Truncated


def write_varint(value: int) -> bytes:
    """LEB128: seven bits a byte, low bits first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer that starts at `at` and the position after it.

    Raises:
        Truncated: the data end first.
        Corrupt: longer than nine bytes.
    """
    value = 0
    for k in range(9):
        if at + k >= len(data):
            raise Truncated("A stream of the file ends inside a number.")
        byte = data[at + k]
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, at + k + 1
    raise Corrupt("A stream of the file holds an impossible number.")


def take(data: bytes, at: int) -> tuple[bytes, int]:
    """The length-prefixed bytes that start at `at` and the position after them."""
    length, at = read_varint(data, at)
    if at + length > len(data):
        raise Truncated("A stream of the file is shorter than it says.")
    return data[at : at + length], at + length
