"""Sizes of all transforms, the linear path as a KLT, and a change of step that changes no picture."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codec_lib.networks import models
from codec_lib.networks.klt import principal_components
from codec_lib.networks.priors.factorized import FactorizedPrior
from codec_lib.networks.transforms.hyper import hyper_analysis, hyper_synthesis

COMPACT = models.Preset("compact", 16, 12, (8, 16), 1)
STYLES = {"paper": models.Preset("paper", 6, 10), "compact": COMPACT}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def randomised(style: str, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """g_a and g_s of a style with no parameter left at zero, and fixed scales other than 1."""
    generator = torch.Generator().manual_seed(seed)
    pair = models.make_transforms(STYLES[style])
    with torch.no_grad():
        for module in pair:
            for p in module.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
            for b in module.buffers():
                b.copy_(0.5 + torch.rand(b.shape, generator=generator))
    return pair


def picture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "M", "expected"), [(128, 192, 2_997_571), (192, 320, 7_029_571)])
def test_the_papers_model_has_as_many_parameters_as_compressai_counts(N, M, expected):
    """bmshj2018-factorized of CompressAI, less its auxiliary quantiles (3 a channel)."""
    model = FactorizedPrior(models.Preset("paper", N, M))
    assert parameters(model) == expected
    convolutions = (25 * 3 * N + N) + 2 * (25 * N * N + N) + (25 * N * M + M)
    convolutions += (25 * M * N + N) + 2 * (25 * N * N + N) + (25 * N * 3 + 3)
    assert parameters(model.g_a) + parameters(model.g_s) == convolutions + 6 * (N + N * N)
    assert parameters(model.density_y) == 58 * M


@pytest.mark.parametrize("style", sorted(STYLES))
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (2, 48, 16), (1, 32, 80), (3, 64, 64)])
def test_shapes(style, batch, height, width):
    g_a, g_s = randomised(style)
    with torch.no_grad():
        y = g_a(picture(batch, 3, height, width))
        x_hat = g_s(y)
    assert y.shape == (batch, STYLES[style].M, height // 16, width // 16)
    assert x_hat.shape == (batch, 3, height, width)
    assert torch.isfinite(x_hat).all()


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_parameter_is_used(style):
    g_a, g_s = randomised(style)
    g_s(g_a(picture(2, 3, 32, 32))).square().sum().backward()
    for module in (g_a, g_s):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().max() > 0, name


@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 3), (4, 4), (5, 8), (32, 48), (7, 9)])
@torch.no_grad()
def test_hyper_transforms_cover_the_latent_with_a_quarter_of_its_size_rounded_up(h, w):
    h_a, h_s = hyper_analysis(6, 4), hyper_synthesis(4, (5, 7), 9)
    z = h_a(picture(2, 6, h, w))
    assert z.shape == (2, 4, -(-h // 4), -(-w // 4))
    psi = h_s(z)
    assert psi.shape == (2, 9, 4 * -(-h // 4), 4 * -(-w // 4))
    assert psi.shape[2] >= h and psi.shape[3] >= w


@torch.no_grad()
def test_each_z_is_about_the_positions_that_it_stands_for():
    """z sees as far to the one side as to the other, and so does what h_s makes of it."""
    h_a, h_s = hyper_analysis(2, 3), hyper_synthesis(3, (4, 4), 2)
    for module in (h_a, h_s):
        for p in module.parameters():
            p.abs_()  # no path is cut by a ReLU
    y = picture(1, 2, 24, 24)
    seen, reached = torch.zeros(24, dtype=torch.bool), h_s(torch.zeros(1, 3, 6, 6))
    for row in range(24):
        other = y.clone()
        other[:, :, row] += 1
        seen[row] = not torch.equal(h_a(other)[0, :, 2], h_a(y)[0, :, 2])
    assert seen.nonzero().flatten().tolist() == list(range(8 - 7, 8 + 7 + 1))
    z = torch.zeros(1, 3, 6, 6)
    z[:, :, 2] = 1
    changed = (h_s(z) != reached)[0].any(0).any(1)
    assert changed.nonzero().flatten().tolist() == list(range(8 - 7, 8 + 7 + 1))


@pytest.mark.parametrize(("i", "N", "widths", "o"), [(192, 128, (128, 128), 192), (192, 192, (192, 288), 384)])
def test_hyper_transforms_have_the_papers_sizes(i, N, widths, o):
    a, b = widths
    assert parameters(hyper_analysis(i, N)) == (9 * i * N + N) + 2 * (25 * N * N + N)
    expected = (25 * N * a + a) + (25 * a * b + b) + (9 * b * o + o)
    assert parameters(hyper_synthesis(N, widths, o)) == expected


# --- the KLT ----------------------------------------------------------------------------------


def test_principal_components_agree_with_numpy():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(500, 6)) * [5, 3, 2, 1, 0.5, 0.1]) @ rng.normal(size=(6, 6)) + rng.normal(size=6)
    mean, basis, deviation = principal_components(torch.from_numpy(data).float(), 4)
    data = data.astype(np.float32).astype(np.float64)
    _, singular, rows = np.linalg.svd(data - data.mean(0))
    np.testing.assert_allclose(mean, data.mean(0), rtol=1e-10)
    np.testing.assert_allclose(deviation, singular[:4] / np.sqrt(500), rtol=1e-10)
    np.testing.assert_allclose(np.abs(basis.numpy() @ rows[:4].T), np.eye(4), atol=1e-8)  # equal up to sign
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-12)
    assert (deviation.diff() < 0).all()


def test_principal_components_beyond_the_dimension_are_zero():
    data = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    _, basis, deviation = principal_components(data, 5)
    assert (basis.shape, deviation.shape) == ((5, 3), (5,))
    assert torch.allclose(basis[:3] @ basis[:3].T, torch.eye(3, dtype=torch.float64))
    assert not basis[3:].any()
    assert not deviation[3:].any()


def test_principal_components_of_constant_data_have_no_variance():
    mean, basis, deviation = principal_components(torch.full((9, 2), 7.0), 2)
    assert mean.tolist() == [7, 7]
    assert deviation.tolist() == [0, 0]
    assert torch.allclose(basis @ basis.T, torch.eye(2, dtype=torch.float64))


@pytest.fixture(scope="module")
def complete(crops) -> tuple[nn.Module, nn.Module]:
    """A KLT that keeps all 768 channels of a 16x16 block; step 20."""
    size = models.Preset("compact", 0, 768, (48, 192), 1)
    g_a, g_s = models.make_transforms(size)
    g_a.initialise(g_s, crops, 20.0)
    return g_a, g_s


def test_a_complete_klt_reconstructs_any_picture(complete, crops):
    g_a, g_s = complete
    for x in (crops[:2], picture(1, 3, 32, 48)):
        with torch.no_grad():
            assert torch.allclose(g_s(g_a(x)), x, atol=1e-5)


@torch.no_grad()
def test_a_unit_of_the_latent_is_the_step(complete, crops):
    """Uniform noise of one unit in y is noise of variance step^2 / 12 in every sample."""
    g_a, g_s = complete
    y = g_a(crops)
    noise = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    mse = 255**2 * (g_s(y + noise) - crops).square().mean()
    assert mse.item() == pytest.approx(20**2 / 12, rel=0.01)  # standard error 0.2 %


def unshuffled(x: np.ndarray, factor: int) -> np.ndarray:
    """(n, C, H, W) -> (n, C factor^2, H / factor, W / factor), as numpy sees it."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // factor, factor, w // factor, factor)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * factor**2, h // factor, w // factor)


