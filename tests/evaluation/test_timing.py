"""Stand-ins have as much to code as trained models, and are real codecs."""

import numpy as np
import pytest

from codec_lib.evaluation import timing


@pytest.fixture(scope="module")
def stand_in(photo):
    return timing.stand_in("hyperprior", photo)


@pytest.fixture(scope="module")
def factorized(photo):
    return timing.stand_in("factorized", photo)


def test_a_stand_in_has_the_papers_size_and_spread_latents(stand_in, photo):
    assert (stand_in.preset, stand_in.network.size.N, stand_in.network.size.M) == ("paper", 128, 192)
    y = stand_in.latents(photo)[0].numpy()
    assert y.std((1, 2))[0] == pytest.approx(8, rel=0.15)
    assert y.std((1, 2))[-1] == pytest.approx(1 / 8, rel=0.15)


def test_a_stand_in_codes_and_knows_what_it_codes(stand_in, photo):
    data = stand_in.encode(photo)
    pixels, estimate = stand_in.estimate(photo)
    np.testing.assert_array_equal(stand_in.decode(data), pixels)
    entropy = stand_in.latents(photo)[0][0].numel() * sum(
        max(0.1, np.log2(4.13 * s)) for s in np.geomspace(8, 1 / 8, 192)
    )
    assert 0.5 * entropy < estimate < 2 * entropy


def test_stand_ins_repeat(factorized, photo):
    assert timing.stand_in("factorized", photo).digest == factorized.digest


PARTS = ("g_a", "h_a", "h_s", "context", "coder (enc)", "coder (dec)", "container", "g_s")


def test_the_whole_takes_at_least_its_parts(stand_in, photo):
    seconds = timing.whole(stand_in, photo, repeats=1)
    assert tuple(seconds) == ("encode", "decode", *PARTS)
    assert all(value > 0 for name, value in seconds.items() if name in ("encode", "decode", "g_a", "h_a", "h_s", "g_s"))
    assert all(value >= 0 for value in seconds.values())


def test_the_factorized_prior_has_neither_side_information_nor_context(factorized, photo):
    seconds = timing.whole(factorized, photo, repeats=1)
    assert seconds["h_a"] == seconds["h_s"] == seconds["context"] == 0


def test_least_is_the_least(monkeypatch):
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert timing.least(lambda: None, repeats=3) == 1.0
