"""The integer networks against int64 arithmetic, whatever the order of sums, and against the float networks."""

import contextlib
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from codec_lib.coding import integer_networks
from codec_lib.coding.integer_networks import (
    LIMIT,
    Affine,
    Convolution,
    Upsampling,
    from_grid,
    plus,
    to_grid,
)
from codec_lib.coding.order import CHECKERBOARD, RASTER, WAVEFRONT, Order
from codec_lib.errors import BadData
from codec_lib.networks import models
from codec_lib.networks.densities import LOG2_SCALE_MIN, SCALES, SCALES_PER_OCTAVE
from codec_lib.networks.priors.base import ExactPrior, Group, Prior
from codec_lib.networks.priors.conditional import table_of

GAUSSIAN = ["hyperprior", "joint", "checkerboard"]
M = 12  # of the tiny preset
HALF = 1 << (integer_networks.WEIGHT_BITS - 1)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def grid(*shape: int, scale: float = 4.0) -> Tensor:
    """Values of the grid, which stand for normal variables of this scale."""
    return torch.round(1024 * random(*shape, scale=scale).double())


def integers(weights: Tensor, bits: int = integer_networks.WEIGHT_BITS) -> np.ndarray:
    return np.round(weights.detach().double().numpy() * 2**bits).astype(np.int64)


def shifted(total: np.ndarray) -> np.ndarray:
    """Add half, shift, clamp, in int64."""
    return np.clip((total + HALF) >> integer_networks.WEIGHT_BITS, -int(LIMIT), int(LIMIT))


def assert_is(v: Tensor, expected: np.ndarray):
    assert v.dtype == torch.float64
    assert v.shape == expected.shape
    assert (v.numpy() == expected).all()


# --- the grid ---------------------------------------------------------------------------------


def test_integers_stand_for_themselves_up_to_the_limit():
    for dtype in (torch.int32, torch.int64, torch.float32, torch.float64):
        k = torch.tensor([-(2**16), -7, 0, 1, 2**16 - 1, 2**16, 2**16 + 1, -(2**31)]).to(dtype)
        assert to_grid(k).dtype == torch.float64
        assert from_grid(to_grid(k)).tolist() == [-(2**16), -7, 0, 1, 2**16 - 1, 2**16, 2**16, -(2**16)]
    assert from_grid(torch.tensor([1.0, -1536.0], dtype=torch.float64)).tolist() == [2**-10, -1.5]


def test_a_mean_and_a_symbol_are_added_on_the_grid():
    mean = torch.tensor([512.0, -1.0, LIMIT, LIMIT - 1024, -1024.0, 0.0], dtype=torch.float64)
    symbols = torch.tensor([3.0, 0.0, -1.0, 2.0, 2.0**31, -(2.0**31)], dtype=torch.float64)
    kept = mean.clone()
    assert plus(mean, symbols).tolist() == [3584, -1, LIMIT - 1024, LIMIT, LIMIT, -LIMIT]
    assert torch.equal(mean, kept)


def test_a_layer_rounds_halves_up_and_clamps():
    half = Affine(torch.tensor([[0.5]]), torch.zeros(1))
    assert half(torch.arange(-3.0, 4)[:, None].double()).flatten().tolist() == [-1, -1, 0, 0, 1, 1, 2]
    large = Affine(torch.tensor([[4.0]]), torch.tensor([3.0]))
    assert large(torch.tensor([[LIMIT], [-LIMIT], [5.0]]).double()).flatten().tolist() == [LIMIT, -LIMIT, 20 + 3 * 1024]


# --- layers -----------------------------------------------------------------------------------


def test_affine_is_integer_arithmetic():
    weight, bias = random(7, 30), random(7, seed=1)
    v = grid(2, 5, 30)
    total = v.numpy().astype(np.int64) @ integers(weight).T + integers(bias, 24)
    assert_is(Affine(weight, bias)(v), shifted(total))
    rows = v.flatten(0, 1)
    in_parts = Affine(weight, bias, (10, 4, 16), rectified=True)(*rows.split((10, 4, 16), 1))
    assert_is(in_parts, shifted(total).clip(0).reshape(10, 7))


