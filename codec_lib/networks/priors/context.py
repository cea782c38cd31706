"""What priors share that look at y_hat around a position: Minnen et al. 2018, He et al. 2021."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_lib.coding.integer_networks import Affine, integer_layers
from codec_lib.coding.order import REACH
from codec_lib.networks.klt import pass_on, principal_components, vectors
from codec_lib.networks.layers import MaskedConv2d, per_channel
from codec_lib.networks.models import Preset
from codec_lib.networks.priors.base import Prior
from codec_lib.networks.priors.conditional import Conditional, ExactConditional, table_of
from codec_lib.networks.priors.hyperprior import ScaleHyperprior
from codec_lib.networks.quantization import add_noise
from codec_lib.networks.transforms.hyper import hyper_analysis, hyper_synthesis


class ContextPrior(Conditional):
    """Mean and scale from psi and a 5x5 context, joined by 1x1 convolutions; subclasses give the coding order."""

    def __init__(self, size: Preset):
        super().__init__(size)
        N, M = size.N, size.M
        if size.style == "paper":  # else widths and inputs are those of the compact form
            widths, P, hidden = (M, M * 3 // 2), 2 * M, (M * 10 // 3, M * 8 // 3)
            self.h_a = hyper_analysis(M, N)
        else:
            widths, P, hidden = (N, N), 2 * N, (2 * N, 2 * N)
            self.h_a = hyper_analysis(2 * M, N)
        self.h_s = hyper_synthesis(N, widths, P)
        self.context = MaskedConv2d(M, P, torch.tensor(self.order.mask))
        self.entropy_parameters = nn.Sequential(
            nn.Conv2d(2 * P, hidden[0], 1), nn.ReLU(), nn.Conv2d(hidden[0], hidden[1], 1), nn.ReLU(),
            nn.Conv2d(hidden[1], 2 * M, 1),
        )  # fmt: skip
        self.stored_as = self.stored_as | {"entropy_parameters": torch.float16}

    @property
    def readout(self) -> nn.Conv2d:
        return self.entropy_parameters[-1]

    @property
    def _hidden(self) -> list[nn.Conv2d]:
        """The layers of the entropy parameters before the last."""
        return [layer for layer in self.entropy_parameters[:-1] if isinstance(layer, nn.Conv2d)]

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([psi, self.context.at(around)], 2).transpose(1, 2)[..., None]  # (B, 2 P, n, 1)
        return self.entropy_parameters(both)[..., 0].transpose(1, 2).chunk(2, 2)

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        shown = self.order.shown(*y_noisy.shape[2:]).to(y_noisy.device)
        return self.entropy_parameters(torch.cat([psi, self.context(y_noisy * shown)], 1)).chunk(2, 1)

    def exact(self) -> "ExactContext":
        return ExactContext(self)

    @torch.no_grad()
    def rescale(self, gain: float | Tensor, spread: Tensor | None = None) -> None:
        super().rescale(gain, spread)
        self.context.weight.div_(per_channel(gain))  # (P, M, 5, 5)

    def pass_words_on(self, K: int) -> None:
        pass_on(self.h_s[-1], K, torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))
        for layer in self._hidden:
            pass_on(layer, K, torch.ones(1, 1))

    def start_means(self, y: Tensor, first: int) -> Tensor:
        """Predict channels of y from their own neighbours in the context, by least squares, and give the means.

        The channels that gain most are taken, as many as a quarter of the hidden units, or as fit; a prediction passes
        the ReLU layers as its positive and its negative part, in the hidden units from `first` on.
        """
        around, weights, gains = _neighbours_regressed(self.order, y)
        hidden, last = self._hidden, self.readout
        units = hidden[0].out_channels
        best = gains.argsort(descending=True)[: min(units // 4, (units - first) // 2)]
        P, mean = self.context.out_channels, torch.zeros_like(y)
        for layer in hidden:
            pass_on(layer, first + 2 * len(best), torch.ones(1, 1))
        for j, c in enumerate(best.tolist()):
            self.context.weight[j], self.context.bias[j] = 0.0, 0.0
            for (dy, dx), a in zip(self.order.offsets(), weights[c], strict=True):
                self.context.weight[j, c, REACH + dy, REACH + dx] = a
            for unit, sign in ((first + 2 * j, 1.0), (first + 2 * j + 1, -1.0)):
                hidden[0].weight[unit] = 0.0
                hidden[0].weight[unit, P + j] = sign
                last.weight[c, unit] = sign
            mean[:, c] = torch.einsum("ibhw,i->bhw", around[:, :, c], weights[c])
        return mean

    @torch.no_grad()
    def continue_from(self, source: Prior, gain: float, y: Tensor) -> bool:
        """Begin where a compact hyperprior has come to, and see means besides.

        z stays what it was. The hyperprior's log-scales go as at most 3/2 N principal components, kept positive by a
        bias, through the layers that h_s's words and the context share; the means are those of `start_means`, and a
        channel's scale is made smaller by what its mean explains.
        """
        if (scales := continue_side_information(self, source, gain, y)) is None:
            return False
        weight, bias = scales
        end_in_scales([*self._hidden, self.readout], weight, bias)
        residual = y - self.start_means(y, weight.shape[1])
        explained = torch.stack([t.square().mean((0, 2, 3)) + 1 / 12 for t in (residual, y)]).log2() / 2
        self.readout.bias[-self.size.M :] = bias + explained[0] - explained[1]
        return True


def continue_side_information(
    prior: Conditional, source: Prior, gain: float, y: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Give a prior the z and h_s of a hyperprior, for gain * its y; h_s ends in K principal components of log-scales.

    Returns:
        The weight (M, K) and the bias (M) that make log-scales of h_s's first K words; None where the source is no
        hyperprior of the same sizes, or the prior's h_s has other layers before its last, as those of the papers have.
    """
    if type(source) is not ScaleHyperprior or source.size != prior.size:
        return None
    if [p.shape for p in prior.h_s[:-1].parameters()] != [p.shape for p in source.h_s[:-1].parameters()]:
        return None
    K = min(prior.size.M, prior.size.N * 3 // 2)  # of the 2 N words and hidden units
    prior.inv_scale.copy_(source.inv_scale / gain)
    prior.density_z.load_state_dict(source.density_z.state_dict())
    for mine, theirs in zip(prior.h_a, source.h_a, strict=True):
        if isinstance(mine, nn.Conv2d):
            mine.weight.zero_()  # of the signs
            mine.weight[:, : theirs.weight.shape[1]] = theirs.weight
            mine.bias.copy_(theirs.bias)
    for mine, theirs in zip(prior.h_s[:-1], source.h_s[:-1], strict=True):
        mine.load_state_dict(theirs.state_dict())
    z_hat = torch.round(prior.side_latent(y))
    log2_scale = source.side_information(z_hat, y) + math.log2(gain)
    samples = vectors(log2_scale)
    mean, basis, deviation = (t.float() for t in principal_components(samples, K))
    shift = 6 * deviation + 1
    words, theirs = prior.h_s[-1], source.h_s[-1]
    words.weight[:K] = torch.einsum("km,mcij->kcij", basis, theirs.weight)
    words.bias[:K] = basis @ (theirs.bias + math.log2(gain) - mean) + shift
    return basis.T, mean - shift @ basis


def end_in_scales(layers: Sequence[nn.Conv2d], weight: Tensor, bias: Tensor) -> None:
    """Let 1x1 convolutions make log-scales of their first inputs, by weight (m, K) and bias (m); means are zero."""
    (m, K), (*hidden, last) = weight.shape, layers
    for layer in hidden:
        pass_on(layer, K, torch.ones(1, 1))
    last.weight.zero_()
    last.bias.zero_()
    last.weight[-m:, :K, 0, 0] = weight
    last.bias[-m:] = bias


def _neighbours_regressed(order, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each channel's own neighbours, (taps, n, M, h, w), their weights of least squares (M, taps), and what is gained.

    The gain (M) is the ratio of the squared errors without and with them.
    """
    h, w = y.shape[2:]
    seen = F.pad(add_noise(y) * order.shown(h, w), [REACH] * 4)
    offsets = order.offsets()
    around = torch.stack([seen[:, :, REACH + dy :, REACH + dx :][:, :, :h, :w] for dy, dx in offsets])
    late = (order.times(h, w) > 0).flatten()  # the first group sees nothing
    x, target = (t.flatten(-2)[..., late].transpose(-2, -3).flatten(-2) for t in (around, y))  # (taps, M, n), (M, n)
    products = torch.einsum("imn,jmn->mij", x, x) + len(target[0]) * 1e-2 * torch.eye(len(offsets))
    weights = torch.linalg.solve(products, torch.einsum("imn,mn->mi", x, target))  # (M, taps)
    before, after = (e.square().mean(1) + 1 / 12 for e in (target, target - torch.einsum("imn,mi->mn", x, weights)))
    return around, weights, before / after


class ExactContext(ExactConditional):
    """The same in integers."""

    def __init__(self, model: ContextPrior):
        super().__init__(model)
        self.context = Affine(model.context.matrix(), model.context.bias)
        P = model.context.out_channels
        self.entropy_parameters = integer_layers(model.entropy_parameters, (P, P))

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        n = len(psi)
        if n % 4:  # matrix products of 4, 8, 12 .. rows are faster than of a row less
            psi, around = (F.pad(t, (*[0] * (2 * t.dim() - 1), -n % 4)) for t in (psi, around))
        first, *others = self.entropy_parameters
        v = first(psi.double(), self.context(around.flatten(1).double()))
        for layer in others:
            v = layer(v)
        return v[:n, : self.M], table_of(v[:n, self.M :])
