"""Where a training run starts: near a classical transform codec, or from weights trained before."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.coding.order import REACH
from codec_lib.networks import transforms
from codec_lib.networks.densities import UnivariateDensity, fit
from codec_lib.networks.models import FactorizedPrior, Model, ScaleHyperprior
from codec_lib.networks.quantization import add_noise


def initialise(model: Model, x: Tensor, lmbda: float) -> None:
    """Start a model near a classical transform codec of the photographs x (n, 3, H, W) in [0, 1].

    The compact transforms become the KLT, scaled so that a quantiser step of 1 suits lmbda. At high
    rate a step d costs -log2 d bits and d^2 / 12 of squared error a coefficient, of which the MSE is
    the mean over three samples a pixel, so the optimum is d^2 = 18 / (lmbda ln 2) on the 0..255
    scale. Then the priors are fitted to the latents. The paper's style keeps torch's random start.
    """
    if model.size.style != "compact":
        return
    step = (18 / (lmbda * math.log(2))) ** 0.5
    transforms.initialise_as_klt(model.g_a, model.g_s, x, step)
    _initialise_prior(model, x)


@torch.no_grad()
def _initialise_prior(model: Model, x: Tensor) -> None:
    y = model.g_a(x)
    if isinstance(model, FactorizedPrior):
        _fit_density(model.density_y, y)
        return
    model.inv_scale.fill_(1.0)
    if model.size.style == "paper":  # h_a sees signed y there; it keeps torch's random start
        return
    _start_hyper_transforms(model, y)
    _fit_density(model.density_z, model.h_a(model.side_input(y)))


def _start_hyper_transforms(model: Model, y: Tensor) -> None:
    """Make z the principal components of local log-amplitudes, and psi the scales that follow from them.

    From a random start z collapses: before h_s has learned to use it, it only costs bits, so h_a learns
    to send nothing, and the model is stuck with one scale a channel. Here the first K channels carry,
    through the layers there are, averages of 4x4 positions of K components of log2(1 + |y|); a bias
    keeps them positive on the way, where ReLU leaves them alone. The last layer turns them into log2
    of the scale by least squares; a context's means come from `_start_means`. All other channels start
    at random, and with no effect.
    """
    M, N = model.size.M, model.size.N
    K = min(M, N // 2)
    blocks = F.avg_pool2d(model.side_input(y)[:, :M], 4)
    mean, basis, deviation = transforms.principal_components(blocks.permute(0, 2, 3, 1).flatten(0, 2), K)
    shift = (6 * deviation + 1).float()  # positive, but for rare outliers
    project, first, second = (layer for layer in model.h_a if isinstance(layer, nn.Conv2d))
    project.weight[:K] = 0.0
    project.weight[:K, :M, 1, 1] = basis.float()
    project.bias[:K] = shift - (basis @ mean).float()
    average = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.0])  # of positions 2 i and 2 i + 1
    _pass_on(first, K, average[:, None] * average)
    second.weight.zero_()
    second.bias.zero_()
    _pass_on(second, K, average[:, None] * average)
    second.bias[:K] = -shift

    up1, up2, last = (layer for layer in model.h_s if not isinstance(layer, nn.ReLU))
    repeat = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])  # to positions 2 i and 2 i + 1
    _pass_on(up1, K, repeat[:, None] * repeat)
    up1.bias[:K] = shift
    _pass_on(up2, K, repeat[:, None] * repeat)
    if not isinstance(model, ScaleHyperprior):
        _pass_on(last, K, torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))
        for layer in model.entropy_parameters[:-1]:
            if isinstance(layer, nn.Conv2d):
                _pass_on(layer, K, torch.ones(1, 1))
        last = model.entropy_parameters[-1]
    # Least squares: z_hat, repeated, against half the log2 of the energy around each position.
    z = torch.round(model.h_a(model.side_input(y))[:, :K])
    z = z.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, : y.shape[2], : y.shape[3]]
    last.weight.zero_()
    last.bias.zero_()
    residual = y if isinstance(model, ScaleHyperprior) else y - _start_means(model, y, K)
    energy = F.avg_pool2d(residual.square(), 3, stride=1, padding=1, count_include_pad=False)
    target = (energy + 1 / 12).log2() / 2
    z, target = (t.permute(0, 2, 3, 1).flatten(0, 2).double() for t in (z, target))
    inputs = torch.cat([z, torch.ones_like(z[:, :1])], 1)
    ridge = len(z) * 1e-3 * torch.eye(K + 1, dtype=torch.float64)
    solution = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ target).float()  # (K + 1, M)
    last.weight[-M:, :K, last.kernel_size[0] // 2, last.kernel_size[1] // 2] = solution[:K].T
    last.bias[-M:] = solution[K] - shift @ solution[:K]


def _continue_prior(model: Model, source: ScaleHyperprior, gain: float, y: Tensor) -> None:
    """Let a context model of gain * y begin where a hyperprior has come to, and see means besides.

    z stays what it was. The hyperprior's log-scales go as at most 3/2 N principal components, kept positive by a bias,
    through the layers that h_s's words and the context share; the means are those of `_start_means`, and a channel's
    scale is made smaller by what its mean explains.
    """
    M, K = model.size.M, min(model.size.M, model.size.N * 3 // 2)  # of the 2 N words and hidden units
    model.inv_scale.copy_(source.inv_scale / gain)
    model.density_z.load_state_dict(source.density_z.state_dict())
    for mine, theirs in zip(model.h_a, source.h_a, strict=True):
        if isinstance(mine, nn.Conv2d):
            mine.weight.zero_()  # of the signs
            mine.weight[:, : theirs.weight.shape[1]] = theirs.weight
            mine.bias.copy_(theirs.bias)
    for mine, theirs in zip(model.h_s[:-1], source.h_s[:-1], strict=True):
        mine.load_state_dict(theirs.state_dict())
    z_hat = torch.round(model.h_a(model.side_input(y)))
    log2_scale = source.side_information(z_hat, y) + math.log2(gain)
    samples = log2_scale.permute(0, 2, 3, 1).flatten(0, 2)
    mean, basis, deviation = (t.float() for t in transforms.principal_components(samples, K))
    shift = 6 * deviation + 1
    words, theirs = model.h_s[-1], source.h_s[-1]
    words.weight[:K] = torch.einsum("km,mcij->kcij", basis, theirs.weight)
    words.bias[:K] = basis @ (theirs.bias + math.log2(gain) - mean) + shift
    *layers, last = (layer for layer in model.entropy_parameters if isinstance(layer, nn.Conv2d))
    for layer in layers:
        _pass_on(layer, K, torch.ones(1, 1))
    last.weight.zero_()
    last.bias.zero_()
    residual = y - _start_means(model, y, K)
    explained = torch.stack([t.square().mean((0, 2, 3)) + 1 / 12 for t in (residual, y)]).log2() / 2
    last.weight[-M:, :K, 0, 0] = basis.T
    last.bias[-M:] = mean - shift @ basis + explained[0] - explained[1]


def _start_means(model: Model, y: Tensor, first: int) -> Tensor:
    """Predict channels of y from their own neighbours in the context, by least squares, and give the means.

    The channels that gain most are taken, as many as a quarter of the hidden units, or as fit; a prediction passes
    the ReLU layers as its positive and its negative part, in the hidden units from `first` on.
    """
    h, w = y.shape[2:]
    seen = F.pad(add_noise(y) * model.order.shown(h, w), [REACH] * 4)
    offsets = model.order.offsets()
    around = torch.stack([seen[:, :, REACH + dy :, REACH + dx :][:, :, :h, :w] for dy, dx in offsets])
    late = (model.order.times(h, w) > 0).flatten()  # the first group sees nothing
    x, target = (t.flatten(-2)[..., late].transpose(-2, -3).flatten(-2) for t in (around, y))  # (taps, M, n), (M, n)
    products = torch.einsum("imn,jmn->mij", x, x) + len(target[0]) * 1e-2 * torch.eye(len(offsets))
    weights = torch.linalg.solve(products, torch.einsum("imn,mn->mi", x, target))  # (M, taps)
    before, after = (e.square().mean(1) + 1 / 12 for e in (target, target - torch.einsum("imn,mi->mn", x, weights)))
    hidden = [layer for layer in model.entropy_parameters if isinstance(layer, nn.Conv2d)]
    units = hidden[0].out_channels
    best = (before / after).argsort(descending=True)[: min(units // 4, (units - first) // 2)]
    P, mean = model.context.out_channels, torch.zeros_like(y)
    for layer in hidden[:-1]:
        _pass_on(layer, first + 2 * len(best), torch.ones(1, 1))
    for j, c in enumerate(best.tolist()):
        model.context.weight[j], model.context.bias[j] = 0.0, 0.0
        for (dy, dx), a in zip(offsets, weights[c], strict=True):
            model.context.weight[j, c, REACH + dy, REACH + dx] = a
        for unit, sign in ((first + 2 * j, 1.0), (first + 2 * j + 1, -1.0)):
            hidden[0].weight[unit] = 0.0
            hidden[0].weight[unit, P + j] = sign
            hidden[-1].weight[c, unit] = sign
        mean[:, c] = torch.einsum("ibhw,i->bhw", around[:, :, c], weights[c])
    return mean


def _pass_on(layer: nn.Module, K: int, kernel: Tensor) -> None:
    """Let each of the first K channels be the kernel's average of itself, and of no other."""
    axes = (1, 0) if isinstance(layer, nn.ConvTranspose2d) else (0, 1)
    weight = layer.weight.permute(*axes, 2, 3)  # (o, i, k, k), a view
    weight[:K] = 0.0
    weight[range(K), range(K)] = kernel
    layer.bias[:K] = 0.0


