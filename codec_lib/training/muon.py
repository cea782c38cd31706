"""Muon: momentum whose update of each kernel is made orthogonal (Jordan et al. 2024).

torch.optim.Muon takes matrices only, and both it and pytorch_optimizer's iterate in bfloat16, which on a
CPU without such instructions takes ten times as long as the training step itself. This one takes kernels
of any shape and stays in their precision.
"""

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)  # the author's coefficients: steep at 0, singular values end in about 0.7..1.2


def orthogonal(update: Tensor, steps: int = 5) -> Tensor:
    """Nearly U V^T of `update` = U S V^T, (o, i), by a quintic Newton-Schulz iteration.

    All factors are polynomials in the Gram matrix of the shorter side, which commute; so the iteration runs on
    square matrices of that side, and the long one is multiplied once.
    """
    wide = update if update.shape[0] <= update.shape[1] else update.T
    a, b, c = _QUINTIC
    x = wide / (wide.norm() + 1e-7)
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    gram, product = x @ x.T, one
    for _ in range(steps):
        factor = a * one + b * gram + c * gram @ gram
        gram, product = factor @ gram @ factor, factor @ product
    x = product @ x
    return x if wide is update else x.T


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more axes, taken as (first axis, all others); Adam for the rest.

    An update is scaled to the root mean square that Adam's has (0.2, Liu et al. 2025, eq. 4), so that
    learning rates are of Adam's size.

    Args:
        params: parameter groups with an `lr` each.
        momentum: of kernels, Nesterov's.
        betas: of Adam.
    """

    def __init__(self, params: list[dict], momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.95)):
        super().__init__(params, {"momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self._kernel if p.dim() >= 2 and group.get("kernels", True) else self._adam)(p, group)

    def _kernel(self, p: Tensor, group: dict) -> None:
        velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
        velocity.mul_(group["momentum"]).add_(p.grad)
        update = orthogonal((p.grad + group["momentum"] * velocity).flatten(1))
        p.add_(update.view_as(p), alpha=-0.2 * group["lr"] * max(update.shape) ** 0.5)

    def _adam(self, p: Tensor, group: dict) -> None:
        state, (first, second) = self.state[p], group["betas"]
        mean = state.setdefault("mean", torch.zeros_like(p))
        square = state.setdefault("square", torch.zeros_like(p))
        state["step"] = state.get("step", 0) + 1
        mean.lerp_(p.grad, 1 - first)
        square.lerp_(p.grad.square(), 1 - second)
        corrected = (square / (1 - second ** state["step"])).sqrt_().add_(1e-8)
        p.addcdiv_(mean, corrected, value=-group["lr"] / (1 - first ** state["step"]))
