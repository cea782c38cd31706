"""A trained model of one rate -> a codec -> tensors of a weight file and back, and the rate points that there are."""

import math

import torch
from torch import Tensor

from codec_lib.codecs.codec import Codec
from codec_lib.codecs.weight_rounding import digest_of, restore, round_weights
from codec_lib.coding.integer_tables import Tables
from codec_lib.networks import models
from codec_lib.networks.priors.base import Prior
from codec_lib.rates import LMBDAS, THOUSAND, check_quality, lmbda_of, quality_of

_PREFIX = "tables."
_PARTS = ("widths", "offsets", "frequencies")


def freeze(model: Prior, preset: str, lmbda: float) -> Codec:
    """Turn a trained model into a codec: weights rounded to what is stored, integer tables made.

    Raises:
        BadData: a weight is not finite, or too large for half precision or for exact coding.
    """
    stored = round_weights(model)
    network = restore(type(model)(model.size), stored)
    return assemble(network, stored, network.make_tables(), preset, lmbda)


def assemble(network: Prior, stored: dict[str, Tensor], tables: dict[str, Tables], preset: str, lmbda: float) -> Codec:
    """A codec of a network whose weights are those `stored`; `BadData` if they are too large for exact coding."""
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    tensors = stored | table_tensors(tables)
    digest = digest_of([network.name, preset, lmbda], tensors)
    return Codec(network, network.exact(), tables, preset, lmbda, tensors, digest, THOUSAND * quality_of(lmbda))


def from_tensors(described: dict[str, str], tensors: dict[str, Tensor]) -> Codec:
    """The codec that a weight file describes; errors of many kinds where it does not."""
    lmbda = float(described["lmbda"])
    if not 0 < lmbda < math.inf:
        raise ValueError("no rate point")
    network = models.make(described["model"], described["preset"], lmbda)
    stored, tables = split_tables(network.table_counts(), tensors)
    return assemble(restore(network, stored), stored, tables, described["preset"], lmbda)


def table_tensors(tables: dict[str, Tables]) -> dict[str, Tensor]:
    """What a weight file holds of tables."""
    return {
        f"{_PREFIX}{stream}.{part}": torch.from_numpy(getattr(each, part))
        for stream, each in tables.items()
        for part in _PARTS
    }


def split_tables(counts: dict[str, int], tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tables]]:
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


def rate_points() -> tuple[int, ...]:
    """The qualities, from 1."""
    return tuple(range(1, len(LMBDAS) + 1))


def in_words(quality: float) -> str:
    """What a weight file is for."""
    return f"at quality {quality:g}"


def check_point(model: str, quality: float) -> None:
    """Refuse what is no quality, as `rates.check_quality` does."""
    check_quality(quality)


def check_preset(model: str, preset: str, quality: float) -> None:
    """Refuse sizes that a model does not have, as `models.preset` does."""
    models.preset(preset, lmbda_of(quality), model)