@torch.enable_grad()
def _fit_density(density: UnivariateDensity, latent: Tensor) -> None:
    samples = latent.detach().transpose(0, 1).flatten(1)  # (channels, n)
    density.initialise((3 * samples.std(1)).clamp(min=0.5))
    samples = samples[:, torch.randperm(samples.shape[1])[:2048]]
    fit(density, lambda: -density.log_prob(add_noise(samples)).mean(), steps=200, lr=2e-2)


@torch.no_grad()
def carry_over(model: Model, source: Model, lmbda: float, old_lmbda: float, x: Tensor | None = None) -> None:
    """Start a model at lmbda from one of the same transforms trained at old_lmbda.

    From a model of the same networks everything is taken; else the transforms are. A context model then begins with
    the scales of a compact hyperprior; any other prior starts afresh. Both need the photographs x (n, 3, H, W) in
    [0, 1] (but for the paper's style, which starts at random).

    Raises:
        ValueError: the transforms' sizes differ, or x is needed and missing.
    """
    if replace(model.size, N=0) != replace(source.size, N=0) or (
        model.size.style == "paper" and (model.size.N != source.size.N)
    ):
        raise ValueError(f"cannot carry weights from {source.size} to {model.size}")
    gain = (lmbda / old_lmbda) ** 0.5
    if model.size == source.size and model.state_dict().keys() == source.state_dict().keys():
        model.load_state_dict(source.state_dict())
        transforms.rescale_latent(model.g_a, model.g_s, gain)
        _rescale_prior(model, gain)
        return
    if x is None:
        raise ValueError(f"a {model.name} model needs photographs to start from a {source.name} model")
    take_transforms(model, source)
    transforms.rescale_latent(model.g_a, model.g_s, gain)
    from_scales = isinstance(source, ScaleHyperprior) and not isinstance(model, FactorizedPrior)
    if from_scales and model.size == source.size and model.size.style == "compact":
        _continue_prior(model, source, gain, model.g_a(x))
    else:
        _initialise_prior(model, x)


def take_transforms(model: Model, source: Model) -> None:
    """Give a model the g_a and g_s of another; its prior stays, and learns what has changed.

    Raises:
        RuntimeError: their sizes differ.
    """
    model.g_a.load_state_dict(source.g_a.state_dict())
    model.g_s.load_state_dict(source.g_s.state_dict())


def _rescale_prior(model: Model, gain: float) -> None:
    """The prior of gain * y."""
    if isinstance(model, FactorizedPrior):
        model.density_y.rescale(gain)
        return
    model.inv_scale.div_(gain)
    M = model.size.M
    if isinstance(model, ScaleHyperprior):
        model.h_s[-1].bias.add_(math.log2(gain))
        return
    last = model.entropy_parameters[-1]
    model.context.weight.div_(gain)
    last.weight[:M].mul_(gain)
    last.bias[:M].mul_(gain)
    last.bias[M:].add_(math.log2(gain))