def as_vectors(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def discarded_variance(x: np.ndarray, keeps: tuple[int, ...]) -> float:
    """Squared error a sample of cutting the KLT short at each stage: the sum of the eigenvalues left out."""
    total, h = 0.0, x
    for factor, keep in zip((4, 2, 2), keeps, strict=True):
        h = unshuffled(h, factor)
        vectors = as_vectors(h)
        variances, basis = np.linalg.eigh(np.cov(vectors.T, bias=True))
        cut = max(len(variances) - keep, 0)
        total += variances[:cut].sum() * len(vectors)
        h = np.einsum("nchw,cd->ndhw", h - vectors.mean(0)[:, None, None], basis[:, cut:])
    return total / x.size


@torch.no_grad()
@pytest.mark.parametrize(("widths", "M"), [((8, 16), 12), ((64, 128), 192), ((20, 192), 30)])
def test_a_truncated_klt_loses_the_variance_that_it_discards(crops, widths, M):
    g_a, g_s = models.make_transforms(models.Preset("compact", 0, M, widths, 1))
    g_a.initialise(g_s, crops, 20.0)
    mse = (g_s(g_a(crops)) - crops).square().mean().item()
    assert mse == pytest.approx(discarded_variance(crops.double().numpy(), (*widths, M)), rel=1e-4)
    blocks = as_vectors(unshuffled(crops.double().numpy(), 16))
    variances = np.linalg.eigvalsh(np.cov(blocks.T, bias=True))
    optimum = variances[:-M].sum() / 768  # no linear transform with M channels does better
    assert optimum <= mse <= 3 * optimum


@torch.no_grad()
def test_the_latent_of_a_klt_is_centred_and_decorrelated(crops):
    g_a, g_s = models.make_transforms(COMPACT)
    g_a.initialise(g_s, crops, 20.0)
    y = as_vectors(g_a(crops).double().numpy())
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3 * y.std())
    covariance = np.cov(y.T, bias=True)
    assert np.abs(covariance - np.diag(covariance.diagonal())).max() < 1e-4 * covariance.max()
    assert (np.diff(y.std(0)) < 0).all()


