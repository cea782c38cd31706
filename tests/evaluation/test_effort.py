"""What a search wins is told as its files have it."""

import numpy as np
import pytest

from codec_lib import images, metrics, tables
from codec_lib.evaluation import effort, plotting
from codec_lib.evaluation.explorer import Scene


@pytest.fixture(scope="module")
def rows(codecs, tiny_codecs, large_and_small) -> list[tables.Row]:
    small = {"small": images.read_image(large_and_small[1])[0]}
    return effort.measure([*tiny_codecs[2:], codecs["hyperprior"]], small, 2, progress=False)


def test_rows_are_those_of_the_files_of_each_effort(rows, codecs, large_and_small):
    pixels = images.read_image(large_and_small[1])[0]
    frozen = codecs["hyperprior"]
    for row in rows[-3:]:
        data = frozen.encode(pixels, effort=row["effort"])
        assert row["loss"] == frozen.loss(data, pixels)
        assert row["bpp"] == metrics.bpp(len(data), pixels)
        assert row["psnr"] == metrics.psnr(pixels, frozen.decode(data))
    assert [row["effort"] for row in rows] == [0, 1, 2] * 3
    assert 0 < rows[-3]["seconds"] < rows[-2]["seconds"] < rows[-1]["seconds"]


def test_the_summary_compares_with_effort_0_of_the_same_model():
    def row(model, lmbda, effort, loss, bpp, psnr):
        return {"model": model, "lmbda": lmbda, "image": "a", "effort": effort, "loss": loss, "bpp": bpp, "psnr": psnr,
                "seconds": 1.0 + effort}  # fmt: skip

    told = effort.summary([
        row("hyperprior", 0.1, 0, 2.0, 1.0, 30.0), row("hyperprior", 0.1, 1, 1.8, 0.9, 30.0),
        row("hyperprior", 0.2, 0, 4.0, 2.0, 33.0), row("hyperprior", 0.2, 1, 3.8, 1.8, 33.0),
        row("joint", 0.1, 0, 1.0, 1.0, 30.0), row("joint", 0.1, 1, 0.5, 0.9, 30.0),
    ])  # fmt: skip
    expected = [
        ("hyperprior", 0, 0.0, 0.0),
        ("hyperprior", 1, -7.5, -10.0),
        ("joint", 0, 0, None),
        ("joint", 1, -50, None),
    ]
    for found, (model, level, loss, bd_rate) in zip(told, expected, strict=True):
        assert (found["model"], found["effort"], found["seconds"]) == (model, level, 1.0 + level)
        assert found["loss [%]"] == pytest.approx(loss)
        assert found["BD-rate [%]"] == (None if bd_rate is None else pytest.approx(bd_rate))


def test_the_figure_draws_the_summary(rows):
    told = [row for row in effort.summary(rows) if row["model"] == "factorized"]
    axes = plotting.gains_over_time(told).axes
    assert [axis.get_ylabel().partition(" ")[0] for axis in axes] == ["loss", "BD-rate"]
    (line,) = (line for line in axes[0].get_lines() if line.get_label() == "factorized")
    assert list(line.get_xdata()) == [row["seconds"] for row in told]
    assert list(line.get_ydata()) == [row["loss [%]"] for row in told]


def test_moves_have_every_symbol_and_bit_once(codecs, photo):
    before, after = (Scene(codecs["space-channel"], photo, e) for e in (0, 2))
    rows = {row["symbol"]: row for row in effort.moves(before, after)}
    assert sum(row["share [%]"] for row in rows.values()) == pytest.approx(100)
    assert sum(row["bits before"] for row in rows.values()) == pytest.approx(before.bits.sum())
    assert sum(row["bits after"] for row in rows.values()) == pytest.approx(after.bits.sum())
    zeroed = (before.latent.symbols != 0) & (after.latent.symbols == 0)
    assert rows["to zero"]["share [%]"] == pytest.approx(100 * zeroed.mean()) and zeroed.any()
    assert rows["to zero"]["bits before"] == pytest.approx(before.bits[zeroed].sum())
    farther = np.abs(after.latent.symbols) > np.abs(before.latent.symbols)
    assert rows["farther from zero"]["bits after"] == pytest.approx(after.bits[farther].sum()) and farther.any()