def test_affine_is_exact_for_the_largest_numbers():
    """Terms of up to 2^51 that cancel but for their last bits; float32, or a grid finer by 4 bits, fails here.

    The bias brings each sum to where the value begins, or one below: an error of 1 in the sum would show.
    """
    rng, one = np.random.default_rng(0), 1 << integer_networks.WEIGHT_BITS
    for _ in range(50):
        w = rng.uniform(1, 255, (3, 8))
        weight = torch.from_numpy(np.concatenate([w, -w + rng.uniform(-1e-3, 1e-3, w.shape)], 1))
        v = rng.integers(2**25, 2**26, (1, 8))
        v = np.concatenate([v, v + rng.integers(-9, 9, v.shape)], 1)
        total = v @ integers(weight).T
        parts = (v[:, :8] @ integers(weight)[:, :8].T).max()
        assert 2**48 < parts < 2**52 and np.abs(total).max() < 2**46
        for edge in (0, -1):
            bias = (edge - HALF - total) % one
            found = Affine(weight, torch.from_numpy(bias[0] / 2**24))(torch.from_numpy(v).double())
            assert_is(found, shifted(total + bias))


@pytest.mark.parametrize(("h", "w"), [(1, 1), (4, 5), (1, 6), (7, 2)])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_convolution_is_integer_arithmetic(k, h, w):
    layer = nn.Conv2d(3, 4, k, padding=k // 2)
    v = grid(h, w, 3)
    weight = integers(layer.weight)
    expected = np.empty((h, w, 4), np.int64)
    for y, x, o in itertools.product(range(h), range(w), range(4)):
        total = int(integers(layer.bias, 24)[o])
        for dy, dx, i in itertools.product(range(k), range(k), range(3)):
            row, column = y + dy - k // 2, x + dx - k // 2
            if 0 <= row < h and 0 <= column < w:
                total += int(weight[o, i, dy, dx]) * int(v[row, column, i])
        expected[y, x, o] = total
    assert_is(Convolution(layer)(v), shifted(expected))


@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 4), (1, 5), (6, 2)])
def test_an_upsampling_is_integer_arithmetic(h, w):
    layer = nn.ConvTranspose2d(3, 4, 5, stride=2, padding=2, output_padding=1)
    v = grid(h, w, 3)
    weight, inputs = integers(layer.weight), v.numpy().astype(np.int64)
    total = np.tile(integers(layer.bias, 24), (2 * h, 2 * w, 1))
    for y, x, dy, dx in itertools.product(range(h), range(w), range(5), range(5)):
        row, column = 2 * y + dy - 2, 2 * x + dx - 2
        if 0 <= row < 2 * h and 0 <= column < 2 * w:
            total[row, column] += inputs[y, x] @ weight[:, :, dy, dx]
    assert_is(Upsampling(layer)(v), shifted(total))


LAYERS = {
    "affine": nn.Linear,
    "conv3": lambda i, o: nn.Conv2d(i, o, 3, padding=1),
    "deconv5": lambda i, o: nn.ConvTranspose2d(i, o, 5, stride=2, padding=2, output_padding=1),
}


def frozen(layer: nn.Module) -> integer_networks.Layer:
    if isinstance(layer, nn.Linear):
        return Affine(layer.weight, layer.bias)
    return Convolution(layer) if isinstance(layer, nn.Conv2d) else Upsampling(layer)


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_a_layer_is_torchs_within_the_error_of_the_grid(kind):
    layer = LAYERS[kind](6, 5)
    x = from_grid(grid(7, 9, 6))
    channels_last = (lambda t: t) if kind == "affine" else (lambda t: t.movedim(0, -1))
    expected = channels_last(layer.double()(x if kind == "affine" else x.movedim(-1, 0)))
    taps = layer.weight[0].numel() if kind != "deconv5" else 9 * 6
    bound = 2**-11 + 2**-15 * taps * x.abs().max() + 2**-25
    assert (from_grid(frozen(layer)(x * 1024)) - expected).abs().max() <= bound < 0.1
    assert expected.std() > 1


