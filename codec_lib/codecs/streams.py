"""Symbols <-> the streams of a file: all that encoder and decoder differ in while they walk over a latent."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from codec_lib.coding.container import Container
from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.range_coding import Reader, Writer
from codec_lib.errors import Corrupt
from codec_lib.networks.priors.base import Group

Symbols = dict[str, np.ndarray]
"""Stream -> int32 (channels, height, width): y, and before it z where the model has one."""

Code = Callable[[Group, Tensor, Tensor], Tensor]
"""`code(group, mean, index)` gives the symbols there, float64 (n, m), of n positions and m channels.

Mean likewise, index the table of each, int64. A group is an index into the latent (h w, M).
"""


def write(
    tables: dict[str, Tables], coder: str, z: np.ndarray | None, choose: Code,
    walk: Callable[[Code], tuple[Symbols, Tensor]],
) -> tuple[tuple[bytes, ...], Symbols]:  # fmt: skip
    """The streams of z and of what is chosen for y on the walk, and all symbols."""
    streams = []
    if z is not None:
        writer = Writer(tables["z"], coder)
        writer.put(z.ravel(), _channel_index(z.shape))
        streams.append(writer.finish())
    writer = Writer(tables["y"], coder)

    def code(group: Group, mean: Tensor, index: Tensor) -> Tensor:
        values = choose(group, mean, index)
        writer.put(_flat(values).astype(np.int32), _flat(index))
        return values

    symbols, _ = walk(code)
    return (*streams, writer.finish()), symbols


def read(
    tables: dict[str, Tables], coder: str, streams: tuple[bytes, ...], shapes: dict[str, tuple[int, int, int]],
    walk: Callable[[np.ndarray | None, Code], tuple[Symbols, Tensor]],
) -> tuple[Symbols, Tensor]:  # fmt: skip
    """All symbols, and y_hat, as the walk gives them."""
    data, z = dict(zip(tables, streams, strict=True)), None
    if "z" in shapes:
        reader = Reader(tables["z"], coder, data["z"])
        z = reader.get(_channel_index(shapes["z"])).reshape(shapes["z"])
        reader.finish()
    reader = Reader(tables["y"], coder, data["y"])

    def code(group: Group, mean: Tensor, index: Tensor) -> Tensor:
        values = reader.get(_flat(index)).reshape(index.shape[::-1])
        return torch.from_numpy(values.T.astype(np.float64))

    found = walk(z, code)
    reader.finish()
    return found


def check_lengths(tables: dict[str, Tables], container: Container, shapes: dict[str, tuple[int, int, int]]) -> None:
    """Refuse (`Corrupt`) streams that are too short for symbols of these shapes, whatever they are."""
    for stream, data in zip(tables, container.streams, strict=True):
        channels, h, w = shapes[stream]
        least = tables[stream].least_bits
        least = (least.sum() if len(least) == channels else channels * least.min()) * h * w
        if 8 * len(data) + 64 < least:
            raise Corrupt(
                f"The stream of the file is too short for a picture of {container.width}x{container.height}: "
                f"{len(data):,} bytes, where {int(least / 8):,} are the least possible."
            )


def rows_of(y: Tensor) -> Tensor:
    """(M, h, w) -> (h w, M), of the same memory where its layout allows."""
    return y.flatten(1).T


def given(y: np.ndarray) -> Code:
    """Symbols that are known already, (M, h, w)."""
    rows = rows_of(torch.from_numpy(y)).double()
    return lambda group, mean, index: rows[group]


def _flat(rows: Tensor) -> np.ndarray:
    """(n, m) -> (m n): channel after channel, as the streams have them."""
    return rows.T.numpy().ravel()


def _channel_index(shape: tuple[int, int, int]) -> np.ndarray:
    return np.repeat(np.arange(shape[0]), shape[1] * shape[2])
