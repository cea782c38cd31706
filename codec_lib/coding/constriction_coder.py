"""constriction's range coder: it keeps its state between groups, and codes a group run by run of equal tables."""

import constriction
import numpy as np

from codec_lib.coding.integer_tables import Tables
from codec_lib.errors import Corrupt


class Encoder:
    """Bins -> bytes."""

    def __init__(self, tables: Tables):
        self.tables, self.coder = tables, constriction.stream.queue.RangeEncoder()

    def put(self, bins: np.ndarray, index: np.ndarray) -> None:
        order = _by_table(self.tables, index)
        bins = bins[order]
        for table, first, last in _runs(index[order]):
            self.coder.encode(bins[first:last], self.tables.categorical[table])

    def finish(self) -> bytes:
        return self.coder.get_compressed().astype("<u4").tobytes()


class Decoder:
    """Bytes -> bins."""

    def __init__(self, tables: Tables, data: bytes):
        if len(data) % 4:
            raise Corrupt("A stream of the file is not made of whole words.")
        self.tables = tables
        self.coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def get(self, index: np.ndarray) -> np.ndarray:
        order = _by_table(self.tables, index)
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


def _by_table(tables: Tables, index: np.ndarray) -> np.ndarray:
    """The order of symbols by their tables, equal ones as they come; small types are sorted sooner."""
    return np.argsort(index.astype(np.min_scalar_type(len(tables.widths))), kind="stable")


def _runs(index: np.ndarray) -> list[tuple[int, int, int]]:
    """(table, first, last + 1) of each run in a sorted array."""
    if not len(index):
        return []
    starts = [0, *(np.flatnonzero(index[1:] != index[:-1]) + 1).tolist()]
    return list(zip(index[starts].tolist(), starts, [*starts[1:], len(index)], strict=True))
