"""torchac's range coder: it codes a sequence in one call, so each group and width is a portion of its own."""

import numpy as np
import torch
from torch import Tensor

from codec_lib.coding import torchac_extension
from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.varints import take, write_varint
from codec_lib.errors import Corrupt

_CELLS = 1 << 26  # entries of the CDF rows in one call of torchac: 128 MiB, and it counts them in 32 bits


def _portions(tables: Tables, index: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Width after width, the positions of symbols whose tables have that width, so many that their rows fit."""
    portions = []
    for width in tables.cumulative:
        where = np.flatnonzero(tables.widths[index] == width)
        longest = _CELLS // (width + 1)
        portions += [(width, where[k : k + longest]) for k in range(0, len(where), longest)]
    return portions


def _rows(tables: Tables, width: int, index: np.ndarray) -> Tensor:
    position, rows = tables.cumulative[width]
    return torch.from_numpy(rows)[torch.from_numpy(position[index])]


class Encoder:
    """Bins -> bytes."""

    def __init__(self, tables: Tables):
        self.tables, self.torchac, self.parts = tables, torchac_extension.load(), []

    def put(self, bins: np.ndarray, index: np.ndarray) -> None:
        for width, where in _portions(self.tables, index):
            symbols = torch.from_numpy(bins[where].astype(np.int16))
            part = self.torchac.encode_int16_normalized_cdf(_rows(self.tables, width, index[where]), symbols)
            self.parts.append(write_varint(len(part)) + part)

    def finish(self) -> bytes:
        return b"".join(self.parts)


class Decoder:
    """Bytes -> bins."""

    def __init__(self, tables: Tables, data: bytes):
        self.tables, self.torchac, self.data, self.at = tables, torchac_extension.load(), data, 0

    def get(self, index: np.ndarray) -> np.ndarray:
        bins = np.empty(len(index), np.int32)
        for width, where in _portions(self.tables, index):
            part, self.at = take(self.data, self.at)
            rows = _rows(self.tables, width, index[where])
            bins[where] = self.torchac.decode_int16_normalized_cdf(rows, part).numpy()
        return bins

    def finish(self) -> None:
        if self.at != len(self.data):
            raise Corrupt("A stream of the file goes on after its last symbol.")
