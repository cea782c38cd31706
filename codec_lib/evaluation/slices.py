"""What notebook 06 measures of the space-channel prior: the energy of channels, and bits by slice and by pass."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from codec_lib.evaluation.inspection import Inspection
from codec_lib.networks.densities import gaussian_bits
from codec_lib.networks.priors.space_channel import SpaceChannel
from codec_lib.tables import Row

PASSES = ("anchors", "others")


def energy(inspected: Sequence[Inspection]) -> np.ndarray:
    """Variance of each channel of y, each picture around its own average: (M,), mean of the pictures."""
    return np.mean([seen.y.var((1, 2)) for seen in inspected], 0)


def by_pass(network: SpaceChannel, seen: Sequence[Inspection], other: Sequence[Inspection]) -> list[Row]:
    """What the two passes of each slice cost, and what the same numbers cost another model of the same transforms.

    Returns:
        A row for each group in coding order: `slice` from 1, its `channels`, `pass`; `symbols [%]`, the share of all;
        `bits` and `bits of the other`, of all pictures; `saved [%]`.
    """
    rows, times = [], [network.times(*s.y.shape[1:]).numpy() for s in seen]
    for group, (part, name) in enumerate(itertools.product(network.slices, PASSES)):
        here = [t == group for t in times]
        bits, before = (sum(float(s.bits[w].sum()) for s, w in zip(of, here, strict=True)) for of in (seen, other))
        rows.append({
            "slice": 1 + group // 2, "channels": part.channels.stop - part.channels.start, "pass": name,
            "symbols [%]": 100 * sum(int(w.sum()) for w in here) / sum(t.size for t in times),
            "bits": bits, "bits of the other": before, "saved [%]": 100 * (1 - bits / before),
        })  # fmt: skip
    return rows


def in_blocks(values: np.ndarray, side: int = 2) -> np.ndarray:
    """Sums over blocks of side x side positions, (h, w) -> (h // side, w // side); a rest at the border is left out."""
    h, w = (n // side for n in values.shape)
    return values[: h * side, : w * side].reshape(h, side, w, side).sum((1, 3))


@torch.inference_mode()
def bits_with(network: SpaceChannel, seen: Inspection, earlier: bool = True, around: bool = True) -> Tensor:
    """Estimated bits of y, (M, h, w), when the prior is shown no earlier slices, or no anchors, but zeros.

    The symbols stay what they are where means change: each value is rounded on its own.
    """
    y, y_hat = (torch.from_numpy(values).float()[None] for values in (seen.y, seen.y_hat))
    psi = network.side_information(torch.from_numpy(seen.z).float()[None], y)
    anchors = y_hat * network.order.shown(*y.shape[2:])
    predicted = [
        part(psi, earlier * y_hat[:, : part.channels.start], around * anchors[:, part.channels])
        for part in network.slices
    ]
    mean, log2_scale = (torch.cat(tensors, 1) for tensors in zip(*predicted, strict=True))
    return gaussian_bits(torch.round(y - mean), log2_scale)[0]
