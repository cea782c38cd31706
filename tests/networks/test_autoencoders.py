"""The autoencoders have the sizes, the quantiser, the gradients and the KL term that their definitions ask for."""

import math
from collections import Counter

import pytest
import torch
import transformers
from conftest import is_a_sentence, random_autoencoder
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from codec_lib.errors import Unsupported
from codec_lib.networks import autoencoders
from codec_lib.networks.autoencoders import BITS, Autoencoder, make, order_0_bits
from codec_lib.registry import AUTOENCODERS

VARIATIONAL = ("ae-vae", "ae-vector")
FIXED = [name for name in AUTOENCODERS if name not in VARIATIONAL]
QUANTISERS = [*((name, 2) for name in FIXED), *(("ae-strided", B) for B in BITS if B != 2)]
"""Every name with 2 bits, and one of them with every number of bits."""


@pytest.fixture(params=AUTOENCODERS)
def model(request) -> Autoencoder:
    """Each kind, with a quantiser of 4 bits, in evaluation mode."""
    return random_autoencoder(request.param, 4)


@pytest.fixture
def x(crops) -> Tensor:
    """Photographs, (4, 3, 128, 256)."""
    return nn.functional.interpolate(crops[:4], (128, 256), mode="bilinear")


def seen_by_the_decoder(model: Autoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """f, and what the decoder gets in its place."""
    seen = []
    model.decode = lambda f: seen.append(f) or x
    f = model.encode(x)
    model(x)
    return f.detach(), seen[0].detach()


# --- shapes and gradients -------------------------------------------------------------------


def test_shapes(model, x):
    f = model.encode(x)
    step = model.downscale
    assert f.shape == (4, model.size.C, 128 // step, 256 // step)
    assert f.dtype == torch.float32
    assert 0 <= f.min() < f.max() <= 1
    assert model.decode(f).shape == x.shape
    for training in (True, False):
        x_hat, bits = model.train(training)(x)
        assert (x_hat.shape, x_hat.dtype) == (x.shape, torch.float32)
        assert list(bits) == ["y"]
        assert (bits["y"].shape, bits["y"].dtype) == ((4,), torch.float32)


def test_positions_are_as_large_as_the_docstring_says():
    assert {name: kind.load().downscale for name, kind in AUTOENCODERS.items()} == {
        "ae-maxpool": 8, "ae-strided": 8, "ae-residual": 8, "ae-vae": 8, "ae-vector": 128, "ae-resnet18": 32,
    }  # fmt: skip


def test_evaluation_goes_through_the_symbols(model, x):
    x_hat, bits = model(x)
    symbols = model.quantise(model.encode(x))
    assert symbols.unique().numel() > 4
    torch.testing.assert_close(x_hat, model.decode(symbols / 16))
    torch.testing.assert_close(bits["y"].double(), order_0_bits(symbols), rtol=1e-6, atol=0)
    alone = model(x[1:2])
    torch.testing.assert_close(alone.x_hat[0], x_hat[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_the_gradient_reaches_every_parameter(name, straight_through, x):
    model = random_autoencoder(name, 2, straight_through).train()
    x_hat, bits = model(x)
    ((x_hat - x).square().mean() + bits["y"].mean() / x.numel()).backward()
    for parameter, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), parameter
        assert p.grad.any(), parameter


def test_a_fresh_network_keeps_the_amplitude_of_a_picture(x):
    """torch's own initialisation leaves a few thousandths."""
    for name in AUTOENCODERS:
        torch.manual_seed(0)
        model = make(name, "compact", 4).train()
        f = model.encode(x)
        assert f.std((0, 2, 3)).median() > 0.02, name
        assert model.decode(f).std() > 0.02 or model.first_contrast == 0, name


# --- the quantiser --------------------------------------------------------------------------


@pytest.mark.parametrize("B", BITS)
def test_symbols_are_0_to_2_to_the_power_of_b(B):
    model = make("ae-strided", "tiny", B)
    generator = torch.Generator().manual_seed(B)
    f = torch.cat([torch.linspace(0, 1, 4 * 2**B + 1), torch.rand(10_000, generator=generator)])
    symbols = model.quantise(f)
    assert symbols.dtype == torch.float32
    assert torch.equal(symbols.unique(), torch.arange(2**B + 1.0))
    f_hat = model.dequantise(symbols)
    assert (f_hat - f).abs().max() <= 0.5001 * 2.0**-B
    assert (f_hat.min(), f_hat.max()) == (0, 1)
    assert torch.equal(model.quantise(f_hat), symbols)
    assert torch.equal(model.dequantise(symbols.to(torch.int32)), f_hat)
    assert model.quantise(torch.tensor([math.nan])).isnan().all()


@pytest.mark.parametrize(("name", "B"), QUANTISERS)
def test_training_noise_is_gaussian_with_the_amplitude_of_rounding(name, B, x):
    model = random_autoencoder(name, B).train()
    noise = torch.cat([torch.sub(*reversed(seen_by_the_decoder(model, x))).flatten() for _ in range(8)])
    deviation = 2.0**-B / math.sqrt(12)
    assert noise.std() == pytest.approx(deviation, rel=0.04)
    assert abs(noise.mean()) < 0.05 * deviation
    assert (noise.abs() > 2 * deviation).float().mean() == pytest.approx(0.0455, abs=0.01)


@pytest.mark.parametrize(("name", "B"), QUANTISERS)
def test_straight_through_the_decoder_sees_f_rounded(name, B, x):
    model = random_autoencoder(name, B, straight_through=True).train()
    f, seen = seen_by_the_decoder(model, x)
    torch.testing.assert_close(seen, torch.floor(f * 2**B + 0.5) / 2**B, rtol=0, atol=1e-6)


def test_the_rate_is_not_told_in_training_where_it_is_fixed(x):
    for name in FIXED:
        assert not random_autoencoder(name, 2).train()(x).bits["y"].any()


def test_order_0_bits():
    symbols = torch.randint(0, 5, (3, 4, 6, 7), generator=torch.Generator().manual_seed(0))
    symbols[1] = 3
    for one, bits in zip(symbols, order_0_bits(symbols), strict=True):
        counts = Counter(one.flatten().tolist()).values()
        assert bits == pytest.approx(-sum(n * math.log2(n / one.numel()) for n in counts), abs=1e-9)
    assert order_0_bits(symbols).dtype == torch.float64
    assert torch.equal(order_0_bits(symbols.float()), order_0_bits(symbols))


# --- variational ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIATIONAL)
def test_the_rate_in_training_is_the_kl_divergence(name, x):
    model = random_autoencoder(name, 2).train()
    mean, log_variance = model.posterior(x)
    nats = kl_divergence(Normal(mean, torch.exp(log_variance / 2)), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(model(x).bits["y"], nats / math.log(2), rtol=1e-4, atol=1e-2)
    assert (nats > 0).all()


@pytest.mark.parametrize("name", VARIATIONAL)
def test_the_decoder_is_trained_with_samples_of_the_posterior(name, x):
    model = random_autoencoder(name, 2).train()
    mean, log_variance = model.posterior(x)
    model.g_s = nn.Identity()
    samples = torch.stack([model(x).x_hat - 0.5 for _ in range(100)])
    standard = (samples - mean) / torch.exp(log_variance / 2)
    assert standard.mean().item() == pytest.approx(0, abs=0.04)
    assert standard.std().item() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("name", VARIATIONAL)
def test_the_latent_of_a_file_is_the_prior_s_quantile_of_the_mean(name, x):
    model = random_autoencoder(name, 2)
    mean, _ = model.posterior(x)
    torch.testing.assert_close(model.encode(x), Normal(0.0, 1.0).cdf(mean))
    model.g_s = nn.Identity()
    inner = torch.tensor([1.0, 2.0, 3.0]) / 4
    torch.testing.assert_close(model.decode(inner) - 0.5, Normal(0.0, 1.0).icdf(inner))


@pytest.mark.parametrize("B", BITS)
@pytest.mark.parametrize("name", VARIATIONAL)
def test_outer_symbols_are_decoded_inside_their_half_step(name, B):
    model = random_autoencoder(name, B)
    C, end = model.size.C, 2.0 ** -(B + 2)
    for symbol, expected in ((0, end), (2**B, 1 - end)):
        f_hat = model.dequantise(torch.full((1, C, 1, 1), symbol))
        assert model.decode(f_hat).isfinite().all()
        model.g_s, network = nn.Identity(), model.g_s
        assert Normal(0.0, 1.0).cdf(model.decode(f_hat) - 0.5).flatten()[0] == pytest.approx(expected, rel=1e-3)
        model.g_s = network


@torch.no_grad()
def test_an_exploding_posterior_stays_finite(x):
    model = random_autoencoder("ae-vae", 2).train()
    model.g_a[-1].bias[model.size.C :] = 1e4
    assert all(t.isfinite().all() for t in (model(x).x_hat, model(x).bits["y"]))


# --- sizes ----------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_numbers_of_parameters():
    assert {name: count(make(name, "compact", 2)) for name in AUTOENCODERS} == {
        "ae-maxpool": 295_731,
        "ae-strided": 295_731,
        "ae-residual": 1_070_771,
        "ae-vae": 314_179,
        "ae-vector": 4_109_859,
        "ae-resnet18": 3_651_267,
    }


def test_max_pooling_needs_as_many_weights_as_strides():
    for preset in ("compact", "tiny"):
        pooled, strided = make("ae-maxpool", preset, 2), make("ae-strided", preset, 2)
        assert count(pooled.g_a) == count(strided.g_a)
        assert count(pooled.g_s) == count(strided.g_s)


def paper(B: int) -> Autoencoder:
    """The paper's ResNet-18 with weights that are not set, which takes no time."""
    with torch.device("meta"):
        return make("ae-resnet18", "paper", B)


@pytest.mark.parametrize("B, C", [(1, 512), (2, 128), (4, 512), (10, 128)])
def test_resnet_18_has_its_published_size(B, C):
    """11.69 million without the 513,000 of the classifier; C is that of the second and the third seed."""
    model = paper(B)
    assert count(model.g_a.resnet) == 11_176_512 == 11_689_512 - (512 * 1000 + 1000)
    assert model.g_a.head.weight.shape == (C, 512, 1, 1)
    assert model(torch.empty(2, 3, 64, 32, device="meta")).x_hat.shape == (2, 3, 64, 32)


def test_resnet_18_sees_pictures_as_imagenet_s_weights_expect_them(x):
    """Of each channel the mean of ImageNet is taken, and it is divided by the deviation."""
    model, seen = random_autoencoder("ae-resnet18", 2), []
    model.g_a.resnet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.encode(x)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(seen[0], (x - mean) / deviation)


# --- pretrained weights ---------------------------------------------------------------------


def test_there_are_no_pretrained_weights_of_other_widths(monkeypatch):
    monkeypatch.setattr(transformers.ResNetModel, "from_pretrained", None)
    for preset in ("compact", "tiny"):
        assert make("ae-resnet18", preset, 2).fetch_pretrained() == "there are no pretrained weights of this width"


def test_pretrained_weights_that_cannot_be_fetched_are_no_error(monkeypatch):
    def no_network(source, **_):
        raise OSError(f"We couldn't connect to 'https://huggingface.co' to load {source}.")

    monkeypatch.setattr(transformers.ResNetModel, "from_pretrained", no_network)
    assert paper(2).fetch_pretrained() == "the pretrained weights microsoft/resnet-18 cannot be fetched"


@torch.no_grad()
def test_pretrained_weights_are_where_the_encoder_begins(monkeypatch):
    model = paper(2).to_empty(device="cpu")
    with torch.device("meta"):
        source = transformers.ResNetModel(model.g_a.resnet.config)
    source = source.to_empty(device="cpu")
    for tensor in source.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel()).view_as(tensor) % 1013)
    asked = []
    monkeypatch.setattr(
        transformers.ResNetModel, "from_pretrained", lambda name, **options: asked.append((name, options)) or source
    )
    assert model.fetch_pretrained() is None
    assert asked == [("microsoft/resnet-18", {"use_safetensors": True})]  # no pickle
    found = model.g_a.resnet.state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(found[name], tensor), name


# --- what there is not ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("autoencoder", "tiny", 2), "no model 'autoencoder'; choose from ae-maxpool, ae-strided, ae-residual, "),
        (("ae-vae", "huge", 2), "no preset 'huge' of ae-vae; choose from compact, tiny."),
        (("ae-strided", "paper", 2), "no preset 'paper' of ae-strided; choose from compact, tiny."),
        (("ae-resnet18", "huge", 2), "no preset 'huge' of ae-resnet18; choose from paper, compact, tiny."),
        (("ae-strided", "tiny", 0), "No quantiser of ae-strided has 0 bits; choose from 1, 2, 4, 10."),
        (("ae-strided", "tiny", 11), "No quantiser of ae-strided has 11 bits; choose from 1, 2, 4, 10."),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(arguments, words):
    with pytest.raises(Unsupported) as caught:
        make(*arguments)
    assert words in str(caught.value)
    assert is_a_sentence(caught.value)


def test_names():
    assert all(kind.load().name == name for name, kind in AUTOENCODERS.items())
    assert all(name in autoencoders.__doc__ for name in AUTOENCODERS)
    assert BITS == (1, 2, 4, 10)
