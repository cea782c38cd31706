"""The rate-distortion loss of one rate, and what it is, or those of a range of rates are, on fixed crops."""

import torch
from torch import Tensor, nn

from codec_lib import rates
from codec_lib.metrics import psnr_from_mse
from codec_lib.networks.gains import Gained
from codec_lib.training import every_rate


class Loss(nn.Module):
    """`lmbda * 255^2 * MSE + bpp` as one module, so that DistributedDataParallel can wrap it."""

    def __init__(self, model: nn.Module, lmbda: float):
        super().__init__()
        self.model, self.lmbda = model, lmbda

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, H, W) in [0, 1] -> loss, bpp, MSE (of the [0, 1] scale), scalars."""
        x_hat, bits = self.model(x)
        bpp = sum(b.sum() for b in bits.values()) / (x.shape[0] * x.shape[2] * x.shape[3])
        mse = (x_hat.float() - x).square().mean()
        return rates.loss(self.lmbda, bpp, mse), bpp, mse


@torch.no_grad()
def validate(model: nn.Module, x: Tensor, lmbda: float, batch_size: int = 16) -> dict[str, float]:
    """Loss, bpp and PSNR with rounding on fixed crops, uint8 (n, 3, H, W); float32."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    totals = torch.zeros(3, dtype=torch.float64)
    for part in x.split(batch_size):
        part = part.to(device).float() / 255
        loss, bpp, mse = Loss(model, lmbda)(part)
        totals += len(part) * torch.tensor([loss.item(), bpp.item(), mse.item()], dtype=torch.float64)
    model.train(training)
    loss, bpp, mse = (totals / len(x)).tolist()
    return {"val_loss": loss, "val_bpp": bpp, "val_psnr": psnr_from_mse(mse)}


def validate_range(gained: Gained, x: Tensor, lmbdas: tuple[float, float]) -> dict[float, dict[str, float]]:
    """`validate` at each whole quality of a range."""
    points = every_rate.validated(lmbdas)
    return {q: validate(gained.at(round(rates.THOUSAND * q)), x, rates.lmbda_of(q)) for q in points}


def mean(each: dict[float, dict[str, float]]) -> dict[str, float]:
    """The mean over qualities, the loss by the usual one."""
    usual = [of | {"val_loss": of["val_loss"] / every_rate.usual_loss(q)} for q, of in each.items()]
    return {name: sum(of[name] for of in usual) / len(usual) for name in usual[0]}
