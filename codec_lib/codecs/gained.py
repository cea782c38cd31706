"""A frozen model for a range of rates: at a quality it is a codec like any other, and all of them have one digest."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from codec_lib.codecs.codec import Codec
from codec_lib.codecs.freezing import split_tables, table_tensors
from codec_lib.codecs.weight_rounding import digest_of, restore, round_weights
from codec_lib.coding.integer_tables import Tables
from codec_lib.errors import Unsupported
from codec_lib.networks import models
from codec_lib.networks.gains import Gained
from codec_lib.networks.priors.base import Prior
from codec_lib.rates import RATE_POINTS, THOUSAND, check_quality, lmbda_of, position_of

_GAINS = "gains."


@final
@dataclass(frozen=True, eq=False)
class GainedCodec:
    """A model and its gains, frozen.

    Attributes:
        network: the model and its gains, its weights rounded to what is stored.
        tables: the integer tables of each stream; of a stream whose tables change with the rate (`Prior.table_steps`),
            one set after the other, from the lowest quality to the highest.
        preset: what it was trained as.
        lmbdas: what it was trained for, rising: the lowest, the rate points between, and the highest.
        tensors: all that its weight file holds.
        digest: SHA-256 of weights and tables, 32 bytes.
    """

    network: Gained
    tables: dict[str, Tables]
    preset: str
    lmbdas: tuple[float, ...]
    tensors: dict[str, Tensor]
    digest: bytes
    quality: ClassVar = None  # in particular: it has a range of them

    def __repr__(self) -> str:
        low, high = (self.qualities[end] / THOUSAND for end in (0, -1))
        return f"<{type(self).__name__} {self.model}, preset {self.preset}, qualities {low:g} to {high:g}>"

    @property
    def model(self) -> str:
        """The model's public name."""
        return self.network.model.name

    @property
    def rate_point(self) -> dict[str, tuple[float, ...]]:
        """What tells it from codecs of one rate."""
        return {"lmbdas": self.lmbdas}

    @property
    def qualities(self) -> range:
        """In thousandths, rising."""
        return thousandths_within(self.lmbdas)

    def at(self, quality: float) -> Codec:
        """The codec of a quality, rounded to thousandths; `Unsupported` if it is not one of `qualities`."""
        check_quality(quality)
        thousandths = round(quality * THOUSAND)
        if thousandths not in self.qualities:
            low, high = self.qualities[0] / THOUSAND, self.qualities[-1] / THOUSAND
            raise Unsupported(
                f"The {self.model} model in the preset {self.preset} has the qualities {low:g} to {high:g}, "
                f"not {quality:g}."
            )
        network = self.network.at(thousandths).eval().requires_grad_(False).to(memory_format=torch.channels_last)
        counts, tables = network.table_counts(), dict(self.tables)
        for stream, step in network.table_steps.items():
            nearest = with_tables(self.qualities, step).index(_nearest(thousandths, step))
            tables[stream] = tables[stream].part(nearest * counts[stream], counts[stream])
        lmbda = lmbda_of(thousandths / THOUSAND)
        return Codec(network, network.exact(), tables, self.preset, lmbda, self.tensors, self.digest, thousandths)


def of_transforms(name: str) -> bool:
    """Whether a tensor of a weight file is of g_a and g_s, or of their gains, and not of the prior."""
    return name.startswith(("g_a.", "g_s.", "gains.shifts_")) or name in ("gains.gain", "gains.inverse")


def rates_between(low: float, high: float) -> tuple[float, ...]:
    """Two lmbda and the rate points between them."""
    return low, *(point for point in RATE_POINTS if low < point < high), high


def thousandths_within(lmbdas: tuple[float, ...]) -> range:
    """The qualities of rising lmbdas, in thousandths."""
    low, high = (THOUSAND * position_of(lmbdas[end]) for end in (0, -1))
    return range(math.ceil(low - 1e-6), math.floor(high + 1e-6) + 1)


