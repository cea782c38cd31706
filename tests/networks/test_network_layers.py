"""GDN against the formula of the paper, written out; the residual block; what a masked convolution sees."""

import numpy as np
import pytest
import torch

from codec_lib.networks.layers import GDN, MaskedConv2d, ResidualBlock, compress

PEDESTAL = 2.0**-36


def randomised(channels: int, inverse: bool, dtype: torch.dtype = torch.float64) -> tuple[GDN, np.ndarray, np.ndarray]:
    """A GDN with random beta and a random gamma that is not symmetric, and those two."""
    rng = np.random.default_rng(channels)
    beta, gamma = rng.uniform(0.01, 2, channels), rng.uniform(0, 0.5, (channels, channels))
    gdn = GDN(channels, inverse=inverse).to(dtype)
    with torch.no_grad():  # the module keeps square roots
        gdn.beta.copy_(torch.from_numpy(np.sqrt(beta + PEDESTAL)))
        gdn.gamma.copy_(torch.from_numpy(np.sqrt(gamma + PEDESTAL)))
    return gdn, beta, gamma


def by_the_paper(x: np.ndarray, beta: np.ndarray, gamma: np.ndarray, inverse: bool) -> np.ndarray:
    """y_i = x_i / (beta_i + sum_j gamma_ij x_j^2)^(1/2) at every position; x (B, C, H, W)."""
    y = np.empty_like(x)
    for i in range(len(beta)):
        pool = np.full_like(x[:, 0], beta[i])
        for j in range(len(beta)):
            pool += gamma[i, j] * x[:, j] ** 2
        y[:, i] = x[:, i] * np.sqrt(pool) if inverse else x[:, i] / np.sqrt(pool)
    return y


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_gdn_is_the_formula_of_the_paper(channels, inverse):
    gdn, beta, gamma = randomised(channels, inverse)
    x = np.random.default_rng(1).normal(0, 3, (2, channels, 4, 5))
    with torch.no_grad():
        y = gdn(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(y, by_the_paper(x, beta, gamma, inverse), rtol=1e-12)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_in_float32(inverse):
    gdn, beta, gamma = randomised(8, inverse, torch.float32)
    x = np.random.default_rng(1).normal(0, 3, (2, 8, 4, 5)).astype(np.float32)
    with torch.no_grad():
        y = gdn(torch.from_numpy(x))
    assert y.dtype == torch.float32
    np.testing.assert_allclose(y.numpy(), by_the_paper(x, beta, gamma, inverse), rtol=3e-6)


def test_a_fresh_gdn_divides_each_channel_by_itself_alone():
    x = torch.tensor([2.0, -3.0]).reshape(1, 2, 1, 1)
    with torch.no_grad():
        y, z = GDN(2)(x).flatten(), GDN(2, inverse=True)(x).flatten()
    expected = torch.tensor([2 / 1.4**0.5, -3 / 1.9**0.5])  # beta 1, gamma 0.1 on the diagonal
    assert torch.allclose(y, expected)
    assert torch.allclose(z, torch.tensor([2 * 1.4**0.5, -3 * 1.9**0.5]))


@pytest.mark.parametrize("channels", [1, 5, 128])
def test_gdn_has_a_beta_a_channel_and_a_gamma_a_pair(channels):
    assert sum(p.numel() for p in GDN(channels).parameters()) == channels + channels**2


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_has_finite_gradients_at_zero(inverse):
    gdn = GDN(3, inverse=inverse)
    with torch.no_grad():  # as small as they can become
        gdn.beta.zero_()
        gdn.gamma.zero_()
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    y = gdn(x)
    assert (y == 0).all()
    y.sum().backward()
    slope = 1e-3 if inverse else 1e3  # sqrt(beta_min)
    assert torch.allclose(x.grad, torch.full_like(x, slope), rtol=1e-3)
    assert torch.isfinite(gdn.beta.grad).all()
    assert torch.isfinite(gdn.gamma.grad).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_gradients_are_the_derivatives(inverse):
    gdn, _, _ = randomised(3, inverse)
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def function(x, beta, gamma):
        return torch.func.functional_call(gdn, {"beta": beta, "gamma": gamma}, (x,))

    assert torch.autograd.gradcheck(function, (x, gdn.beta, gdn.gamma))


def test_gdn_stays_a_division_by_a_positive_number_when_its_parameters_turn_negative():
    gdn = GDN(2)
    with torch.no_grad():
        gdn.beta.fill_(-5)
        gdn.gamma.fill_(-5)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(gdn(x), x * 1e3, rtol=1e-3)  # beta is 1e-6, gamma 0


def test_compress_is_odd_increasing_and_a_square_root_far_out():
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64, requires_grad=True)
    y = compress(x)
    y.sum().backward()
    assert torch.allclose(y, -y.flip(0))
    assert (x.grad > 0).all()
    assert x.grad[500].item() == pytest.approx(1)  # at 0
    assert compress(torch.tensor(1e6)).item() == pytest.approx(1e3, rel=1e-5)
    away = torch.tensor([-40.0, -3.0, -0.2, 0.1, 1.0, 7.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(compress, away)


def randomised_block(channels: int, hidden: int | None = None) -> ResidualBlock:
    block = ResidualBlock(channels, hidden)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
        block.inv_scale.fill_(0.7)
    return block


def picture(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("hidden", [None, 2, 7])
def test_a_fresh_residual_block_is_the_identity(hidden):
    x = picture(2, 4, 5, 6)
    assert torch.equal(ResidualBlock(4, hidden)(x), x)


def test_a_fresh_residual_block_can_learn():
    block = ResidualBlock(4)
    block(picture(1, 4, 5, 5)).square().sum().backward()
    for layer in (block.conv2, block.gate):
        assert layer.weight.grad.abs().max() > 0  # zero at first, but it has a slope


@pytest.mark.parametrize("hidden", [None, 2, 7])
def test_a_residual_block_is_its_formula_at_a_position(hidden):
    block = randomised_block(4, hidden)
    x = picture(1, 4, 5, 5)
    with torch.no_grad():
        out = block(x)[0, :, 2, 2].double().numpy()
    weights = {name: p.detach().double().numpy() for name, p in block.named_parameters()}
    u = 0.7 * x[0].double().numpy()
    u /= np.sqrt(1 + np.abs(u))
    h = np.zeros((hidden or 4, 3, 3))  # around the middle
    for i in range(3):
        for j in range(3):
            window = u[:, i : i + 3, j : j + 3]
            h[:, i, j] = np.einsum("ocij,cij->o", weights["conv1.weight"], window) + weights["conv1.bias"]
    h = np.maximum(h, 0)
    gate = weights["gate.weight"][:, :, 0, 0] @ h[:, 1, 1] + weights["gate.bias"]
    add = np.einsum("ocij,cij->o", weights["conv2.weight"], h) + weights["conv2.bias"]
    middle = x[0, :, 2, 2].double().numpy()
    np.testing.assert_allclose(out, middle * (1 + gate) + add, rtol=1e-4, atol=1e-5)
    assert np.abs(gate).max() > 0.1
    assert np.abs(add).max() > 0.1


@pytest.mark.parametrize("gain", [0.2, 1.0, 7.0])
def test_a_rescaled_block_does_the_same_on_another_scale(gain):
    block = randomised_block(4, 3)
    x = picture(2, 4, 5, 6)
    with torch.no_grad():
        y = block(x)
        block.rescale(gain)
        torch.testing.assert_close(block(gain * x), gain * y, rtol=1e-5, atol=1e-5 * gain)
    assert not torch.allclose(y, x)


def test_inv_scale_is_kept_but_not_learned():
    block = ResidualBlock(4)
    assert "inv_scale" in block.state_dict()
    assert "inv_scale" not in dict(block.named_parameters())


def test_a_residual_block_passes_float32_on_under_autocast():
    x = 1000 + picture(1, 4, 6, 6)
    block = ResidualBlock(4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        fresh, learned = block(x), randomised_block(4)(x)
    assert fresh.dtype == learned.dtype == torch.float32
    assert torch.equal(fresh, x)  # the path past the convolutions is never rounded to bfloat16


def random_mask(k: int) -> torch.Tensor:
    return torch.rand(k, k, generator=torch.Generator().manual_seed(k)) < 0.4


@pytest.mark.parametrize("k", [1, 3, 5])
@torch.no_grad()
def test_a_masked_convolution_sees_just_what_its_mask_shows(k):
    """Poked by a single one at a time, it answers with the weight there, or with nothing."""
    mask = random_mask(k)
    conv = MaskedConv2d(2, 3, mask)
    for dy in range(k):
        for dx in range(k):
            for i in range(2):
                x = torch.zeros(1, 2, k, k)
                x[0, i, dy, dx] = 1
                answer = conv(x)[0, :, k // 2, k // 2] - conv.bias
                expected = conv.weight[:, i, dy, dx] if mask[dy, dx] else torch.zeros(3)
                torch.testing.assert_close(answer, expected)


@torch.no_grad()
def test_hidden_weights_have_no_effect_and_no_gradient():
    mask = random_mask(5)
    conv, x = MaskedConv2d(2, 3, mask), picture(2, 2, 6, 7)
    y, matrix = conv(x), conv.matrix()
    with torch.enable_grad():
        conv(x).square().sum().backward()
    assert not conv.weight.grad[:, :, ~mask].any() and conv.weight.grad[:, :, mask].all()
    conv.weight[:, :, ~mask] = 1e6
    assert torch.equal(conv(x), y) and torch.equal(conv.matrix(), matrix)
    conv.weight[:, :, mask] = 0
    assert torch.equal(conv(x), conv.bias[:, None, None].expand_as(y))


@torch.no_grad()
def test_at_single_positions_it_is_the_same_convolution():
    conv, x = MaskedConv2d(3, 4, random_mask(5)).double(), picture(2, 3, 6, 7).double()
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    shown = conv.mask.nonzero().tolist()
    places = [(y, x) for y in range(6) for x in range(7)]
    around = torch.stack([torch.stack([padded[:, :, y + i, x + j] for i, j in shown], 1) for y, x in places], 1)
    assert conv.matrix().shape == (4, 3 * len(shown))
    torch.testing.assert_close(conv.at(around), conv(x).flatten(2).transpose(1, 2))


def test_the_mask_is_not_stored_with_the_weights():
    conv = MaskedConv2d(2, 3, random_mask(5))
    assert set(conv.state_dict()) == {"weight", "bias"}
    assert sum(p.numel() for p in conv.parameters()) == 2 * 3 * 25 + 3
