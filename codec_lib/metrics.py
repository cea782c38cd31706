"""Distortion and rate: PSNR [dB], MS-SSIM, bits per pixel, BD-rate [%]."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def psnr_from_mse(mse: float) -> float:
    """PSNR [dB] of a mean squared error on the [0, 1] scale; infinite for 0."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR [dB] of two pictures, uint8 (H, W, 3), over all samples at once."""
    return psnr_from_mse(mse(a, b) / 255**2)


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two pictures, uint8 (H, W, 3), in squared grey levels, over all samples at once."""
    rows = (np.subtract(x, y, dtype=np.int32) for x, y in zip(a, b, strict=True))  # one by one, which needs no memory
    return sum(int(np.square(row).sum(dtype=np.int64)) for row in rows) / a.size


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale SSIM (Wang et al. 2003) in [0, 1] of two pictures, uint8 (H, W, 3); NaN if too small."""
    if min(a.shape[:2]) < 161:  # it is halved four times under a window of 11x11
        return math.nan
    import torch
    from pytorch_msssim import ms_ssim as of_tensors

    x, y = (torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))[None].float() for p in (a, b))
    return of_tensors(x, y, data_range=255).item()


@dataclass(frozen=True)
class Metric:
    """A measure of quality.

    Attributes:
        function: two pictures, uint8 (H, W, 3) -> a number, NaN where it is not defined.
        label: for axes, with its unit.
    """

    function: Callable[[np.ndarray, np.ndarray], float]
    label: str


METRICS = {"psnr": Metric(psnr, "PSNR [dB]"), "ms_ssim": Metric(ms_ssim, "MS-SSIM")}
"""Name of a column -> what is measured of every decoded picture."""


def measure(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """All of `METRICS` of two pictures, uint8 (H, W, 3)."""
    return {name: metric.function(a, b) for name, metric in METRICS.items()}


def bpp(size_in_bytes: int, pixels: np.ndarray) -> float:
    """Bits per pixel of a file of `size_in_bytes` that holds the picture (H, W, 3)."""
    return 8 * size_in_bytes / (pixels.shape[0] * pixels.shape[1])


def bd_rate(anchor: np.ndarray, test: np.ndarray) -> float:
    """Average rate difference of two curves at equal PSNR (Bjontegaard 2001), PCHIP in log rate.

    Args:
        anchor, test: rows of (bpp, PSNR), PSNR rising with bpp; any order. Of equal PSNRs the one of the fewest bits
            counts, and none that is infinite.

    Returns:
        Percent; negative where `test` needs fewer bits. NaN where the PSNR ranges do not overlap.
    """
    from scipy.interpolate import PchipInterpolator

    def rising(curve: np.ndarray) -> np.ndarray:
        curve = np.array(sorted(map(tuple, curve)), dtype=np.float64)
        curve = curve[np.isfinite(curve[:, 1])]
        return curve[np.unique(curve[:, 1], return_index=True)[1]]

    curves = [rising(curve) for curve in (anchor, test)]
    if min(map(len, curves)) < 2:
        return math.nan
    f, g = (PchipInterpolator(curve[:, 1], np.log(curve[:, 0])) for curve in curves)
    low, high = max(f.x[0], g.x[0]), min(f.x[-1], g.x[-1])
    if high <= low:
        return math.nan
    return 100 * (math.exp((g.integrate(low, high) - f.integrate(low, high)) / (high - low)) - 1)
