"""Muon: momentum whose update of each kernel is made orthogonal (Jordan et al. 2024).

torch.optim.Muon takes matrices only, and both it and pytorch_optimizer's iterate in bfloat16, which on a
CPU without such instructions takes ten times as long as the training step itself. This one takes kernels
of any shape and stays in their precision.
"""

import torch
from torch import Tensor

_QUINTIC, _STEPS = (3.4445, -4.7750, 2.0315), 5  # the author's: steep at 0, singular values end in about 0.7..1.2
_MOMENTUM = 0.95  # of kernels, Nesterov's
_FIRST, _SECOND = 0.9, 0.95  # decays of Adam's moments


def orthogonal(update: Tensor) -> Tensor:
    """Nearly U V^T of `update` = U S V^T, (o, i), by a quintic Newton-Schulz iteration.

    All factors are polynomials in the Gram matrix of the shorter side, which commute; so the iteration runs on
    square matrices of that side, and the long one is multiplied once.
    """
    wide = update if update.shape[0] <= update.shape[1] else update.T
    a, b, c = _QUINTIC
    x = wide / (wide.norm() + 1e-7)
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    gram, product = x @ x.T, one
    for _ in range(_STEPS):
        factor = a * one + b * gram + c * gram @ gram
        gram, product = factor @ gram @ factor, factor @ product
    x = product @ x
    return x if wide is update else x.T


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more axes, taken as (first axis, all others); Adam for the rest.

    An update is scaled to the root mean square that Adam's has (0.2, Liu et al. 2025, eq. 4), so that
    learning rates are of Adam's size. A group of parameters with `kernels` False is Adam's as a whole.
    """

    def __init__(self, params: list[dict]):
        super().__init__(params, {"kernels": True})

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self._kernel if p.dim() >= 2 and group["kernels"] else self._adam)(p, group)

    def _kernel(self, p: Tensor, group: dict) -> None:
        if not self.state[p]:
            self.state[p] = {"velocity": torch.zeros_like(p)}
        velocity = self.state[p]["velocity"].mul_(_MOMENTUM).add_(p.grad)
        update = orthogonal((p.grad + _MOMENTUM * velocity).flatten(1))
        p.add_(update.view_as(p), alpha=-0.2 * group["lr"] * max(update.shape) ** 0.5)

    def _adam(self, p: Tensor, group: dict) -> None:
        if not self.state[p]:
            self.state[p] = {"mean": torch.zeros_like(p), "square": torch.zeros_like(p), "step": 0}
        state = self.state[p]
        state["step"] += 1
        mean = state["mean"].lerp_(p.grad, 1 - _FIRST)
        square = state["square"].lerp_(p.grad.square(), 1 - _SECOND)
        corrected = (square / (1 - _SECOND ** state["step"])).sqrt_().add_(1e-8)
        p.addcdiv_(mean, corrected, value=-group["lr"] / (1 - _FIRST ** state["step"]))
