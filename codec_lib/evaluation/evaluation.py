"""Measured rate and distortion: every bit counted from a file on disk, every pixel decoded from it."""

import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from codec_lib import datasets, images, metrics
from codec_lib.coding.container import unpack
from codec_lib.files import read_bytes, write_bytes
from codec_lib.rates import loss_at
from codec_lib.weights.weight_files import AnyCodec

COLUMNS = (
    "lmbda", "B", "num_pixels", "bits", "bpp", "psnr", "time(enc)", "time(dec)", "ms_ssim", "bpp_estimated",
)  # fmt: skip
"""Of `summary`: the fourth report's columns and two more; an autoencoder has B in place of lmbda.

Times in seconds, PSNR in dB, of 8-bit pictures."""


def evaluate(
    codec: AnyCodec, paths: Iterable[Path], coder: str | None = None, progress: bool = True, effort: int = 0
) -> list[dict]:
    """Encode, write, read and decode each picture.

    Times run from pixels in memory to bytes and back. A corner of the first picture warms up the codec and is not
    counted. An `effort` above 0 is how long a codec with a prior searches.

    Returns:
        A row per picture: `image`, the columns of `COLUMNS`, `exact` (the decoded latent, and so the picture, is the
        one that the model predicts) and `container` (bytes besides the streams).
    """
    paths, rows = list(paths), []
    coder = coder or codec.coders[0]
    bar = tqdm(paths, desc=f"{codec.model} q{codec.quality}", unit="picture", disable=not progress, leave=False)
    with tempfile.TemporaryDirectory() as folder:
        for title, path in zip(datasets.titles(paths), bar, strict=True):
            pixels, _ = images.read_image(path)
            if not rows:
                codec.decode(codec.encode(pixels[:256, :256], coder))
            rows.append({"image": title} | codec.rate_point | _measure(codec, pixels, coder, Path(folder), effort))
    return rows


def _measure(codec: AnyCodec, pixels: np.ndarray, coder: str, folder: Path, effort: int) -> dict:
    file, (height, width) = folder / "picture.cbk", pixels.shape[:2]
    start = time.perf_counter()
    if effort:
        data = codec.encode(pixels, coder, effort=effort)
    else:
        latents = codec.latents(pixels)
        data = codec.write_latents(*latents, height, width, coder)
    encoded = time.perf_counter()
    write_bytes(file, data)
    data = read_bytes(file)
    read = time.perf_counter()
    container = unpack(data)
    latent = codec.read(container)
    decoded = codec.synthesise(latent, height, width)
    end = time.perf_counter()
    predicted, estimate = codec.expect_symbols(codec.read_symbols(container)) if effort else codec.expect(*latents)
    count = height * width
    measured = metrics.measure(pixels, decoded) | {
        "num_pixels": count, "bits": 8 * file.stat().st_size, "bpp": metrics.bpp(len(data), pixels),
        "time(enc)": encoded - start, "time(dec)": end - read, "bpp_estimated": estimate / count,
    }  # fmt: skip
    told = {"exact": bool(np.array_equal(latent, predicted)), "container": container.overhead}
    return {name: measured[name] for name in columns() if name in measured} | told


def loss(row: Mapping[str, float]) -> float:
    """What training minimises, `bpp + lmbda 255^2 MSE`, of a row with `lmbda`, `bpp` and `psnr` [dB]."""
    return loss_at(row["lmbda"], row["bpp"], row["psnr"])


def compare(codecs: Mapping[str, AnyCodec], paths: Iterable[Path]) -> list[dict]:
    """A row for each codec: means over the pictures, from files, of `bpp`, `psnr`, streams and loss."""
    paths, rows = list(paths), []
    for name, codec in codecs.items():
        of_all = []
        for path in paths:
            pixels, _ = images.read_image(path)
            data = codec.encode(pixels)
            streams = zip(codec.tables, unpack(data).streams, strict=True)
            row = {f"{stream} [bpp]": metrics.bpp(len(s), pixels) for stream, s in streams}
            row |= {"bpp": metrics.bpp(len(data), pixels), "psnr": metrics.psnr(pixels, codec.decode(data))}
            of_all.append(row | {"loss": loss(row | codec.rate_point)})
        means = {column: float(np.mean([row[column] for row in of_all])) for column in of_all[0]}
        rows.append({"model": name} | means)
    return rows


def summary(rows: list[dict]) -> dict:
    """The mean of each column over the pictures, as the field reports it (bpp and PSNR per picture first)."""
    return {name: float(np.mean([row[name] for row in rows])) for name in columns() if name in rows[0]}


def columns() -> list[str]:
    """`COLUMNS`, and what else is in `metrics.METRICS`."""
    return list(dict.fromkeys([*COLUMNS, *metrics.METRICS]))