def lmbdas_in(described: dict[str, str]) -> tuple[float, ...]:
    """The lmbdas that a weight file tells.

    Raises:
        ValueError: they are no numbers, do not rise, or are none that a model can be trained for.
    """
    lmbdas = tuple(map(float, described["lmbdas"].strip("()").split(",")))
    low, high = lmbdas[0], lmbdas[-1]
    if not RATE_POINTS[0] <= low < high <= RATE_POINTS[-1] or lmbdas != rates_between(low, high):
        raise ValueError("no range of rates")
    return lmbdas


def freeze(gained: Gained, preset: str, lmbdas: tuple[float, ...] = RATE_POINTS) -> GainedCodec:
    """Turn a trained model for a range of rates into a codec: weights rounded to what is stored, integer tables made.

    Raises:
        BadData: a weight is not finite, or too large for half precision or for exact coding.
    """
    gained.gains.round_()
    gains = {_GAINS + name: tensor for name, tensor in round_weights(gained.gains).items()}
    stored = round_weights(gained.model) | gains
    rounded = _restored(type(gained.model)(gained.model.size), stored)
    lmbdas = rates_between(lmbdas[0], lmbdas[-1])
    return assemble(rounded, stored, _tables_of_all(rounded, thousandths_within(lmbdas)), preset, lmbdas)


def assemble(
    gained: Gained, stored: dict[str, Tensor], tables: dict[str, Tables], preset: str, lmbdas: tuple[float, ...]
) -> GainedCodec:
    """A codec of a model whose weights are those `stored`, the tensors of a weight file."""
    narrower = () if lmbdas == RATE_POINTS else lmbdas  # release 0.2.0 had none
    tensors = stored | table_tensors(tables)
    digest = digest_of([gained.model.name, preset, *narrower], tensors)
    return GainedCodec(gained, tables, preset, lmbdas, tensors, digest)


def _restored(model: Prior, stored: dict[str, Tensor]) -> Gained:
    """A fresh model with the weights of a weight file, and their gains; raises as `restore` does."""
    gained = Gained(model, RATE_POINTS[0]).eval().requires_grad_(False)
    gains = {name.removeprefix(_GAINS): tensor for name, tensor in stored.items() if name.startswith(_GAINS)}
    restore(gained.model, {name: tensor for name, tensor in stored.items() if not name.startswith(_GAINS)})
    restore(gained.gains, gains)
    return gained


def from_tensors(described: dict[str, str], tensors: dict[str, Tensor]) -> GainedCodec:
    """The codec that a weight file describes; errors of many kinds where it does not."""
    lmbdas = lmbdas_in(described)
    model = models.make(described["model"], described["preset"], lmbdas[-1])
    stored, tables = split_tables(table_counts(model, thousandths_within(lmbdas)), tensors)
    return assemble(_restored(model, stored), stored, tables, described["preset"], lmbdas)


def _tables_of_all(gained: Gained, qualities: range) -> dict[str, Tables]:
    tables, steps = gained.model.make_tables(), gained.model.table_steps
    for stream, step in steps.items():
        each = with_tables(qualities, step)
        tables[stream] = Tables.joined([gained.prior_at(quality).make_tables()[stream] for quality in each])
    return tables


def _nearest(thousandths: int, step: int) -> int:
    return (thousandths + step // 2) // step * step


def with_tables(qualities: range, step: int) -> range:
    """The multiples of a step that qualities are nearest to, in thousandths: those with tables of their own."""
    return range(_nearest(qualities[0], step), _nearest(qualities[-1], step) + 1, step)


def table_counts(model: Prior, qualities: range) -> dict[str, int]:
    """How many tables each stream has, those of all qualities together."""
    sets = {stream: len(with_tables(qualities, step)) for stream, step in model.table_steps.items()}
    return {stream: count * sets.get(stream, 1) for stream, count in model.table_counts().items()}
