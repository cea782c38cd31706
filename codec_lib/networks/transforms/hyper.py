"""The hyper-transforms h_a and h_s, the same for all transforms but for their widths.

y --conv3--relu--conv5 /2--relu--conv5 /2-- z --Q-- z_hat --deconv5 x2--relu--deconv5 x2--relu--conv3-- psi
"""

from torch import nn

from codec_lib.networks.transforms.paper import conv, deconv


def hyper_analysis(i: int, N: int) -> nn.Sequential:
    """h_a of Balle et al. 2018, fig. 4: (B, i, h, w) -> (B, N, ceil(h / 4), ceil(w / 4))."""
    down = [conv(N, N) for _ in range(2)]  # first: seeds give the weights that they gave before
    return nn.Sequential(nn.Conv2d(i, N, 3, padding=1), nn.ReLU(), down[0], nn.ReLU(), down[1])


def hyper_synthesis(N: int, widths: tuple[int, int], o: int) -> nn.Sequential:
    """h_s of Balle et al. 2018, fig. 4, without its last ReLU: (B, N, h, w) -> (B, o, 4 h, 4 w).

    ReLU throughout (Minnen et al. 2018 have leaky ones), which is exact on a grid of integers.
    """
    a, b = widths
    return nn.Sequential(deconv(N, a), nn.ReLU(), deconv(a, b), nn.ReLU(), nn.Conv2d(b, o, 3, padding=1))
