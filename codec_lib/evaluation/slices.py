"""What notebook 06 measures of the space-channel prior: the energy of channels, and bits by slice and by pass."""

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
    """What the two passes of each slice cost, and what the same numbers cost another model.

    Args:
        network: the prior.
        seen: of pictures, by a codec of this prior.
        other: of the same pictures, by a codec with the same transforms.

    Returns:
        A row for each group in coding order: `slice` from 1, its `channels`, `pass`; `symbols [%]`, the share of all;
        `bits` and `bits of the other`, of all pictures; `saved [%]`.
    """
    rows = []
    second = [network.order.times(*s.y.shape[1:]).numpy() == 1 for s in seen]
    for k, part in enumerate(network.slices, 1):
        n = part.channels.stop - part.channels.start
        for p, name in enumerate(PASSES):
            bits, before = (
                sum(float(s.bits[part.channels][:, late == p].sum()) for s, late in zip(of, second, strict=True))
                for of in (seen, other)
            )
            share = 100 * n * sum((late == p).sum() for late in second) / sum(s.y.size for s in seen)
            rows.append({
                "slice": k, "channels": n, "pass": name, "symbols [%]": float(share),
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
