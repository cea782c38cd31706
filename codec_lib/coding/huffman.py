"""Huffman coding of small integers, with its table in a file or in the stream (Huffman 1952)."""

import heapq
import json
from pathlib import Path
from typing import Self

import numpy as np

from codec_lib.coding.compressor import WIDEST, checked_alphabet, checked_symbols, expect_end, read_alphabet, read_count
from codec_lib.coding.varints import write_varint
from codec_lib.errors import BadData, Corrupt, Truncated
from codec_lib.files import read_bytes, write_json

_DEPTH = 56
"""Bits in the longest code. Counts that add up to LONGEST give 42 at most (as Fibonacci numbers do), and
what the sequence lacks adds log2(WIDEST) = 12 below one leaf."""

_STATE = {"format": "codecbook lossless state", "version": 1, "coder": "huffman"}
"""How a file begins that holds a table."""

_PIECE = 1 << 16  # symbols, or bytes, that are handled at once: it bounds the memory that numpy takes


class _PrefixCode:
    """A complete prefix code in the order of its codes: a code is where the number line is cut.

    A code c of length l stands for the numbers of `_DEPTH` bits that begin with c, so a complete
    prefix code cuts all of 0 to 2^_DEPTH - 1 into intervals, and decoding is a search among their starts.

    Attributes:
        symbols: int32 (k)
        lengths: int64 (k) of bits, 0 if k is 1
        starts: uint64 (k), rising from 0
    """

    def __init__(self, symbols: np.ndarray, lengths: np.ndarray, starts: np.ndarray):
        order = np.argsort(starts, kind="stable")
        self.symbols, self.lengths, self.starts = symbols[order].astype(np.int32), lengths[order], starts[order]

    @classmethod
    def canonical(cls, symbols: np.ndarray, lengths: np.ndarray) -> "_PrefixCode":
        """The code that lengths with a Kraft sum of 1 determine: short before long, then small symbols first."""
        order = np.lexsort([symbols, lengths])
        ends = np.cumsum(np.left_shift(1, _DEPTH - lengths[order]))
        return cls(symbols[order], lengths[order], np.concatenate([[0], ends[:-1]]).astype(np.uint64))

    def write(self, symbols: np.ndarray) -> bytes:
        """int (n) symbols that all have a code -> their codes, zero bits up to a whole byte."""
        place = np.zeros(self.symbols.max() + 1, np.int64)
        place[self.symbols] = np.arange(len(self.symbols))
        at = np.arange(self.lengths.max())
        bits = (self.starts[:, None] >> (_DEPTH - 1 - at).astype(np.uint64) & np.uint64(1)).astype(np.uint8)
        valid = at < self.lengths[:, None]
        pieces = [place[symbols[k : k + _PIECE]] for k in range(0, len(symbols), _PIECE)]
        # a mask takes from the rows of bits in order, which puts code after code
        return np.packbits(np.concatenate([bits[piece][valid[piece]] for piece in pieces])).tobytes()

    def read(self, data: bytes, count: int) -> np.ndarray:
        """The reverse of `write`: int32 (count); `Truncated` or `Corrupt` if these are not so many codes."""
        if count * int(self.lengths.min()) > 8 * len(data):
            raise Truncated("A stream holds fewer symbols than it says.")
        if not count or len(self.symbols) == 1:  # there are no bits
            expect_end(data, 0)
            return np.full(count, self.symbols[0], np.int32)
        parts, skip = [], 0
        for k in range(0, len(data), _PIECE):
            ranks, skip = self._walk(data[k : k + _PIECE + 8], min(_PIECE, len(data) - k), skip)
            parts.append(ranks)
        ranks = np.concatenate(parts)[:count]
        bits = int(self.lengths[ranks].sum())
        if len(ranks) < count or bits > 8 * len(data):
            raise Truncated("A stream holds fewer symbols than it says.")
        expect_end(data, (bits + 7) // 8)
        if bits % 8 and data[-1] & 0xFF >> bits % 8:
            raise Corrupt("A stream does not end in zero bits.")
        return self.symbols[ranks]

    def _walk(self, data: bytes, size: int, skip: int) -> tuple[np.ndarray, int]:
        """Ranks of the codes that begin in the first `size` bytes after `skip` bits; how far the last goes beyond."""
        padded = data + bytes(8)
        words = np.ndarray((size,), ">u8", padded, strides=(1,)).astype(np.uint64)  # 64 bits from each byte on
        windows = (words[:, None] << np.arange(8, dtype=np.uint64) >> np.uint64(64 - _DEPTH)).ravel()
        # what would be read at every position, at once; then from one to the next, which only a loop can do
        steps = self.lengths[np.searchsorted(self.starts, windows, "right") - 1].astype(np.uint8).tobytes()
        at, visited = skip, []
        while at < len(steps):
            visited.append(at)
            at += steps[at]
        ranks = np.searchsorted(self.starts, windows[np.array(visited, np.int64)], "right") - 1
        return ranks, at - len(steps)


def _code_lengths(counts: np.ndarray) -> np.ndarray:
    """Lengths, int64 (k), of an optimal prefix code for counts, int (k >= 1), that add up to LONGEST at most.

    A symbol that never came weighs less than any that did, even all of them together. So they share one
    leaf of the tree, the deepest, and everything can be coded; the leaf costs only the rarest symbol a bit.
    The mean length stays within a bit of the entropy: codes of ceil(-log2 p) bits either leave room for
    that leaf, or all have exactly -log2 p, and then one of them made longer gives the room.
    """
    seen = counts > 0
    weights = np.where(seen, counts.astype(np.int64) << 32, 1).tolist()
    heap = [(weight, k) for k, weight in enumerate(weights)]  # of equal weights the older node goes first
    heapq.heapify(heap)
    parents = [0] * (2 * len(weights) - 1)
    for node in range(len(weights), len(parents)):
        first, a = heapq.heappop(heap)
        b = heapq.heapreplace(heap, (first + heap[0][0], node))[1]
        parents[a] = parents[b] = node
    depths = [0] * len(parents)
    for node in range(len(parents) - 2, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return np.array(depths[: len(weights)], np.int64)


class Huffman:
    """Canonical Huffman coding by a table that is kept; any sequence over the alphabet can be coded, whatever made it.

    Args:
        alphabet: A symbols.
        codes: A strings of 0 and 1 that make a complete prefix code.

    Raises:
        BadData: they do not.
    """

    def __init__(self, alphabet: int, codes: list[str]):
        self.alphabet = checked_alphabet(alphabet)
        self.codes = codes
        sound = [isinstance(c, str) and len(c) <= _DEPTH and not c.strip("01") for c in codes]
        if len(codes) != self.alphabet or not all(sound):
            raise BadData(f"Its codes are not {self.alphabet} strings of at most {_DEPTH} times 0 or 1.")
        lengths = np.array([len(c) for c in codes], np.int64)
        starts = np.array([int(c.ljust(_DEPTH, "0"), 2) for c in codes], np.uint64)
        self.code = _PrefixCode(np.arange(self.alphabet), lengths, starts)
        ends = self.code.starts + np.left_shift(1, _DEPTH - self.code.lengths).astype(np.uint64)
        if self.code.starts[0] != 0 or (ends[:-1] != self.code.starts[1:]).any() or ends[-1] != 1 << _DEPTH:
            raise BadData("Its codes are not a complete prefix code.")

    @classmethod
    def from_sequence(cls, symbols: np.ndarray, alphabet: int) -> Self:
        """The table that suits a sequence, int (n) of 0 to alphabet - 1; `BadData` if it is not that."""
        alphabet = checked_alphabet(alphabet)
        counts = np.bincount(checked_symbols(symbols, alphabet), minlength=alphabet)
        code = _PrefixCode.canonical(np.arange(alphabet), _code_lengths(counts))
        codes = [""] * alphabet
        for symbol, length, start in zip(code.symbols, code.lengths, code.starts, strict=True):
            codes[symbol] = f"{start:0{_DEPTH}b}"[:length]
        return cls(alphabet, codes)

    def encode(self, symbols: np.ndarray) -> bytes:
        """Code int (n) symbols of 0 to alphabet - 1; `BadData` if they are not that."""
        symbols = checked_symbols(symbols, self.alphabet)
        return write_varint(len(symbols)) + (self.code.write(symbols) if len(symbols) else b"")

    def decode(self, data: bytes, count: int | None = None) -> np.ndarray:
        """The symbols, int32 (n), of a stream that this table wrote.

        Args:
            count: n if it is known; a damaged stream can claim up to `LONGEST` symbols otherwise.

        Raises:
            Truncated, Corrupt: it is no such stream, or not of `count` symbols.
        """
        count, at = read_count(data, count)
        return self.code.read(data[at:], count)

    def state(self) -> dict:
        """The table in values that JSON has."""
        codes = {str(symbol): code for symbol, code in enumerate(self.codes)}
        return _STATE | {"alphabet": self.alphabet, "codes": codes}

    @classmethod
    def from_state(cls, state: dict) -> Self:
        """The coder whose `state` this is; `BadData` if it is none."""
        if not isinstance(state, dict) or state.get("format") != _STATE["format"]:
            raise BadData("It is no state of a lossless coder.")
        for key in ("version", "coder"):
            if state.get(key) != _STATE[key]:
                raise BadData(f"Its {key} is {state.get(key)!r}, not {_STATE[key]!r}.")
        alphabet, codes = checked_alphabet(state.get("alphabet")), state.get("codes")
        if not isinstance(codes, dict) or codes.keys() != {str(s) for s in range(alphabet)}:
            raise BadData(f"Its codes are not one for each symbol of 0 to {alphabet - 1}.")
        return cls(alphabet, [codes[str(s)] for s in range(alphabet)])

    def save(self, path: str | Path) -> None:
        """Write the state as JSON that a person can read; `BadData` if that cannot be."""
        write_json(path, self.state())

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The coder whose state `save` wrote; `BadData` if the file cannot be read or holds none."""
        data = read_bytes(path)
        try:
            return cls.from_state(json.loads(data, object_pairs_hook=_without_duplicates))
        except (ValueError, RecursionError) as error:
            raise BadData(f"Cannot use {path}: it is not a JSON file.") from error
        except BadData as error:
            raise BadData(f"Cannot use {path}: {str(error)[0].lower()}{str(error)[1:]}") from error

    @staticmethod
    def encode_with_table(symbols: np.ndarray, alphabet: int) -> bytes:
        """Code int (n) symbols of 0 to alphabet - 1 so that no state is needed to read them.

            stream = varint(n) | varint(alphabet) | table | codes          the last two only if n > 0

        Raises:
            BadData: they are not that.
        """
        alphabet = checked_alphabet(alphabet)
        symbols = checked_symbols(symbols, alphabet)
        head = write_varint(len(symbols)) + write_varint(alphabet)
        if not len(symbols):
            return head
        counts = np.bincount(symbols)
        present = np.flatnonzero(counts)
        lengths = _code_lengths(counts[present])
        code = _PrefixCode.canonical(present, lengths)
        return head + _write_table(present.tolist(), lengths.tolist()) + code.write(symbols)

    @staticmethod
    def decode_with_table(data: bytes, count: int | None = None, alphabet: int | None = None) -> np.ndarray:
        """The symbols, int32 (n), of `encode_with_table`.

        Args:
            count, alphabet: as they must be, if known.

        Raises:
            Truncated, Corrupt: it is no such stream.
        """
        count, at = read_count(data, count)
        alphabet, at = read_alphabet(data, at, alphabet)
        if count == 0:
            expect_end(data, at)
            return np.zeros(0, np.int32)
        code, at = _read_table(data, at, alphabet)
        return code.read(data[at:], count)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise BadData("It names something twice.")
    return dict(pairs)


def _gamma(value: int) -> str:
    """Elias' gamma code of an integer >= 1: its binary digits after one zero less than there are."""
    return f"{value:b}".rjust(2 * value.bit_length() - 1, "0")


def _write_table(symbols: list[int], lengths: list[int]) -> bytes:
    """The symbols of a code, rising, and their lengths, in whole bytes.

    For each symbol two gamma codes: how far it lies above the one before, and the change of length in
    the order 0, +1, -1, +2, ... A Kraft sum of 1 is the end. Neighbours cost about 3 bits a symbol.
    """
    bits, before, length_before = [], -1, 0
    for symbol, length in zip(symbols, lengths, strict=True):
        change = length - length_before
        bits += [_gamma(symbol - before), _gamma(2 * change if change > 0 else 1 - 2 * change)]
        before, length_before = symbol, length
    return np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")).tobytes()


_LONGEST_TABLE = WIDEST * 40 // 8  # bytes; two gamma codes, of numbers up to WIDEST and 2 _DEPTH + 1


def _read_table(data: bytes, at: int, alphabet: int) -> tuple[_PrefixCode, int]:
    """The code that `_write_table` wrote at `at` and the position after it."""
    table = np.frombuffer(data[at : at + _LONGEST_TABLE], np.uint8)
    bits = (np.unpackbits(table) + ord("0")).tobytes().decode()
    symbols, lengths, kraft, bit = [-1], [0], 0, 0
    while kraft < 1 << _DEPTH:
        gap, bit = _read_gamma(bits, bit)
        change, bit = _read_gamma(bits, bit)
        symbols.append(symbols[-1] + gap)
        lengths.append(lengths[-1] + (-(change // 2) if change % 2 else change // 2))
        if symbols[-1] >= alphabet or not 0 <= lengths[-1] <= _DEPTH:
            raise Corrupt("A stream's table of codes is damaged.")
        kraft += 1 << (_DEPTH - lengths[-1])
    if kraft > 1 << _DEPTH or "1" in bits[bit : -(-bit // 8) * 8]:
        raise Corrupt("A stream's table of codes is damaged.")
    return _PrefixCode.canonical(np.array(symbols[1:]), np.array(lengths[1:])), at + -(-bit // 8)


def _read_gamma(bits: str, at: int) -> tuple[int, int]:
    one = bits.find("1", at)
    end = 2 * one - at + 1
    if one < 0 or end > len(bits):
        raise Truncated("A stream ends inside its table of codes.")
    return int(bits[one:end], 2), end
