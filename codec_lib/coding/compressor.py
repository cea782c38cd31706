"""What the lossless coders have in common: the second report's abstract class, checks, and state files.

A compressor is made from a sequence of small non-negative integers or from a state file; its streams can
be read by any compressor of the same state. Any sequence over the alphabet can be coded, whatever the
state was made from.

    stream = varint(number of symbols) | code          nothing follows the number when it is 0
"""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from codec_lib.coding.range_coding import read_varint
from codec_lib.errors import BadData, Corrupt
from codec_lib.files import read_bytes, write_bytes

WIDEST = 4096
"""Symbols in the widest alphabet."""

LONGEST = 1 << 28
"""Symbols in the longest sequence."""

_FORMAT, _VERSION = "codecbook lossless state", 1


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
    """The symbols as int64 (n).

    Raises:
        BadData: they are not integers in one dimension, too many, or outside 0 to alphabet - 1.
    """
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
        raise Corrupt(f"A stream says that it holds {found} symbols, which cannot be.")
    return found, at


def expect_end(data: bytes, end: int) -> None:
    if end < len(data):
        raise Corrupt("A stream goes on after its last symbol.")


class LosslessCompressor(ABC):
    """Symbols <-> bytes, given a state; coding does not change the state."""

    name: ClassVar[str]
    alphabet: int

    @classmethod
    @abstractmethod
    def from_sequence(cls, symbols: np.ndarray, alphabet: int) -> Self:
        """The state that suits a sequence, int (n) of 0 to alphabet - 1.

        Raises:
            BadData: it is no such sequence.
        """

    @abstractmethod
    def encode(self, symbols: np.ndarray) -> bytes:
        """Code int (n) symbols of 0 to alphabet - 1.

        Raises:
            BadData: they are not that.
        """

    @abstractmethod
    def decode(self, data: bytes, count: int | None = None) -> np.ndarray:
        """The symbols, int32 (n), of a stream that a compressor of this state wrote.

        Args:
            count: n if it is known; a damaged stream can claim up to `LONGEST` symbols otherwise.

        Raises:
            Truncated, Corrupt: it is no such stream, or not of `count` symbols.
        """

    @abstractmethod
    def _fields(self) -> dict:
        """What the state holds beside the alphabet."""

    @classmethod
    @abstractmethod
    def _from_fields(cls, alphabet: int, fields: dict) -> Self:
        """The reverse of `_fields`; raises BadData."""

    def state(self) -> dict:
        """The state in values that JSON has."""
        head = {"format": _FORMAT, "version": _VERSION, "coder": self.name, "alphabet": self.alphabet}
        return head | self._fields()

    @classmethod
    def from_state(cls, state: dict) -> Self:
        """The compressor whose `state` this is.

        Raises:
            BadData: it is none of this class.
        """
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise BadData("It is no state of a lossless coder.")
        for key, expected in ("version", _VERSION), ("coder", cls.name):
            if state.get(key) != expected:
                raise BadData(f"Its {key} is {state.get(key)!r}, not {expected!r}.")
        return cls._from_fields(checked_alphabet(state.get("alphabet")), state)

    def save(self, path: str | Path) -> None:
        """Write the state as JSON that a person can read.

        Raises:
            BadData: the file cannot be written.
        """
        write_bytes(path, (json.dumps(self.state(), indent=1) + "\n").encode())

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The compressor whose state `save` wrote.

        Raises:
            BadData: the file cannot be read or holds no state of this class.
        """
        data = read_bytes(path)
        try:
            return cls.from_state(json.loads(data, object_pairs_hook=_without_duplicates))
        except (ValueError, RecursionError) as error:
            raise BadData(f"Cannot use {path}: it is not a JSON file.") from error
        except BadData as error:
            raise BadData(f"Cannot use {path}: {str(error)[0].lower()}{str(error)[1:]}") from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise BadData("It names something twice.")
    return dict(pairs)


def by_symbol(fields: dict, key: str, alphabet: int) -> list:
    """The values of symbols 0 to alphabet - 1 from {"0": value, ...}."""
    table = fields.get(key)
    if not isinstance(table, dict) or table.keys() != {str(s) for s in range(alphabet)}:
        raise BadData(f"Its {key} are not one for each symbol of 0 to {alphabet - 1}.")
    return [table[str(s)] for s in range(alphabet)]


def read_alphabet(data: bytes, at: int, expected: int | None) -> tuple[int, int]:
    """The number of symbols in the alphabet, which is `expected` unless that is None, and the position after it."""
    alphabet, at = read_varint(data, at)
    if not 1 <= alphabet <= WIDEST or (expected is not None and alphabet != expected):
        raise Corrupt(f"A stream says that its alphabet has {alphabet} symbols, which cannot be.")
    return alphabet, at
