"""Probabilities as integer tables, made once and stored with the weights: what a range coder goes by."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import constriction
import numpy as np

from codec_lib.errors import Corrupt

PRECISION = 16
TOTAL = 1 << PRECISION
"""The frequencies of a table add up to this."""

WIDEST = 4096
"""Symbols in the widest table, the escape symbol included."""


@dataclass(frozen=True)
class Tables:
    """T frozen probability tables in integers.

    Attributes:
        widths: int32 (T), symbols of a table, its escape (the last) included; powers of two, so
            that torchac, which wants rows of one width, can code equal widths together.
        offsets: int32 (T), the value of a table's first symbol; values reach to offset + width - 2.
        frequencies: int32 (sum of widths), table after table, each >= 1, each table's sum TOTAL.

    Raises:
        Corrupt: the arrays are no such tables.
    """

    widths: np.ndarray
    offsets: np.ndarray
    frequencies: np.ndarray

    def __post_init__(self):
        w, o, f = self.widths, self.offsets, self.frequencies
        sizes_fit = w.ndim == 1 and w.shape == o.shape and len(w) > 0 and f.shape == (w.sum(),)
        if not sizes_fit or {a.dtype for a in (w, o, f)} != {np.dtype(np.int32)}:
            raise Corrupt("The probability tables of the weights are damaged.")
        if (w < 2).any() or (w > WIDEST).any() or (w & (w - 1)).any() or (f < 1).any():
            raise Corrupt("The probability tables of the weights are damaged.")
        if (np.add.reduceat(f, self.starts) != TOTAL).any():
            raise Corrupt("The probability tables of the weights do not add up.")

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each table begins in `frequencies`."""
        return np.concatenate([[0], np.cumsum(self.widths)[:-1]]).astype(np.int64)

    @classmethod
    def joined(cls, sets: Sequence["Tables"]) -> "Tables":
        """All tables of several sets, one set after the other."""
        parts = ([getattr(one, name) for one in sets] for name in ("widths", "offsets", "frequencies"))
        return cls(*map(np.concatenate, parts))

    def part(self, first: int, count: int) -> "Tables":
        """So many tables from the first on."""
        frequencies = np.split(self.frequencies, self.starts[1:])[first : first + count]
        rows = slice(first, first + count)
        return Tables(self.widths[rows], self.offsets[rows], np.concatenate(frequencies))

    def row(self, table: int) -> np.ndarray:
        """The frequencies of one table."""
        return self.frequencies[self.starts[table] : self.starts[table] + self.widths[table]]

    @cached_property
    def categorical(self) -> list:
        """constriction's model of each table; frequencies / TOTAL is exact in float64."""
        model = constriction.stream.model.Categorical
        return [model(self.row(t) / TOTAL, perfect=False) for t in range(len(self.widths))]

    @cached_property
    def cumulative(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Width -> (position of a table among those of this width (T), their int16 CDF rows (n, width + 1))."""
        groups = {}
        for width in np.unique(self.widths):
            members = np.flatnonzero(self.widths == width)
            position = np.zeros(len(self.widths), np.int64)
            position[members] = np.arange(len(members))
            rows = np.zeros((len(members), width + 1), np.int64)
            rows[:, 1:] = np.cumsum(np.stack([self.row(t) for t in members]), axis=1)
            groups[int(width)] = position, rows.astype(np.uint16).view(np.int16)  # 2^16 wraps to 0, as torchac wants
        return groups

    @cached_property
    def least_bits(self) -> np.ndarray:
        """The ideal code length of each table's cheapest symbol, float64 (T): no stream can need less."""
        return PRECISION - np.log2(np.maximum.reduceat(self.frequencies, self.starts))

    def to_bins(self, symbols: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Positions in the tables, and how far each escaped symbol lies outside (even above, odd below)."""
        escape = self.widths[index].astype(np.int64) - 1
        bins = symbols.astype(np.int64) - self.offsets[index]
        outside = (bins < 0) | (bins >= escape)
        far, last = bins[outside], escape[outside]
        distances = np.where(far >= 0, 2 * (far - last), -2 * far - 1)
        return np.where(outside, escape, bins).astype(np.int32), distances.tolist()

    def bits(self, symbols: np.ndarray, index: np.ndarray) -> float:
        """Ideal code length of symbols under these tables, escapes' distances left out."""
        return float(self.lengths(symbols, index).sum())

    def lengths(self, symbols: np.ndarray, index: np.ndarray) -> np.ndarray:
        """The same for each symbol, bits."""
        bins, _ = self.to_bins(symbols, index)
        return PRECISION - np.log2(self.frequencies[self.starts[index] + bins])


def build_tables(probabilities: list[tuple[int, np.ndarray]]) -> Tables:
    """Freeze probabilities into integer tables.

    Args:
        probabilities: for each table the value of its first symbol and the probability of each
            value, then of an escape; padded here with impossible values to a power of two.
    """
    widths, offsets, frequencies = [], [], []
    for offset, p in probabilities:
        width = max(2, 1 << (len(p) - 1).bit_length())
        missing = width - len(p)
        before = missing // 2
        padded = np.concatenate([np.zeros(before), p[:-1], np.zeros(missing - before), p[-1:]])
        widths.append(width)
        offsets.append(offset - before)
        frequencies.append(_integer_frequencies(padded))
    as_int32 = [np.asarray(a, np.int32) for a in (widths, offsets)]
    return Tables(*as_int32, np.concatenate(frequencies).astype(np.int32))


def _integer_frequencies(p: np.ndarray) -> np.ndarray:
    exact = np.asarray(p, np.float64) / np.sum(p) * TOTAL
    small, share = np.zeros(len(exact), bool), exact
    while (share[~small] < 1).any():  # what is raised to the minimum of 1 is taken from the others in proportion
        small |= share < 1
        share = np.where(small, 1, exact * ((TOTAL - small.sum()) / exact[~small].sum()))
    f = np.floor(share).astype(np.int64)
    f[np.argsort(f - share, kind="stable")[: TOTAL - f.sum()]] += 1  # what floor took goes where it took most
    return f
