"""Arithmetic coding of small integers with statistics that follow the sequence and forget (Witten et al. 1987).

All in integers, so that every machine writes the same bytes.
"""

from typing import Self

import numpy as np

from codec_lib.coding.compressor import (
    LosslessCompressor,
    by_symbol,
    checked_alphabet,
    checked_symbols,
    expect_end,
    read_count,
)
from codec_lib.coding.range_coding import write_varint
from codec_lib.errors import BadData, Corrupt, Truncated

_UNIT = 1 << 18
"""The weight of one symbol that came just now, at first; it grows up to twice that, then all weights are halved."""

_RAREST = 16
"""A symbol that never comes keeps a probability of 2^-16 just after weights were halved and 2^-17 just before."""

LONGEST_MEMORY = 1 << 14
"""With it all weights together stay below 2^35, which leaves the coder 13 bits of its range at least."""


class _Statistics:
    """Fading weights of A symbols in integers.

    That what is older counts less is done by what is newer counting more: each symbol adds `gain`,
    which grows by a factor of 1 + 1 / memory from one to the next. With p the probabilities,

        p <- (1 - r) p + r onehot(symbol)          r = 1 / (memory + 1) in the long run

    and larger at the beginning, if the first weights are small. `floor` is added to every weight and does not
    fade. The sums of weights are in a Fenwick tree, so that each step takes log2(A) additions.
    """

    def __init__(self, weights: list[int], memory: int):
        self.memory, self.gain = memory, _UNIT
        self.floor = max(1, memory * _UNIT >> _RAREST)
        self.top = 1 << (len(weights).bit_length() - 1)
        self._plant([w + self.floor for w in weights])

    def _plant(self, weights: list[int]) -> None:
        self.weights, self.total, self.size = weights, sum(weights), len(weights)
        tree = [0, *weights]
        for i in range(1, len(tree)):
            above = i + (i & -i)
            if above < len(tree):
                tree[above] += tree[i]
        # a search that goes past the end finds the sum too large
        self.tree = tree + [1 << 62] * (2 * self.top - len(tree))

    def below(self, symbol: int) -> int:
        """The sum of the weights of smaller symbols."""
        tree, total = self.tree, 0
        while symbol:
            total += tree[symbol]
            symbol &= symbol - 1
        return total

    def find(self, target: int) -> tuple[int, int]:
        """The symbol with below(symbol) <= target < below(symbol + 1), for 0 <= target < total, and below(symbol)."""
        tree, symbol, rest, step = self.tree, 0, target, self.top
        while step:
            if tree[symbol + step] <= rest:
                symbol += step
                rest -= tree[symbol]
            step >>= 1
        return symbol, target - rest

    def add(self, symbol: int) -> None:
        """The symbol came."""
        tree, gain, size = self.tree, self.gain, self.size
        self.weights[symbol] += gain
        self.total += gain
        at = symbol + 1
        while at <= size:
            tree[at] += gain
            at += at & -at
        self.gain = gain + gain // self.memory
        if self.gain >= 2 * _UNIT:
            self.gain >>= 1
            self._plant([(w - self.floor >> 1) + self.floor for w in self.weights])


