"""The rate points: what `quality` means."""

import math

LMBDAS = (0.0067, 0.013, 0.025, 0.0483)
"""Rate points of the report we reproduce; `quality` is the position in it, from 1."""


def quality_of(lmbda: float) -> int:
    """The rate point nearest to lmbda, from 1."""
    return 1 + min(range(len(LMBDAS)), key=lambda k: abs(math.log(LMBDAS[k] / lmbda)))
