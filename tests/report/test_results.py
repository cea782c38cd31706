"""What the committed tables of Kodak must show: no weights, and no figures, that fall behind are taken."""

import itertools

import numpy as np
import pytest
from update_readme import BESIDE, FIGURES

from codec_lib import rates, tables


def bd_rate(model: str, against: str) -> float:
    """Of the report's matrix, per cent: negative if the model needs fewer bits."""
    (row,) = [r for r in tables.read_csv(FIGURES / "05_bd_rate_kodak.csv") if r["against"] == against]
    return row[model]


@pytest.mark.parametrize("model", BESIDE)
def test_no_loss_is_above_the_reports_and_a_tenth_of_its_bits_is_saved(model):
    measured = {row["lmbda"]: row for row in tables.read_csv(FIGURES / "05_losses_kodak.csv")}
    assert list(measured) == list(rates.RATE_POINTS)
    rows = [measured[lmbda] for lmbda in rates.LMBDAS]
    assert all(row[model] <= row[f"{BESIDE[model][0]}, the report"] for row in rows)
    assert bd_rate(model, f"{BESIDE[model][0]}, the report (published)") <= -10


def test_the_order_is_that_of_theory():
    """Fewer bits from one to the next: all have the same transforms, and each knows more than the one before.

    Nothing tells whether the joint model's more neighbours or the space-channel prior's other channels are worth more.
    """
    order = ["factorized", "hyperprior", "checkerboard", "joint"]
    assert sorted([*order, "space-channel"]) == sorted(BESIDE)
    losses = tables.read_csv(FIGURES / "05_losses_kodak.csv")
    for worse, better in [*itertools.pairwise(order), ("checkerboard", "space-channel")]:
        assert bd_rate(better, worse) < 0
        assert all(row[better] < row[worse] for row in losses)


@pytest.mark.parametrize("classical", ["JPEG", "JPEG 2000", "WebP"])
def test_the_hyperprior_is_ahead_at_every_rate_it_covers(classical):
    rows = tables.read_csv(FIGURES / "05_rate_distortion_kodak.csv")
    ours, theirs = (
        np.array(sorted((np.log(r["bpp"]), r["psnr"]) for r in rows if r["curve"] == name))
        for name in ("hyperprior", classical)
    )
    rates = np.linspace(ours[0, 0], ours[-1, 0], 50)
    assert theirs[0, 0] <= rates[0] and rates[-1] <= theirs[-1, 0]
    assert (np.interp(rates, *ours.T) > np.interp(rates, *theirs.T)).all()
