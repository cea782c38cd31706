"""The integer tables of a codec <-> tensors of its weight file, beside those of its weights."""

import torch
from torch import Tensor

from codec_lib.coding.integer_tables import Tables

_PREFIX = "tables."
_PARTS = ("widths", "offsets", "frequencies")


def to_tensors(tables: dict[str, Tables]) -> dict[str, Tensor]:
    """What a weight file holds of them."""
    return {
        f"{_PREFIX}{stream}.{part}": torch.from_numpy(getattr(each, part))
        for stream, each in tables.items()
        for part in _PARTS
    }


def split(counts: dict[str, int], tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tables]]:
    """A weight file's tensors without those of the tables, and the tables.

    Args:
        counts: how many tables each stream has.
        tensors: all that the file holds.

    Raises:
        KeyError, ValueError, Corrupt: these are no such tables.
    """
    tables = {}
    for stream, count in counts.items():
        tables[stream] = Tables(*(tensors[f"{_PREFIX}{stream}.{part}"].numpy() for part in _PARTS))
        if len(tables[stream].widths) != count:
            raise ValueError(f"{count} tables are needed for {stream}")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_PREFIX)}, tables
