"""Measured rate and distortion: every bit counted from a file on disk, every pixel decoded from it."""

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from codec_lib import images, metrics
from codec_lib.coding.container import unpack
from codec_lib.files import read_bytes, write_bytes
from codec_lib.weights.weight_files import AnyCodec

COLUMNS = (
    "lmbda", "B", "num_pixels", "bits", "bpp", "psnr", "time(enc)", "time(dec)", "ms_ssim", "bpp_estimated",
)  # fmt: skip
"""Of `summary`: the fourth report's columns and two more; an autoencoder has B in place of lmbda.

Times in seconds, PSNR in dB, of 8-bit pictures."""


def evaluate(codec: AnyCodec, paths: Iterable[Path], coder: str | None = None, progress: bool = True) -> list[dict]:
    """Encode, write, read and decode each picture.

    Times run from pixels in memory to bytes and back, after one picture that is not counted.

    Returns:
        A row per picture: `image`, the columns of `COLUMNS`, `exact` (the decoded pixels are those
        the model predicts) and `container` (bytes besides the streams).
    """
    paths, rows = list(paths), []
    coder = coder or codec.coders[0]
    bar = tqdm(paths, desc=f"{codec.model} q{codec.quality}", unit="picture", disable=not progress, leave=False)
    with tempfile.TemporaryDirectory() as folder:
        for k, path in enumerate(bar):
            pixels, _ = images.read_image(path)
            if k == 0:
                codec.decode(codec.encode(pixels, coder))
            rows.append({"image": path.stem} | codec.rate_point | _measure(codec, pixels, coder, Path(folder)))
    return rows


def _measure(codec: AnyCodec, pixels: np.ndarray, coder: str, folder: Path) -> dict:
    file = folder / "picture.cbk"
    start = time.perf_counter()
    data = codec.encode(pixels, coder)
    encoded = time.perf_counter()
    write_bytes(file, data)
    data = read_bytes(file)
    read = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    predicted, estimate = codec.estimate(pixels)
    count = pixels.shape[0] * pixels.shape[1]
    measured = metrics.measure(pixels, decoded) | {
        "num_pixels": count, "bits": 8 * file.stat().st_size, "bpp": metrics.bpp(len(data), pixels),
        "time(enc)": encoded - start, "time(dec)": end - read, "bpp_estimated": estimate / count,
    }  # fmt: skip
    told = {"exact": bool(np.array_equal(decoded, predicted)), "container": unpack(data).overhead}
    return {name: measured[name] for name in columns() if name in measured} | told


def summary(rows: list[dict]) -> dict:
    """The mean of each column over the pictures, as the field reports it (bpp and PSNR per picture first)."""
    return {name: float(np.mean([row[name] for row in rows])) for name in columns() if name in rows[0]}


def columns() -> list[str]:
    """`COLUMNS`, and what else is in `metrics.METRICS`."""
    return list(dict.fromkeys([*COLUMNS, *metrics.METRICS]))
