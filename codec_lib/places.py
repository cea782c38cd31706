"""Where the package and what comes with it lie."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
"""The checkout: `notebooks/` and `figures/` lie below it. An installed package has none."""

DATA = PACKAGE / "data" if (PACKAGE / "data").is_dir() else ROOT / "data"
"""Manifests, tables and weights: inside an installed package, beside it in a checkout."""

WEIGHTS = DATA / "weights"


def installed() -> bool:
    """Whether this is a wheel, which has the weights of some models only, and no checkout."""
    return DATA.parent == PACKAGE
