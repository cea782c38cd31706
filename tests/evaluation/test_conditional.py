"""What notebooks 03 and 04 measure is what it is called."""

import numpy as np
import pytest
import torch

from codec_lib.coding.order import WAVEFRONT
from codec_lib.evaluation import conditional
from codec_lib.evaluation.inspection import Inspection, inspect


def inspection(y: np.ndarray, mean: np.ndarray | float = 0.0, scale: float = 1.0) -> Inspection:
    mean, scale = np.broadcast_to(mean, y.shape), np.full(y.shape, scale)
    symbols = np.round(y - mean)
    nothing = np.zeros((1, 1, 1))
    return Inspection(y, symbols, mean, scale, np.abs(symbols) + 1, np.zeros_like(y, int), nothing, nothing)


def test_noise_has_the_statistics_of_noise_and_a_busy_half_couples_neighbours():
    noise = np.random.default_rng(0).standard_normal((4, 60, 80))
    plain = conditional.statistics(noise, [0, 2])
    assert plain["kurtosis"] == pytest.approx(3, abs=0.2)
    assert plain["coupling"] == pytest.approx(0, abs=0.05)
    assert plain["variance"] == pytest.approx(1, abs=0.05)
    noise[:, :, :40] *= 5
    busy = conditional.statistics(noise, [0, 2])
    assert busy["kurtosis"] > 4 and busy["coupling"] > 0.3
    assert conditional.neighbours(np.ones((3, 4))) == 0


def test_the_mean_explains_nothing_of_a_constant_and_all_of_what_it_equals():
    y = 50 + np.random.default_rng(0).standard_normal((3, 8, 8))
    everywhere = np.ones((8, 8), dtype=bool)
    shares = [conditional.explained(inspection(y, mean), [0, 1, 2], everywhere)["explained by the mean [%]"]
              for mean in (0.0, 50.0, y)]  # fmt: skip
    assert shares == pytest.approx([0, 0, 100], abs=1e-9)


def test_dearest_blocks_have_their_share():
    assert conditional.shares_of_dearest(np.array([[1.0, 1], [2, 4]]), (25, 50, 100)) == {
        25: 50.0,
        50: 75.0,
        100: 100.0,
    }


def test_entropies_are_those_of_the_symbols():
    z = np.array([[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, 3]])
    assert conditional.entropies(z).tolist() == [0, 1, 2]


@pytest.mark.parametrize("model", ["hyperprior", "joint", "checkerboard"])
def test_sizes_end_at_the_file_and_tables_are_those_of_the_codec(codecs, photo, model):
    codec = codecs[model]
    rows = conditional.sizes(codec, photo)
    assert rows[-1]["both"] == 8 * len(codec.encode(photo))
    assert rows[0]["both"] == pytest.approx(codec.estimate(photo)[1], rel=1e-6)
    assert rows[1]["both"] < rows[2]["both"] < rows[-1]["both"], "tables, a stream, the file"
    seen = inspect(codec, photo)
    price = conditional.price_of_integers(codec, seen)
    assert price["integers [bit]"] == pytest.approx(rows[0]["both"])
    outside = conditional.escaped(codec, seen)
    assert outside.shape == seen.y.shape and not outside[np.abs(seen.symbols) <= 1].any()


def test_a_raised_symbol_changes_what_comes_later_alone(codecs, photo):
    codec = codecs["joint"]
    symbols = codec.analyse(photo)
    changed = conditional.changed_by(codec, symbols, 2, 3)
    times = codec.network.order.times(*changed.shape).numpy()
    assert changed.any() and not changed[times <= times[2, 3]].any()


def test_nine_ways_to_add_are_one_on_paper_and_in_integers():
    rng = torch.Generator().manual_seed(0)
    v, W = torch.randn(10, 60, generator=rng), torch.randn(7, 60, generator=rng)
    first, *others = conditional.sums(v, W)
    assert len(others) == 8
    for other in others:
        torch.testing.assert_close(other, first)
    integers = [
        r.contiguous().numpy().tobytes() for r in conditional.sums((64 * v).round().double(), (64 * W).round().double())
    ]
    assert len(set(integers)) == 1


def test_neighbourhoods_are_the_taps_of_the_mask():
    y = torch.arange(2 * 4 * 5).reshape(2, 4, 5).float() + 1
    around = conditional.neighbourhoods(y, WAVEFRONT.offsets()).reshape(4, 5, 12, 2)
    dy, dx = WAVEFRONT.offsets()[-1]
    assert (dy, dx) == (0, -1)
    assert around[1, 2, -1].tolist() == y[:, 1, 1].tolist()
    assert around[0, 0].abs().sum() == 0
