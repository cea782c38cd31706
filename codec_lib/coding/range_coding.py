"""Integer symbols and integer tables <-> bytes, with two range coders behind one interface.

A writer takes symbols group by group; a reader gives them back, told only the table of each:

    writer = Writer(tables, coder)              reader = Reader(tables, coder, data)
    writer.put(symbols, index)                  symbols = reader.get(index)
    data = writer.finish()                      reader.finish()

Nothing is clipped: a symbol outside its table's support is coded as the escape symbol, the last of
every table, and its distance follows in a list of variable-length integers.

    stream = varint(length of escapes) | escapes | the range coder's bytes
"""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import constriction
import numpy as np

from codec_lib.errors import Corrupt, Truncated, Unsupported

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

    def bits(self, symbols: np.ndarray, index: np.ndarray) -> float:
        """Ideal code length of symbols under these tables, escapes' distances left out."""
        return float(self.lengths(symbols, index).sum())

    def lengths(self, symbols: np.ndarray, index: np.ndarray) -> np.ndarray:
        """The same for each symbol, bits."""
        bins, _ = _to_bins(self, symbols, index)
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


# --- variable-length integers and escapes ---------------------------------------------------


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


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    """The length-prefixed bytes that start at `at` and the position after them."""
    length, at = read_varint(data, at)
    if at + length > len(data):
        raise Truncated("A stream of the file is shorter than it says.")
    return data[at : at + length], at + length


def _to_bins(tables: Tables, symbols: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Positions in the tables, and how far each escaped symbol lies outside (even above, odd below)."""
    escape = tables.widths[index].astype(np.int64) - 1
    bins = symbols.astype(np.int64) - tables.offsets[index]
    outside = (bins < 0) | (bins >= escape)
    far, last = bins[outside], escape[outside]
    distances = np.where(far >= 0, 2 * (far - last), -2 * far - 1)
    return np.where(outside, escape, bins).astype(np.int32), distances.tolist()


# --- the coders: bins in, bytes out ---------------------------------------------------------


class _ConstrictionEncoder:
    """Keeps its state between groups; a group is coded run by run of equal tables."""

    def __init__(self, tables: Tables):
        self.tables, self.coder = tables, constriction.stream.queue.RangeEncoder()

    def put(self, bins: np.ndarray, index: np.ndarray) -> None:
        order = np.argsort(index, kind="stable")
        bins = bins[order]
        for table, first, last in _runs(index[order]):
            self.coder.encode(bins[first:last], self.tables.categorical[table])

    def finish(self) -> bytes:
        return self.coder.get_compressed().astype("<u4").tobytes()


class _ConstrictionDecoder:
    def __init__(self, tables: Tables, data: bytes):
        if len(data) % 4:
            raise Corrupt("A stream of the file is not made of whole words.")
        self.tables = tables
        self.coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def get(self, index: np.ndarray) -> np.ndarray:
        order = np.argsort(index, kind="stable")
        bins = np.empty(len(index), np.int32)
        try:
            for table, first, last in _runs(index[order]):
                bins[order[first:last]] = self.coder.decode(self.tables.categorical[table], last - first)
        except AssertionError as error:  # constriction's word for impossible data
            raise Corrupt("A stream of the file holds no valid code.") from error
        return bins

    def finish(self) -> None:
        if not self.coder.maybe_exhausted():
            raise Corrupt("A stream of the file goes on after its last symbol.")


def _runs(index: np.ndarray) -> list[tuple[int, int, int]]:
    """(table, first, last + 1) of each run in a sorted array."""
    if not len(index):
        return []
    starts = [0, *(np.flatnonzero(index[1:] != index[:-1]) + 1).tolist()]
    return list(zip(index[starts].tolist(), starts, [*starts[1:], len(index)], strict=True))


_CELLS = 1 << 26  # entries of the CDF rows in one call of torchac: 128 MiB, and it counts them in 32 bits


def _portions(tables: Tables, index: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Width after width, the positions of symbols whose tables have that width, so many that their rows fit."""
    portions = []
    for width in tables.cumulative:
        where = np.flatnonzero(tables.widths[index] == width)
        longest = _CELLS // (width + 1)
        portions += [(width, where[k : k + longest]) for k in range(0, len(where), longest)]
    return portions


def _rows(tables: Tables, width: int, index: np.ndarray):
    import torch

    position, rows = tables.cumulative[width]
    return torch.from_numpy(rows)[torch.from_numpy(position[index])]


class _TorchacEncoder:
    """torchac codes a sequence in one call, so each group and width is a portion of its own."""

    def __init__(self, tables: Tables):
        self.tables, self.torchac, self.parts = tables, _import_torchac(), []

    def put(self, bins: np.ndarray, index: np.ndarray) -> None:
        import torch

        for width, where in _portions(self.tables, index):
            symbols = torch.from_numpy(bins[where].astype(np.int16))
            part = self.torchac.encode_int16_normalized_cdf(_rows(self.tables, width, index[where]), symbols)
            self.parts.append(write_varint(len(part)) + part)

    def finish(self) -> bytes:
        return b"".join(self.parts)


class _TorchacDecoder:
    def __init__(self, tables: Tables, data: bytes):
        self.tables, self.torchac, self.data, self.at = tables, _import_torchac(), data, 0

    def get(self, index: np.ndarray) -> np.ndarray:
        bins = np.empty(len(index), np.int32)
        for width, where in _portions(self.tables, index):
            part, self.at = _take(self.data, self.at)
            rows = _rows(self.tables, width, index[where])
            bins[where] = self.torchac.decode_int16_normalized_cdf(rows, part).numpy()
        return bins

    def finish(self) -> None:
        if self.at != len(self.data):
            raise Corrupt("A stream of the file goes on after its last symbol.")


def _import_torchac():
    """torchac, which compiles its C++ at the first import, without what the compiler prints."""
    if "torchac" in sys.modules:
        return sys.modules["torchac"]
    with contextlib.suppress(ImportError):
        import ninja  # the package brings the program; torch looks for it on the PATH

        if ninja.BIN_DIR not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, os.environ.get("PATH", "")])
    try:
        with _silence(), _alone("torchac_backend"):
            import torchac
    except Exception as error:  # torch raises RuntimeError or OSError; setuptools has its own kinds
        raise Unsupported(
            "The coder torchac cannot be compiled here; install a C++ compiler (Debian: apt install g++) "
            "and the package ninja, or use --coder constriction."
        ) from error
    return torchac


