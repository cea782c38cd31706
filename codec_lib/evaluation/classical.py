"""The classical codecs as Pillow encodes them: JPEG, JPEG 2000, WebP, AVIF and JPEG XL.

Each at settings that give the best PSNR for its bits within about a second per Kodak picture on one core, except JPEG:
baseline with 4:2:0 chroma and optimised Huffman tables, as most JPEG files are.
"""

import bisect
import io
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from codec_lib import images, metrics
from codec_lib.errors import Unsupported


class Classical(NamedTuple):
    """A codec of others.

    Attributes:
        encode: a picture, uint8 (H, W, 3), and a quality -> its file.
        qualities: that draw a curve from about 0.1 to 2.5 bpp on Kodak.
        colour, marker: of its curve, whose label is its name.
        decode: a file -> its picture, uint8 (H, W, 3).
    """

    encode: Callable[[np.ndarray, float], bytes]
    qualities: tuple[float, ...]
    colour: str
    marker: str
    decode: Callable[[bytes], np.ndarray] | None = None


def _pillow(format: str, **options: object) -> Callable[[np.ndarray, float], bytes]:
    return lambda pixels, quality: _save(pixels, format, quality=quality, **options)


def _save(pixels: np.ndarray, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def _jpeg_2000(pixels: np.ndarray, rate: float) -> bytes:
    """OpenJPEG with the 9/7 wavelet and the ICT, without which RGB costs twice the bits.

    Quality is the rate [bpp] of every picture, at which the encoder makes the squared error least; the mode "dB"
    instead gives every picture the same PSNR, and its means over Kodak take a quarter more bits.
    """
    ratio = [24 / rate]  # to 24 bits per pixel
    return _save(pixels, "JPEG2000", quality_layers=ratio, quality_mode="rates", irreversible=True, mct=1)


def _jpeg_xl(pixels: np.ndarray, quality: float) -> bytes:
    _register_jxl()
    return _save(pixels, "JXL", quality=quality, effort=7, lossless=False)


def _register_jxl() -> None:
    try:
        import pillow_jxl  # noqa: F401, importing it registers the format with Pillow
    except ImportError as error:
        raise Unsupported("JPEG XL is not installed here; run 'pip install pillow-jxl-plugin'.") from error


# One thread and no tiles: libavif otherwise cuts the picture into tiles by the number of cores.
# Speed 4: of the same quality, 6 needs some percent more bits in a fifth of the time, and 2 a percent less in thrice.
_AVIF = {"speed": 4, "max_threads": 1, "autotiling": False, "advanced": {"tune": "psnr"}}
_AVIF_QUALITIES = (10, 22, 34, 48, 62, 76, 88)

CODECS: dict[str, Classical] = {
    # libjpeg-turbo. Not progressive, chroma 4:2:0 as Pillow has it by default. Qualities 1 to 95.
    "JPEG": Classical(_pillow("JPEG", optimize=True), (5, 10, 20, 30, 50, 70, 85), "0.2", "x"),
    "JPEG 2000": Classical(_jpeg_2000, (0.1, 0.2, 0.35, 0.6, 1.0, 1.6, 2.5), "0.4", "+"),
    # libwebp, lossy (VP8), which is always 4:2:0. Qualities 0 to 100.
    "WebP": Classical(_pillow("WEBP", lossless=False, method=6), (0, 8, 25, 50, 75, 87, 94), "0.55", "1"),
    # libaom, all intra. Qualities 0 to 100.
    "AVIF": Classical(_pillow("AVIF", subsampling="4:2:0", **_AVIF), _AVIF_QUALITIES, "0.2", "2"),
    "AVIF 4:4:4": Classical(_pillow("AVIF", subsampling="4:4:4", **_AVIF), _AVIF_QUALITIES, "0.4", "3"),
    # libjxl: XYB and a perceptual target, with no mode for the squared error. Qualities 0 to 100.
    "JPEG XL": Classical(_jpeg_xl, (2, 12, 25, 45, 65, 82, 93), "0.55", "4"),
}
_JXL_SIGNATURES = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")


def _codec(name: str) -> Classical:
    if name not in CODECS:
        raise Unsupported(f"There is no classical codec '{name}'; choose from {', '.join(CODECS)}.")
    return CODECS[name]


def encode(name: str, pixels: np.ndarray, quality: float) -> bytes:
    """The file of a picture, uint8 (H, W, 3), by a codec of `CODECS`, where the ranges of `quality` stand.

    `Unsupported` if there is no such codec, or the package of JPEG XL is missing.
    """
    return _codec(name).encode(pixels, quality)


def decode(data: bytes, name: str | None = None) -> np.ndarray:
    """The picture of a file of `encode`, uint8 (H, W, 3); Pillow knows whose it is, if the codec is not named.

    `Unsupported` if it is a JPEG XL file and the package for it is missing.
    """
    if name is not None and (own := _codec(name).decode):
        return own(data)
    if data.startswith(_JXL_SIGNATURES):
        _register_jxl()
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def measure(pixels: np.ndarray, data: bytes, name: str | None = None) -> dict:
    """`bits`, `bpp` and `metrics.METRICS` of a file of a picture."""
    decoded = decode(data, name)
    return {"bits": 8 * len(data), "bpp": metrics.bpp(len(data), pixels)} | metrics.measure(pixels, decoded)


def curve(
    name: str, paths: Iterable[Path], qualities: Iterable[float] | None = None, progress: bool = True
) -> list[dict]:
    """`quality` and the means of `measure` over the pictures, per quality; those of `CODECS` if None are given."""
    pictures = [images.read_image(path)[0] for path in paths]
    qualities = list(_codec(name).qualities if qualities is None else qualities)
    points, jobs = [], list(itertools.product(qualities, pictures))
    bar = tqdm(jobs, desc=name, unit="file", disable=not progress, leave=False)
    for quality, files in itertools.groupby(bar, key=lambda job: job[0]):
        rows = [measure(pixels, encode(name, pixels, quality), name) for _, pixels in files]
        points.append({"quality": quality} | {key: float(np.mean([row[key] for row in rows])) for key in rows[0]})
    return points


def jpeg_not_below(pixels: np.ndarray, size: int) -> tuple[int, bytes]:
    """The lowest JPEG quality whose file has at least `size` bytes (95 if none has), and the file.

    JPEG thus gets the benefit of every rounding. The search takes sizes to rise with the quality; on
    flat pictures a size can fall by some bytes, and then the quality found is one whose file has
    `size` bytes while that of the quality below has not.
    """
    quality = 1 + bisect.bisect_left(range(1, 95), size, key=lambda quality: len(encode("JPEG", pixels, quality)))
    return quality, encode("JPEG", pixels, quality)


def jpeg_beside(rows: list[dict], paths: Iterable[Path]) -> list[dict]:
    """For each row of `evaluation.evaluate` the JPEG file of the same picture with no fewer bits."""
    beside = []
    for row, path in zip(rows, paths, strict=True):
        pixels, _ = images.read_image(path)
        quality, data = jpeg_not_below(pixels, row["bits"] // 8)
        named = {name: row[name] for name in ("image", "lmbda", "B") if name in row}
        beside.append(named | {"quality": quality} | measure(pixels, data))
    return beside