@contextlib.contextmanager
def threads(n: int):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", LAYERS)
def test_nothing_that_reorders_sums_changes_a_layer(kind):
    layer = LAYERS[kind](192, 33)
    v = grid(8, 11, 192, scale=30)
    kept, expected = v.clone(), frozen(layer)(v)
    assert torch.equal(v, kept)
    with threads(2):
        assert torch.equal(frozen(layer)(v), expected)
    for order in itertools.permutations(range(3)):
        laid_out = v.permute(order).contiguous().permute([order.index(k) for k in range(3)])
        assert torch.equal(laid_out, v)
        assert torch.equal(frozen(layer)(laid_out), expected)
    shuffle = torch.randperm(192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inputs = 0 if kind == "deconv5" else 1
        layer.weight.copy_(layer.weight.index_select(inputs, shuffle))
    assert torch.equal(frozen(layer)(v[..., shuffle]), expected)


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_weights_that_would_not_be_exact_are_refused(kind):
    layer = LAYERS[kind](6, 5)
    axes = (0, *range(2, layer.weight.dim())) if kind == "deconv5" else tuple(range(1, layer.weight.dim()))
    largest = layer.weight.abs().sum(axes).max()
    weight = layer.weight.clone()
    layer.weight.copy_(weight * (4090 / largest))
    frozen(layer)
    for wrong in (4100 / largest, math.inf):
        layer.weight.copy_(weight * wrong)
        with pytest.raises(BadData, match="too large"):
            frozen(layer)
    layer.weight.copy_(weight)
    layer.bias[2] = 2.0**28
    with pytest.raises(BadData, match="too large"):
        frozen(layer)


# --- priors -----------------------------------------------------------------------------------


def made(name: str) -> Prior:
    """A tiny model with a prior of random weights, whose means and scales vary widely."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = models.make(name, "tiny", 0.025)
        for part, p in model.named_parameters():
            if part.startswith(("h_s", "context", "entropy_parameters")):
                p.mul_(2)
    return model.eval().requires_grad_(False)


def side(h: int, w: int, seed: int = 0) -> Tensor:
    """Symbols of z for a latent of h x w."""
    return torch.round(random(16, -(-h // 4), -(-w // 4), seed=seed, scale=4)).int()


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize(("h", "w"), [(1, 1), (5, 7), (8, 12), (3, 10)])
def test_the_exact_prior_is_nearly_the_float_one(name, h, w):
    model, z = made(name), side(h, w)
    prior = model.exact()
    around = torch.round(random(h * w, len(model.order.offsets()), M, scale=5))
    psi = model.side_information(z.float()[None], torch.empty(1, M, h, w)).flatten(2).transpose(1, 2)
    mean, log2_scale = (t[0].double() for t in model.predict(psi, around[None]))
    exact_mean, index = prior.predict(prior.side_information(z, h, w), to_grid(around))
    assert exact_mean.shape == index.shape == (h * w, M)
    assert exact_mean.dtype == torch.float64 and index.dtype == torch.int64
    assert torch.equal(exact_mean, torch.round(exact_mean))
    assert (from_grid(exact_mean) - mean).abs().max() < 0.01
    assert index.min() >= 0 and index.max() < SCALES
    of_table = LOG2_SCALE_MIN + index.double() / SCALES_PER_OCTAVE
    wanted = log2_scale.clamp(LOG2_SCALE_MIN, LOG2_SCALE_MIN + (SCALES - 1) / SCALES_PER_OCTAVE)
    assert (of_table - wanted).abs().max() < 0.5 / SCALES_PER_OCTAVE + 0.01
    assert h * w == 1 or index.float().std(0).mean() > 3  # z and context matter
    assert mean.abs().max() == 0 if name == "hyperprior" else mean.std() > 0.1


def test_rows_in_pieces_and_rows_of_zeros_are_as_all_at_once(monkeypatch):
    layer, v = Affine(random(3, 7), random(3)), grid(20, 7, scale=5)
    monkeypatch.setattr(integer_networks, "_AT_ONCE", 6)
    twice, value = integer_networks.in_pieces(lambda rows: (2 * layer(rows), layer(rows)), v)
    assert torch.equal(twice, 2 * layer(v)) and torch.equal(value, layer(v))
    before = layer.bias.clone()
    assert torch.equal(layer(v[:, :0]), layer(torch.zeros_like(v))) and torch.equal(layer.bias, before)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_nothing_that_reorders_sums_changes_a_prior(name):
    model, h, w = made(name), 6, 9
    z, around = side(h, w), grid(h * w, len(model.order.offsets()), M, scale=5)
    prior = model.exact()
    psi = prior.side_information(z, h, w)
    kept = psi.clone(), around.clone()
    mean, index = prior.predict(psi, around)
    assert torch.equal(psi, kept[0]) and torch.equal(around, kept[1])
    with threads(2):
        assert torch.equal(prior.side_information(z, h, w), psi)
        assert all(map(torch.equal, prior.predict(psi, around), (mean, index)))
    for dtype in (torch.int64, torch.float32, torch.float64):
        assert torch.equal(prior.side_information(z.to(dtype).movedim(0, 2).contiguous().movedim(2, 0), h, w), psi)
    for k in range(h * w):  # alone, or in a group
        assert all(map(torch.equal, prior.predict(psi[[k]], around[[k]]), (mean[[k]], index[[k]])))
    laid_out = around.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert all(map(torch.equal, prior.predict(psi, laid_out), (mean, index)))


def walked(prior: ExactPrior, order: Order, z: Tensor, symbols: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and table of every symbol, and y_hat, (M, h, w) each."""
    _, h, w = symbols.shape
    psi, rows = prior.side_information(z, h, w), symbols.flatten(1).T
    means, tables = torch.empty(M, h * w, dtype=torch.float64), torch.empty(M, h * w, dtype=torch.int64)

    def visit(group: Group, mean: Tensor, index: Tensor) -> Tensor:
        positions, _ = group
        means[:, positions], tables[:, positions] = mean.T, index.T
        return plus(mean, rows[group])

    prior.order = order
    y_hat = prior.walk(psi, h, w, visit)[0]
    return means.view(M, h, w), tables.view(M, h, w), y_hat


def test_the_wavefront_chooses_the_tables_of_raster_order():
    prior, symbols = made("joint").exact(), torch.round(random(M, 7, 9, scale=3)).double()
    raster, wavefront = (walked(prior, order, side(7, 9), symbols) for order in (RASTER, WAVEFRONT))
    assert all(map(torch.equal, raster, wavefront))
    assert not torch.equal(wavefront[2], to_grid(symbols))


@pytest.mark.parametrize(("name", "order"), [("joint", WAVEFRONT), ("checkerboard", CHECKERBOARD)])
def test_a_symbol_changes_no_earlier_table_or_mean(name, order):
    h, w = 6, 7
    prior, symbols = made(name).exact(), torch.round(random(M, h, w, scale=3)).double()
    times, before = order.times(h, w), walked(prior, order, side(h, w), symbols)
    for y, x in itertools.product(range(h), range(w)):
        other = symbols.clone()
        other[:, y, x] += 40
        means, tables, _ = walked(prior, order, side(h, w), other)
        changed = (means != before[0]).any(0) | (tables != before[1]).any(0)
        assert not changed[times <= times[y, x]].any()
        for dy, dx in order.offsets():
            later = (y - dy, x - dx)
            if 0 <= later[0] < h and 0 <= later[1] < w and times[later] > times[y, x]:
                assert changed[later]


def test_a_scale_gets_the_nearest_table():
    v = torch.arange(-5 * 1024, 9 * 1024).double()
    log2_scale, kept = from_grid(v), v.clone()
    index = table_of(v)
    assert torch.equal(v, kept)
    scales = LOG2_SCALE_MIN + torch.arange(SCALES) / SCALES_PER_OCTAVE
    distance = (log2_scale[:, None] - scales).abs()
    assert torch.equal(distance.gather(1, index[:, None]).squeeze(), distance.min(1).values)
    assert (index.diff() >= 0).all() and index.unique().tolist() == list(range(SCALES))
    assert table_of(torch.tensor([-LIMIT, LIMIT])).tolist() == [0, SCALES - 1]


def test_bits_are_those_of_the_tables_gaussians():
    """The symbols stay within 3.5 deviations: farther out an escape is cheaper."""
    prior = made("hyperprior").exact()
    index = torch.arange(SCALES)[:, None].expand(-1, 3)
    scale = 2.0 ** (-3 + index.double() / 16)
    symbols = torch.round((random(SCALES, 3, scale=2) * scale).clamp(-3 * scale, 3 * scale))
    a, b = ((symbols.abs() + half) / scale for half in (-0.5, 0.5))
    expected = -np.log2(ndtr(-a.numpy()) - ndtr(-b.numpy())).sum()
    assert prior.bits(symbols, index).sum().item() == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_psi_and_context_together_must_be_exact():
    model = made("joint")
    first = model.entropy_parameters[0]
    half = first.weight.shape[1] // 2
    for part in (slice(0, half), slice(half, None)):
        first.weight[:, part] *= 2500 / first.weight[:, part].abs().flatten(1).sum(1).max()
    with pytest.raises(BadData, match="too large"):
        model.exact()
    both = first.weight.clone()
    for part in (slice(0, half), slice(half, None)):  # either alone is small enough
        first.weight[:, part] = 0
        model.exact()
        first.weight.copy_(both)


@torch.no_grad()
def test_the_channels_prior_has_a_table_for_each_channel():
    model = models.make("factorized", "tiny", 0.025)
    model.density_y.initialise(torch.linspace(1, 9, M))
    prior = model.exact()
    psi = prior.side_information(None, 3, 5)
    assert psi.shape == (15, 0)
    groups = []
    prior.walk(psi, 3, 5, lambda *of_group: groups.append(of_group) or of_group[1])
    (((positions, _), mean, index),) = groups
    assert positions.tolist() == list(range(15))
    assert mean.shape == (15, M) and mean.dtype == torch.float64 and not mean.any()
    assert index.dtype == torch.int64 and index.tolist() == [list(range(M))] * 15
    symbols = torch.round(random(15, M, scale=3))
    expected = -model.density_y.double().log_prob(symbols.double().T).sum().item() / math.log(2)
    model.density_y.float()
    assert prior.bits(symbols.double(), index).sum().item() == pytest.approx(expected, rel=1e-4)
