"""Where the time goes, at the papers' sizes without trained weights if need be: a stand-in takes as long."""

import time
import timeit
from collections.abc import Callable

import numpy as np
import torch

from codec_lib import images
from codec_lib.codecs import freezing
from codec_lib.codecs.codec import Codec
from codec_lib.codecs.streams import given
from codec_lib.coding.container import pack, unpack
from codec_lib.coding.order import ONE_GROUP
from codec_lib.networks import models
from codec_lib.rates import LMBDAS


@torch.no_grad()
def stand_in(name: str, pixels: np.ndarray) -> Codec:
    """A codec of the papers' low-rate size with random weights, but with as much to code as a trained one.

    The latent's channels are scaled to standard deviations from 8 down to 1/8 on the picture given,
    uint8 (H, W, 3), and the prior predicts them so. It takes the time of a trained codec, and nothing else.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.make(name, "paper", LMBDAS[0])
    log2_scale = torch.linspace(3.0, -3.0, model.size.M)  # as trained models have them
    last = model.g_a[-1]
    x = images.pad(images.to_tensor(pixels), model.downscale)
    y = model.g_a(x)
    gain = torch.exp2(log2_scale) / y.std((0, 2, 3))
    last.weight.mul_(gain[:, None, None, None])
    last.bias.copy_((last.bias - y.mean((0, 2, 3))) * gain)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.fix_scales(log2_scale)
    return freezing.freeze(model.eval(), "paper", LMBDAS[0])


def least(function: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of several calls; the others were disturbed."""
    return min(timeit.repeat(function, timer=time.perf_counter, number=1, repeat=repeats))


def whole(frozen: Codec, pixels: np.ndarray, repeats: int = 3) -> dict[str, float]:
    """Seconds from pixels to bytes and back (`encode`, `decode`), and where they go.

    `h_s` is all that is computed from z once, `context` all that is predicted group by group (context and entropy
    parameters), both in integers; `coder` is what coding takes besides; `container` packing and checking a file.
    """
    data = frozen.encode(pixels)
    frozen.decode(data)
    symbols, container = frozen.analyse(pixels), unpack(data)
    z, (h, w) = symbols.get("z"), symbols["y"].shape[1:]
    network, known = frozen.network, given(symbols["y"])
    x = images.pad(images.to_tensor(pixels), network.downscale).to(memory_format=torch.channels_last)
    seconds = {
        "encode": least(lambda: frozen.encode(pixels), repeats),
        "decode": least(lambda: frozen.decode(data), repeats),
    }
    with torch.inference_mode():
        y = network.g_a(x)
        y_hat = torch.from_numpy(symbols["y"]).float()[None].to(memory_format=torch.channels_last)
        h_s = least(lambda: frozen.prior.side_information(None if z is None else torch.from_numpy(z), h, w), repeats)
        walk = least(lambda: frozen.walk(z, h, w, known), repeats)
        write = least(lambda: frozen.write_symbols(symbols, *pixels.shape[:2]), repeats)
        read = least(lambda: frozen.read_symbols(container), repeats)
        return seconds | {
            "g_a": least(lambda: network.g_a(x), repeats),
            "h_a": 0.0 if z is None else least(lambda: network.side_latent(y), repeats),
            "h_s": 0.0 if z is None else h_s,
            "context": max(0.0, walk - h_s) if network.order is not ONE_GROUP else 0.0,
            "coder (enc)": max(0.0, write - walk),  # two timings: their difference may be noise
            "coder (dec)": max(0.0, read - walk),
            "container": least(lambda: unpack(pack(container)), repeats),
            "g_s": least(lambda: network.g_s(y_hat), repeats),
        }
