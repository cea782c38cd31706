"""Where the package and what comes with it lie."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
"""The checkout: `notebooks/` and `figures/` lie below it. An installed package has none."""

DATA = PACKAGE / "data" if (PACKAGE / "data").is_dir() else ROOT / "data"
"""Manifests, tables and weights: inside an installed package, beside it in a checkout."""

WEIGHTS = DATA / "weights"
