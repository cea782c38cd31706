"""The scale hyperprior: Balle et al. 2018."""

import torch
from torch import Tensor

from codec_lib.networks.models import Preset
from codec_lib.networks.priors.base import narrow_at_low_rates
from codec_lib.networks.priors.conditional import Conditional, ExactConditional, table_of
from codec_lib.networks.transforms.hyper import hyper_analysis, hyper_synthesis


class ScaleHyperprior(Conditional):
    """A zero-mean Gaussian, whose scales z tells. psi is log2 of the scale, P = M."""

    name = "hyperprior"
    adapt = staticmethod(narrow_at_low_rates)

    def __init__(self, size: Preset):
        super().__init__(size)
        self.h_a = hyper_analysis(size.M, size.N)
        self.h_s = hyper_synthesis(size.N, (size.N, size.N), size.M)

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(psi), psi

    def predict_all(self, psi: Tensor, y_noisy: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(psi), psi

    def exact(self) -> "ExactScales":
        return ExactScales(self)


class ExactScales(ExactConditional):
    """The same in integers."""

    def predict(self, psi: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(psi.shape, dtype=torch.float64), table_of(psi)