class AdaptiveArithmetic(LosslessCompressor):
    """Arithmetic coding with statistics that follow the sequence and forget.

    Args:
        alphabet: A symbols.
        memory: the number of symbols after which one counts 1/e; the rate of forgetting is 1 / (memory + 1).
        weights: A integers >= 0, what each symbol counts at the beginning, in units of 2^-18 symbols.

    Raises:
        BadData: they are not that.
    """

    name = "adaptive"

    def __init__(self, alphabet: int, memory: int | None = None, weights: list[int] | None = None):
        self.alphabet = checked_alphabet(alphabet)
        self.memory = _default_memory(self.alphabet) if memory is None else memory
        if type(self.memory) is not int or not 1 <= self.memory <= LONGEST_MEMORY:
            raise BadData(f"Its memory is {self.memory!r} and not 1 to {LONGEST_MEMORY} symbols.")
        self.weights = [_UNIT // 2] * self.alphabet if weights is None else list(weights)
        if len(self.weights) != self.alphabet or any(type(w) is not int or w < 0 for w in self.weights):
            raise BadData(f"Its weights are not {self.alphabet} integers of at least 0.")
        if sum(self.weights) > LONGEST_MEMORY * _UNIT:
            raise BadData(f"Its weights add up to more than {LONGEST_MEMORY * _UNIT}.")

    @classmethod
    def from_sequence(cls, symbols: np.ndarray, alphabet: int, memory: int | None = None) -> Self:
        """As if a long sequence with these frequencies had gone before."""
        fresh = cls(alphabet, memory)
        counts = np.bincount(checked_symbols(symbols, alphabet), minlength=alphabet).tolist()
        if not sum(counts):
            return fresh
        return cls(alphabet, fresh.memory, [c * fresh.memory * _UNIT // sum(counts) for c in counts])

    def _fields(self):
        return {"memory": self.memory, "weights": {str(symbol): w for symbol, w in enumerate(self.weights)}}

    @classmethod
    def _from_fields(cls, alphabet, fields):
        if fields.get("memory") is None:  # a fresh compressor has a default, a state has none
            raise BadData("Its memory is missing.")
        return cls(alphabet, fields["memory"], by_symbol(fields, "weights", alphabet))

    def encode(self, symbols: np.ndarray) -> bytes:
        symbols = checked_symbols(symbols, self.alphabet).tolist()
        code = _arithmetic_encode(symbols, self._statistics()) if symbols and self.alphabet > 1 else b""
        return write_varint(len(symbols)) + code

    def decode(self, data: bytes, count: int | None = None) -> np.ndarray:
        count, at = read_count(data, count)
        if count == 0 or self.alphabet == 1:
            expect_end(data, at)
            return np.zeros(count, np.int32)
        return np.array(_arithmetic_decode(data[at:], count, self._statistics()), np.int32)

    def _statistics(self) -> _Statistics:
        return _Statistics(self.weights, self.memory)


def _default_memory(alphabet: int) -> int:
    """Between what is best for channels of 256 to 1536 symbols with very different statistics and with like ones.

    Measured on Laplacian sources: 32 to 128 symbols and 128 to 256 for alphabets up to 17 (204 loses 1.3 % on
    a stationary source of 17), 512 to 2048 and more for 1025.
    """
    return max(128, min(12 * alphabet, 1024))


# A sequence is a subinterval [low, low + range) of [0, 2^64), and the shortest number in it is the code. As
# soon as range < 2^48 the top 16 bits of low are written. They can still change by a carry, which is why
# they are kept as numbers, of 17 bits if need be, until the end.
_NARROWEST = 1 << 48
_REST = _NARROWEST - 1


def _arithmetic_encode(symbols: list[int], statistics: _Statistics) -> bytes:
    low, range_, words = 0, 1 << 64, []
    for symbol in symbols:
        part = range_ // statistics.total
        low += part * statistics.below(symbol)
        range_ = part * statistics.weights[symbol]
        while range_ < _NARROWEST:
            words.append(low >> 48)
            low = (low & _REST) << 16
            range_ <<= 16
        statistics.add(symbol)
    words.append((low + _REST) >> 48)  # the one multiple of 2^48 in [low, low + 2^48)
    for k in range(len(words) - 1, 0, -1):
        words[k - 1] += words[k] >> 16
    return np.array([word & 0xFFFF for word in words], ">u2").tobytes()


def _arithmetic_decode(data: bytes, count: int, statistics: _Statistics) -> list[int]:
    """The reverse of `_arithmetic_encode`.

    Raises:
        Truncated, Corrupt: these are not the code of `count` symbols.
    """
    # after the last word written the encoder's number goes on with zeros
    words = iter([*np.frombuffer(data[: len(data) // 2 * 2], ">u2").tolist(), 0, 0, 0])
    symbols, value, range_ = [], 0, 1 << 64  # value: how far the number lies above low
    try:
        for _ in range(4):
            value = value << 16 | next(words)
        for _ in range(count):  # even the likeliest symbols use up 16 bits in less than 10^6
            part = range_ // statistics.total
            target = value // part
            if target >= statistics.total:
                raise Corrupt("A stream holds no valid code.")
            symbol, below = statistics.find(target)
            value -= part * below
            range_ = part * statistics.weights[symbol]
            while range_ < _NARROWEST:
                value = value << 16 | next(words)
                range_ <<= 16
            statistics.add(symbol)
            symbols.append(symbol)
    except StopIteration:
        raise Truncated("A stream holds fewer symbols than it says.") from None
    if next(words, None) is not None or len(data) % 2:
        raise Corrupt("A stream goes on after its last symbol.")
    if value > _REST:
        raise Corrupt("A stream does not end as it should.")
    return symbols
