"""Each number against an independent implementation of its definition."""

import io
import itertools
import math

import bjontegaard
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from scipy import integrate, signal
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure, peak_signal_noise_ratio

from codec_lib import datasets, images, metrics, rates, tables


@pytest.fixture(scope="module")
def pictures() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A photograph, uint8 (384, 400, 3), and its distortions."""
    original = images.read_image(datasets.find("embedded")[0])[0][:384, :400]
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(original).save(file, "JPEG", quality=20)
    distorted = {
        "jpeg": images.to_rgb(Image.open(file))[0],
        "noise": np.clip(original + rng.normal(0, 12, original.shape), 0, 255).round().astype(np.uint8),
        "darker": (original * 0.8).astype(np.uint8),
        "one channel": original * np.array([1, 1, 0], dtype=np.uint8),
    }
    return {name: (original, picture) for name, picture in distorted.items()}


KINDS = ["jpeg", "noise", "darker", "one channel"]


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]


# --- PSNR -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_psnr_agrees_with_torchmetrics(pictures, kind):
    a, b = pictures[kind]
    expected = peak_signal_noise_ratio(tensor(b), tensor(a), data_range=255.0).item()
    assert metrics.psnr(a, b) == pytest.approx(expected, abs=1e-4)
    assert metrics.psnr(b, a) == metrics.psnr(a, b)


def test_psnr_of_known_errors():
    black, white = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    assert metrics.psnr(black, white) == 0  # and no wrap-around of uint8
    assert metrics.psnr(white, white - 1) == pytest.approx(20 * math.log10(255))
    one = black.copy()
    one[0, 0, 0] = 255  # a single sample of 60
    assert metrics.psnr(black, one) == pytest.approx(10 * math.log10(60))


def test_psnr_of_identical_pictures_is_infinite(pictures):
    a, _ = pictures["jpeg"]
    assert metrics.psnr(a, a.copy()) == math.inf
    assert metrics.psnr_from_mse(0.0) == math.inf


@given(st.floats(1e-12, 1))
def test_psnr_inverts_to_its_mean_squared_error(mse):
    assert 10 ** (-metrics.psnr_from_mse(mse) / 10) == pytest.approx(mse)


# --- MS-SSIM ----------------------------------------------------------------------------------


def ms_ssim_by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """Wang, Simoncelli, Bovik 2003 in float64, channel by channel; sides must be multiples of 16."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(3):
        x, y = a[..., channel].astype(np.float64), b[..., channel].astype(np.float64)
        value = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):

            def mean(v):
                return signal.convolve2d(v, window, mode="valid")

            mx, my = mean(x), mean(y)
            contrast = (2 * (mean(x * y) - mx * my) + c2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + c2)
            if scale == 4:
                contrast = contrast * (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            value *= max(contrast.mean(), 0) ** weight
            x, y = (v[: len(v) // 2 * 2, : v.shape[1] // 2 * 2] for v in (x, y))
            x, y = ((v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4 for v in (x, y))
        values.append(value)
    return float(np.mean(values))


@pytest.mark.parametrize("kind", KINDS)
def test_ms_ssim_is_its_definition(pictures, kind):
    a, b = (p[:192, :208] for p in pictures[kind])
    assert metrics.ms_ssim(a, b) == pytest.approx(ms_ssim_by_definition(a, b), abs=2e-5)


@pytest.mark.parametrize("kind", ["jpeg", "noise"])
def test_ms_ssim_agrees_with_torchmetrics(pictures, kind):
    """To 1e-4 where the distortion is mild: torchmetrics mirrors the border and averages channels earlier."""
    a, b = pictures[kind]
    expected = multiscale_structural_similarity_index_measure(tensor(b), tensor(a), data_range=255.0).item()
    assert expected < 0.99
    assert metrics.ms_ssim(a, b) == pytest.approx(expected, abs=1e-4)


def test_ms_ssim_of_identical_pictures_is_one(pictures):
    a, _ = pictures["jpeg"]
    assert metrics.ms_ssim(a, a.copy()) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_falls_with_the_distortion(pictures):
    a, _ = pictures["jpeg"]
    a = a[:176, :176]
    rng = np.random.default_rng(0)
    values = [metrics.ms_ssim(a, np.clip(a + rng.normal(0, s, a.shape), 0, 255).astype(np.uint8)) for s in (2, 8, 32)]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_is_undefined_for_small_pictures(pictures):
    a, b = pictures["noise"]
    for height, width in ((160, 300), (300, 160), (1, 1)):
        assert math.isnan(metrics.ms_ssim(a[:height, :width], b[:height, :width]))
    assert 0 < metrics.ms_ssim(a[:161, :161], b[:161, :161]) < 1


# --- rate -------------------------------------------------------------------------------------


def test_bpp_counts_pixels_and_not_samples():
    assert metrics.bpp(1000, np.zeros((20, 40, 3), np.uint8)) == 10
    assert metrics.bpp(49, np.zeros((1, 1, 3), np.uint8)) == 392


def pchip_by_hand(x: np.ndarray, y: np.ndarray):
    """Fritsch and Carlson 1980 with the three-point end slopes of PCHIP, as a function of a number."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    slope = np.zeros(len(x))
    for k in range(1, len(x) - 1):
        if d[k - 1] * d[k] > 0:
            w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
            slope[k] = (w1 + w2) / (w1 / d[k - 1] + w2 / d[k])

    def end(h0, h1, d0, d1):
        s = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        if s * d0 <= 0:
            return 0.0
        return 3 * d0 if d0 * d1 < 0 and abs(s) > 3 * abs(d0) else s

    if len(x) == 2:
        slope[:] = d[0]
    else:
        slope[0], slope[-1] = end(h[0], h[1], d[0], d[1]), end(h[-1], h[-2], d[-1], d[-2])

    def value(at):
        k = min(max(int(np.searchsorted(x, at)) - 1, 0), len(h) - 1)
        t = (at - x[k]) / h[k]
        hermite = (1 + 2 * t) * (1 - t) ** 2 * y[k] + t * t * (3 - 2 * t) * y[k + 1]
        return hermite + h[k] * (t * (1 - t) ** 2 * slope[k] - t * t * (1 - t) * slope[k + 1])

    return value


def bd_rate_by_hand(anchor: np.ndarray, test: np.ndarray) -> float:
    curves = [pchip_by_hand(c[:, 1], np.log10(c[:, 0])) for c in (anchor, test)]
    low, high = max(anchor[0, 1], test[0, 1]), min(anchor[-1, 1], test[-1, 1])
    knots = sorted(k for k in {*anchor[:, 1], *test[:, 1]} if low < k < high)
    area = [integrate.quad(f, low, high, points=knots or None, epsabs=1e-12)[0] for f in curves]
    return 100 * (10 ** ((area[1] - area[0]) / (high - low)) - 1)


# Rates and PSNR of the size that four quality settings give.
CURVES = {
    "a": np.array([[0.15, 28.1], [0.31, 30.6], [0.58, 33.0], [1.02, 35.9]]),
    "b": np.array([[0.12, 28.4], [0.22, 30.1], [0.47, 33.3], [0.91, 36.4]]),
    "c": np.array([[0.40, 27.0], [0.45, 27.1], [1.50, 34.0], [1.60, 39.0], [2.90, 39.2]]),  # uneven
    "d": np.array([[0.20, 29.0], [0.90, 35.0]]),  # two points: a straight line
    "e": np.array([[0.30, 29.0], [0.25, 30.0], [0.60, 34.0]]),  # the rate falls once
}


@pytest.mark.parametrize("test", sorted(CURVES))
@pytest.mark.parametrize("anchor", sorted(CURVES))
def test_bd_rate_is_its_definition(anchor, test):
    expected = bd_rate_by_hand(CURVES[anchor], CURVES[test])
    assert metrics.bd_rate(CURVES[anchor], CURVES[test]) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def published_curves() -> dict[str, np.ndarray]:
    """Rows of (bpp, PSNR [dB]) on Kodak per entry of the table, in its order."""
    curves = {}
    for row in tables.read_csv(datasets.ROOT / "data" / "published_rd.csv"):
        curves.setdefault(row["source_entry"], []).append([row["bpp"], row["psnr_rgb_db"]])
    return {name: np.array(rows, dtype=float) for name, rows in curves.items()}


PUBLISHED = published_curves()


def test_every_published_curve_has_points_and_overlaps_another():
    assert len(PUBLISHED) == 19
    for curve in PUBLISHED.values():
        assert len(curve) >= 6
        assert np.all(np.diff(curve[np.argsort(curve[:, 0])], axis=0) > 0)


@pytest.mark.parametrize("anchor", sorted(PUBLISHED))
def test_bd_rate_agrees_with_the_package_bjontegaard(anchor):
    """On each pair of published curves, all of which overlap; `min_overlap=0` silences its advice on overlap only."""
    for test in PUBLISHED:
        (x, y), (u, v) = PUBLISHED[anchor].T, PUBLISHED[test].T
        expected = bjontegaard.bd_rate(x, y, u, v, method="pchip", require_matching_points=False, min_overlap=0)
        assert not math.isnan(expected)
        assert metrics.bd_rate(PUBLISHED[anchor], PUBLISHED[test]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_published_curves_tell_an_error_of_the_definition():
    """The comparison above is blind to nothing: swapped curves or another interpolation are off by far more."""
    gaps = [
        abs(metrics.bd_rate(a, b) - bjontegaard.bd_rate(*a.T, *b.T, "akima", False, min_overlap=0))
        for a, b in itertools.permutations(PUBLISHED.values(), 2)
    ]
    assert np.median(gaps) > 1e-3


def test_the_curves_are_far_enough_apart_to_notice_an_error():
    assert metrics.bd_rate(CURVES["a"], CURVES["b"]) < -15
    assert metrics.bd_rate(CURVES["a"], CURVES["c"]) > 50


@pytest.mark.parametrize("name", sorted(CURVES))
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.1, 3.0])
def test_bd_rate_of_a_curve_with_all_rates_multiplied(name, factor):
    curve = CURVES[name]
    assert metrics.bd_rate(curve, curve * [factor, 1]) == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_bd_rate_of_straight_lines():
    """log rate = quality / 10 against quality / 10 + 0.2 over [1, 3]: a factor of e^0.2 everywhere."""
    quality = np.array([0.0, 1.0, 3.0])
    anchor = np.stack([np.exp(quality / 10), quality], axis=1)
    quality = np.array([1.0, 2.0, 4.0])
    test = np.stack([np.exp(quality / 10 + 0.2), quality], axis=1)
    assert metrics.bd_rate(anchor, test) == pytest.approx(100 * (math.exp(0.2) - 1))


points = st.lists(
    st.tuples(st.floats(0.01, 5), st.integers(200, 500)), min_size=2, max_size=6, unique_by=lambda p: p[1]
)


@given(anchor=points, test=points, seed=st.integers(0, 99))
def test_bd_rate_inverts_when_the_curves_change_places_and_ignores_the_order_of_rows(anchor, test, seed):
    anchor, test = (np.array(p, dtype=float) * [1, 0.1] for p in (anchor, test))
    forth, back = metrics.bd_rate(anchor, test), metrics.bd_rate(test, anchor)
    assume(not math.isnan(forth))
    assert (1 + forth / 100) * (1 + back / 100) == pytest.approx(1)
    shuffled = np.random.default_rng(seed).permutation(test)
    assert metrics.bd_rate(anchor, shuffled) == forth


@pytest.mark.parametrize("gap", [0.0, 5.0])
def test_bd_rate_is_undefined_without_overlap(gap):
    a = CURVES["a"]
    b = a.copy()
    b[:, 1] += a[-1, 1] - a[0, 1] + gap
    assert math.isnan(metrics.bd_rate(a, b))
    assert math.isnan(metrics.bd_rate(b, a))


def test_bd_rate_leaves_out_what_is_without_loss_and_the_dearer_of_two_alike():
    curve = CURVES["a"]
    more = np.vstack([curve, [9.0, np.inf], [curve[0, 0] + 1, curve[0, 1]]])
    assert metrics.bd_rate(more, CURVES["b"]) == metrics.bd_rate(curve, CURVES["b"])
    assert np.isnan(metrics.bd_rate(curve, np.array([[1.0, 30.0], [2.0, 30.0], [3.0, np.inf]])))


def test_bd_rate_leaves_its_arguments_alone():
    a = CURVES["a"][::-1].copy()
    before = a.copy()
    metrics.bd_rate(a, a)
    metrics.bd_rate(a.tolist(), a.tolist())  # rows may be a plain list
    assert np.array_equal(a, before)


def test_the_loss_is_lmbda_times_the_squared_error_of_bytes_and_the_rate():
    assert rates.loss(0.01, 0.5, 2 / 255**2) == pytest.approx(0.52)
    assert rates.loss_at(0.013, 0.4, 30.0) == pytest.approx(0.013 * 255**2 * 1e-3 + 0.4)