@torch.no_grad()
def test_a_klt_with_more_channels_than_samples_leaves_the_rest_silent(crops):
    g_a, g_s = models.make_transforms(models.Preset("compact", 0, 16, (60, 8), 1))
    g_a.initialise(g_s, crops, 20.0)
    stage = g_a.mixes[0](nn.functional.pixel_unshuffle(crops, 4))
    assert not stage[:, 48:].any()
    for module in (g_a, g_s):
        assert all(torch.isfinite(t).all() for t in module.state_dict().values())


@torch.no_grad()
def test_the_linear_path_is_not_touched_by_autocast(tiny_model, crops):
    g_a, g_s = tiny_model.g_a, tiny_model.g_s  # everything beside the linear path is still zero
    y = g_a(crops)
    x_hat = g_s(y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_cast = g_a(crops)
        x_cast = g_s(y)
    assert y_cast.dtype == x_cast.dtype == torch.float32
    assert torch.equal(y_cast, y)
    assert torch.equal(x_cast, x_hat)


# --- another step -----------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("gain", [0.37, 1.0, 1.9])
@pytest.mark.parametrize("style", [*sorted(STYLES), "klt"])
def test_rescaling_multiplies_the_latent_and_keeps_the_picture(style, gain, crops):
    if style == "klt":
        g_a, g_s = models.make_transforms(COMPACT)
        g_a.initialise(g_s, crops, 20.0)
    else:
        g_a, g_s = randomised(style)
    x = crops[:2]
    y = g_a(x)
    x_hat = g_s(y)
    g_a.rescale(gain)
    g_s.rescale(gain)
    torch.testing.assert_close(g_a(x), gain * y, rtol=1e-5, atol=1e-5 * gain * y.abs().max().item())
    torch.testing.assert_close(g_s(gain * y), x_hat, rtol=1e-5, atol=1e-5 * x_hat.abs().max().item())
    assert x_hat.std() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("style", sorted(STYLES))
def test_the_corrections_take_part_in_what_is_rescaled(style):
    """The test above would be blind to parameters that do nothing; each of them does something."""
    x = picture(1, 3, 32, 32)
    g_a, g_s = randomised(style)
    y, x_hat = g_a(x), g_s(g_a(x))
    for name, p in [*g_a.named_parameters(), *g_s.named_parameters()]:
        kept = p.clone()
        p.zero_()
        assert not torch.equal(g_a(x), y) or not torch.equal(g_s(y), x_hat), name
        p.copy_(kept)
