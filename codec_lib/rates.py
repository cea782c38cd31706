"""The rate points: what `quality` means, and the loss that they weigh."""

import math
import numbers

from codec_lib.errors import Unsupported

LMBDAS = (0.0067, 0.013, 0.025, 0.0483)
"""Rate points of the report we reproduce; `quality` is the position in it, from 1."""

RATE_POINTS = (0.0035, *LMBDAS, 0.093)
"""lmbda at the qualities 0 to 5 of a model for every rate; between them it is geometric."""

THOUSAND = 1000
"""Files tell quality in thousandths."""


def in_units(thousandths: int) -> float:
    """A quality as `--quality` has it; whole ones are integers, as weight files are named."""
    return thousandths / THOUSAND if thousandths % THOUSAND else thousandths // THOUSAND


def check_quality(quality: float) -> None:
    """Refuse (`Unsupported`) what is no quality, from 0 to 5."""
    highest = len(RATE_POINTS) - 1
    if not isinstance(quality, numbers.Real):
        raise Unsupported(f"There is no quality {quality!r}; choose a number from 0 to {highest}.")
    if not 0 <= quality <= highest:  # not a number, either
        raise Unsupported(f"There is no quality {quality:g}; choose from 0 to {highest}.")


def lmbda_of(quality: float) -> float:
    """lmbda at a quality from 0 to 5."""
    low = min(int(quality), len(RATE_POINTS) - 2)
    ratio = RATE_POINTS[low + 1] / RATE_POINTS[low]
    return RATE_POINTS[low] * ratio ** (quality - low)


def position_of(lmbda: float) -> float:
    """The inverse of `lmbda_of`; beyond the rate points it goes on as between the last two."""
    low = next((k for k in range(len(RATE_POINTS) - 2) if lmbda < RATE_POINTS[k + 1]), len(RATE_POINTS) - 2)
    return low + math.log(lmbda / RATE_POINTS[low]) / math.log(RATE_POINTS[low + 1] / RATE_POINTS[low])


def quality_of(lmbda: float) -> int:
    """The rate point nearest to lmbda, from 1."""
    return 1 + min(range(len(LMBDAS)), key=lambda k: abs(math.log(LMBDAS[k] / lmbda)))


def loss(lmbda: float, bpp, mse):
    """`lmbda * 255^2 * MSE + bpp`, the MSE on the [0, 1] scale, numbers or tensors.

    The loss of Balle et al. 2018, eq. 9, scaled as the report we reproduce has it.
    """
    return lmbda * 255**2 * mse + bpp


def loss_at(lmbda: float, bpp: float, psnr: float) -> float:
    """The loss of a measured file, from its PSNR [dB]."""
    return loss(lmbda, bpp, 10 ** (-psnr / 10))
