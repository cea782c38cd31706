"""Integer symbols and integer tables <-> bytes, with two range coders behind one interface.

A writer takes symbols group by group; a reader gives them back, told only the table of each:

    writer = Writer(tables, coder)              reader = Reader(tables, coder, data)
    writer.put(symbols, index)                  symbols = reader.get(index)
    data = writer.finish()                      reader.finish()

Nothing is clipped: a symbol outside its table's support is coded as the escape symbol, the last of
every table, and its distance follows in a list of variable-length integers.

    stream = varint(length of escapes) | escapes | the range coder's bytes
"""

from types import ModuleType

import numpy as np

from codec_lib.coding import constriction_coder, torchac_coder
from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.varints import read_varint, take, write_varint
from codec_lib.errors import Corrupt, Unsupported

CODERS = {"constriction": constriction_coder, "torchac": torchac_coder}
"""Name -> the module of its `Encoder` and `Decoder`, the default first."""


class Writer:
    """Symbols -> bytes.

    Raises:
        Unsupported: no such coder, or it cannot be had on this machine.
    """

    def __init__(self, tables: Tables, coder: str):
        self.tables, self.encoder, self.escapes = tables, _coder(coder).Encoder(tables), bytearray()

    def put(self, symbols: np.ndarray, index: np.ndarray) -> None:
        """Code a group: int32 (n) symbols of any value, int (n) table of each."""
        bins, distances = self.tables.to_bins(symbols, index)
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
        decoder = _coder(coder).Decoder
        self.escapes, at = take(data, 0)
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


def _coder(name: str) -> ModuleType:
    if name not in CODERS:
        raise Unsupported(f"There is no coder '{name}'; choose from {', '.join(CODERS)}.")
    return CODERS[name]