@contextlib.contextmanager
def _alone(extension: str):
    """One process at a time compiles an extension of torch's; a lock that a killed one left to torch is removed.

    torch would wait for that lock for ever. Ours the system takes back from a process that ends, however it ends.
    """
    from filelock import FileLock
    from torch.utils.cpp_extension import _get_build_directory

    folder = Path(_get_build_directory(extension, verbose=False))
    with FileLock(folder.with_name(f"{extension}.codecbook-lock"), timeout=600):
        (folder / "lock").unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def _silence():
    """Nothing on stdout and stderr, from Python or from programs it starts."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])


CODERS = {
    "constriction": (_ConstrictionEncoder, _ConstrictionDecoder),
    "torchac": (_TorchacEncoder, _TorchacDecoder),
}
"""The coders by name, the default first."""


def _lookup(coder: str) -> tuple[type, type]:
    if coder not in CODERS:
        raise Unsupported(f"There is no coder '{coder}'; choose from {', '.join(CODERS)}.")
    return CODERS[coder]


# --- the interface --------------------------------------------------------------------------


class Writer:
    """Symbols -> bytes.

    Raises:
        Unsupported: no such coder, or it cannot be had on this machine.
    """

    def __init__(self, tables: Tables, coder: str):
        self.tables, self.encoder, self.escapes = tables, _lookup(coder)[0](tables), bytearray()

    def put(self, symbols: np.ndarray, index: np.ndarray) -> None:
        """Code a group: int32 (n) symbols of any value, int (n) table of each."""
        bins, distances = _to_bins(self.tables, symbols, index)
        for distance in distances:
            self.escapes += write_varint(distance)
        self.encoder.put(bins, index)

    def finish(self) -> bytes:
        """The stream; the writer is spent."""
        return write_varint(len(self.escapes)) + bytes(self.escapes) + self.encoder.finish()


class Reader:
    """Bytes -> symbols: the groups in the order they were put.

    Raises:
        Truncated, Corrupt: the stream is not one that `Writer` made with these tables.
        Unsupported: no such coder.
    """

    def __init__(self, tables: Tables, coder: str, data: bytes):
        decoder = _lookup(coder)[1]
        self.escapes, at = _take(data, 0)
        self.at = 0
        self.tables, self.decoder = tables, decoder(tables, data[at:])

    def get(self, index: np.ndarray) -> np.ndarray:
        """The next group: int (n) table of each symbol -> int32 (n)."""
        bins = self.decoder.get(index).astype(np.int64)
        escape = self.tables.widths[index] - 1
        for k in np.flatnonzero(bins == escape):
            distance, self.at = read_varint(self.escapes, self.at)
            bins[k] = -(distance + 1) // 2 if distance % 2 else int(escape[k]) + distance // 2
        symbols = bins + self.tables.offsets[index]
        if ((symbols < -(2**31)) | (symbols >= 2**31)).any():
            raise Corrupt("A stream of the file holds an impossible symbol.")
        return symbols.astype(np.int32)

    def finish(self) -> None:
        """Check that nothing is left over."""
        if self.at != len(self.escapes):
            raise Corrupt("A stream of the file holds more escapes than symbols that need one.")
        self.decoder.finish()
