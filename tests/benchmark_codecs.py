"""Seconds from pixels to a file's bytes and back, on a Kodak picture and on 12 megapixels, for this codec and others.

    python tests/benchmark_codecs.py [--csv FILE] [--quality Q]

The large picture is a mosaic of Kodak (`python -m codec_lib data fetch kodak`). Every codec is warmed up on a small
one; the least time of up to `REPEATS` counts. JPEG XL needs pillow-jxl-plugin. CompressAI is timed where it is
installed, with random weights scaled so that there is as much to code as in a trained model; its joint model, which
goes from position to position, on the Kodak picture alone.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from codec_lib import datasets, images, metrics, tables
from codec_lib.codecs.codec import Codec
from codec_lib.errors import Unsupported
from codec_lib.evaluation import classical, provenance
from codec_lib.weights import weight_files

Coder = Callable[[np.ndarray], bytes | dict]
Decoder = Callable[[bytes | dict], object]

OURS = {"hyperprior": None, "space-channel": None, "hyperprior, papers' layers": "paper"}
"""By name, presets; the last has the layers of CompressAI's at the same rate."""

OTHERS = {"JPEG": 50, "WebP": 60, "AVIF": 48, "JPEG XL": 65}
"""By name, qualities of about as many bits as OURS at quality 2."""

REPEATS, PATIENCE = 3, 20.0
"""Measurements at most, and seconds after which no other begins."""


def large_picture(paths: list[Path], width: int = 4256, height: int = 2832) -> np.ndarray:
    """A mosaic of pictures of 768x512, those that stand laid down: uint8 (height, width, 3)."""
    lying = [p if p.shape[1] > p.shape[0] else np.rot90(p) for p in (images.read_image(path)[0] for path in paths)]
    across, down = -(-width // 768), -(-height // 512)
    rows = [np.concatenate([lying[(r * across + k) % len(lying)] for k in range(across)], 1) for r in range(down)]
    return np.ascontiguousarray(np.concatenate(rows)[:height, :width])


def codecs(quality: float) -> Iterator[tuple[str, Coder, Decoder]]:
    """Name, encoder and decoder of each codec that is here."""
    for name, preset in OURS.items():
        frozen: Codec = weight_files.load(name.partition(",")[0], quality, preset)
        yield name, frozen.encode, frozen.decode
    for name, setting in OTHERS.items():
        try:
            classical.encode(name, np.zeros((8, 8, 3), np.uint8), setting)
        except Unsupported:
            continue
        yield name, lambda p, name=name, setting=setting: classical.encode(name, p, setting), classical.decode
    with contextlib.suppress(ImportError):
        yield "CompressAI hyperprior", *_compressai("bmshj2018_hyperprior")
        yield "CompressAI joint", *_compressai("mbt2018")


@torch.no_grad()
def _compressai(name: str) -> tuple[Coder, Decoder]:
    from compressai import zoo

    model = getattr(zoo, name)(quality=2, pretrained=False).eval()
    scales = torch.exp2(torch.linspace(3, -3, model.M))  # as in `timing.stand_in`
    y = model.g_a(torch.rand(1, 3, 256, 256))
    model.g_a[-1].weight.mul_((scales / y.std((0, 2, 3)))[:, None, None, None])
    readout = model.entropy_parameters[-1] if hasattr(model, "entropy_parameters") else model.h_s[-2]
    readout.weight.mul_(0.01)
    readout.bias[: model.M] = scales
    model.update()

    def encode(pixels: np.ndarray) -> dict:
        with torch.inference_mode():
            return model.compress(images.pad(images.to_tensor(pixels), 64))

    def decode(coded: dict) -> object:
        with torch.inference_mode():
            return images.to_pixels(model.decompress(coded["strings"], coded["shape"])["x_hat"])

    return encode, decode


def least(function: Callable[[], object]) -> tuple[float, object]:
    """Seconds of the fastest call, and its result."""
    times = []
    while len(times) < REPEATS and sum(times) < PATIENCE:
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def measure(name: str, encode: Coder, decode: Decoder, pixels: np.ndarray) -> dict:
    """A row of the table."""
    decode(encode(pixels[:128, :128]))
    seconds, data = least(lambda: encode(pixels))
    back, _ = least(lambda: decode(data))
    bpp = metrics.bpp(len(data), pixels) if isinstance(data, bytes) else None  # random weights have no rate
    return {
        "codec": name, "width": pixels.shape[1], "height": pixels.shape[0],
        "bpp": bpp, "encode [s]": seconds, "decode [s]": back,
        "processor": provenance.processor(), "threads": torch.get_num_threads(),
    }  # fmt: skip


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table here, too")
    parser.add_argument("--quality", type=float, default=2, help="of our models (default: 2)")
    args = parser.parse_args()
    paths = datasets.find("kodak")
    rows = []
    for pixels in (images.read_image(paths[0])[0], large_picture(paths)):
        for name, encode, decode in codecs(args.quality):
            if name == "CompressAI joint" and pixels.size > 3e6:
                continue
            rows.append(measure(name, encode, decode, pixels))
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    if args.csv:
        tables.write_csv(args.csv, rows, 4)


if __name__ == "__main__":
    main()
