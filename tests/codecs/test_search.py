"""A search ends with a better file than it began with, or with the same, and the file holds what was believed."""

import math

import numpy as np
import pytest
import torch
from conftest import is_a_sentence
from hypothesis import given
from hypothesis import strategies as st

from codec_lib.codecs import search, tiles
from codec_lib.coding.container import unpack
from codec_lib.errors import Unsupported
from codec_lib.evaluation import evaluation
from codec_lib.rates import loss_at


@pytest.fixture(scope="module")
def pixels(photo) -> np.ndarray:
    """71 wide and 90 high: no multiples of 16."""
    return photo[:90, :71]


@pytest.fixture(scope="module")
def files(each_codec, pixels) -> list[bytes]:
    """Of efforts 0 to 2."""
    return [each_codec.encode(pixels, effort=effort) for effort in range(3)]


def test_effort_0_writes_the_picture_as_it_is_analysed(each_codec, pixels, files):
    assert files[0] == each_codec.encode(pixels) == each_codec.write_symbols(each_codec.analyse(pixels), 90, 71)


def test_no_effort_ends_above_the_loss_of_the_one_below(each_codec, pixels, files):
    losses = [each_codec.loss(data, pixels) for data in files]
    assert losses[1] < losses[0]
    assert losses[2] <= losses[1]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_the_same_picture_gives_the_same_file(each_codec, pixels, files, mode):
    with mode():
        assert each_codec.encode(pixels, effort=1) == files[1]


def test_the_loss_is_that_of_the_file(each_codec, pixels, files):
    error = each_codec.decode(files[1]) / 255 - pixels / 255
    rate = 8 * len(files[1]) / (90 * 71)
    assert each_codec.loss(files[1], pixels) == pytest.approx(each_codec.lmbda * 255**2 * (error**2).mean() + rate)


def test_a_file_holds_what_the_search_believes_of_its_latents(each_codec, files):
    """With rounding in place of the staircase; what a context looks at is then what a decoder knows."""
    symbols = each_codec.read_symbols(unpack(files[1]))
    z = None if "z" not in symbols else torch.from_numpy(symbols["z"]).float()[None]
    rows = torch.from_numpy(symbols["y"]).double().flatten(1).T
    _, y_hat = each_codec.walk(symbols.get("z"), *symbols["y"].shape[1:], lambda group, mean, index: rows[group])
    with torch.no_grad():
        believed, bits, soft = each_codec.network.relaxed(y_hat.float(), z, torch.round)
    torch.testing.assert_close(believed, y_hat.float(), atol=0.02, rtol=0)  # exact means are on a grid
    for values, stream in zip(soft, symbols, strict=True):
        np.testing.assert_array_equal(values[0].numpy(), symbols[stream])
    assert bits.item() == pytest.approx(each_codec.expect_symbols(symbols)[1], rel=0.01)


def test_where_a_search_only_spoils_the_first_file_stays(tiny_codec, pixels, monkeypatch):
    monkeypatch.setattr(search, "_move", lambda network, lmbda, pixels, latents, *rest: latents.y.add_(3.0))
    assert tiny_codec.encode(pixels, effort=2) == tiny_codec.encode(pixels)


def test_a_search_tile_by_tile_is_nearly_as_good(codecs, photo, monkeypatch):
    frozen, pixels = codecs["checkerboard"], np.tile(photo, (2, 1, 1))[:150, :71]  # 10 by 5 positions
    first, whole = (frozen.loss(frozen.encode(pixels, effort=effort), pixels) for effort in (0, 1))
    monkeypatch.setattr(tiles, "CORE", 8)
    assert first - frozen.loss(frozen.encode(pixels, effort=1), pixels) > 0.5 * (first - whole)


def test_an_effort_may_be_a_number_of_numpy(tiny_codec, pixels):
    assert tiny_codec.encode(pixels, effort=np.int64(1)) == tiny_codec.encode(pixels, effort=1)


@pytest.mark.parametrize("effort", [-1, 10])
def test_other_efforts_are_refused(tiny_codec, pixels, effort):
    with pytest.raises(Unsupported) as error:
        tiny_codec.encode(pixels, effort=effort)
    assert is_a_sentence(error.value)


def test_each_effort_has_twice_the_steps_of_the_one_below_and_begins_with_them():
    for effort in range(1, 9):
        assert sum(search.stages(effort + 1)) == 2 * sum(search.stages(effort))
        assert search.stages(effort + 1)[:effort] == search.stages(effort)
    assert search.stages(0) == []


@given(st.floats(-50, 50), st.floats(0.1, 200))
def test_the_staircase_stays_between_the_integers_around_and_goes_to_both_limits(u, alpha):
    u = torch.tensor(u, dtype=torch.float64)
    assert u.floor() - 1e-12 <= search.soft_round(u, alpha) <= u.floor() + 1 + 1e-12
    assert search.soft_round(u, 1e-3).item() == pytest.approx(u.item(), abs=1e-6)
    if abs(u.item() - math.floor(u.item()) - 0.5) > 0.01:
        assert search.soft_round(u, 1e4).item() == pytest.approx(u.round().item(), abs=1e-6)


def test_a_bar_counts_the_steps_if_it_is_wanted(tiny_codec, pixels, capfd):
    tiny_codec.encode(pixels, effort=1)
    assert capfd.readouterr() == ("", "")
    tiny_codec.encode(pixels, effort=1, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "search" in err


def test_measurements_of_a_search_are_those_of_its_files(large_and_small, codecs):
    frozen = codecs["hyperprior"]
    before, after = (evaluation.evaluate(frozen, large_and_small, progress=False, effort=k) for k in (0, 1))
    for one, other in zip(before, after, strict=True):
        assert other["exact"] is True
        assert other["bpp_estimated"] == pytest.approx(
            (other["bits"] - 8 * other["container"]) / other["num_pixels"], rel=0.05
        )
        assert loss_at(frozen.lmbda, other["bpp"], other["psnr"]) < loss_at(frozen.lmbda, one["bpp"], one["psnr"])
