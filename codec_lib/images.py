"""Pictures on disk <-> arrays <-> tensors; padding and cropping.

A picture is a uint8 array (H, W, 3), RGB; a tensor is float32 (1, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from codec_lib import colour, limits
from codec_lib.errors import BadImage, CodecError, TooLarge, Unsupported
from codec_lib.files import replace_atomically

if TYPE_CHECKING:
    from torch import Tensor  # which takes a second and a half: reading pictures must not wait for it

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".tga"}
"""Of the pictures that are looked for in a folder."""

FORMATS = {
    ".png": ("PNG", {"compress_level": 4}),  # 1 to 3 % larger than at Pillow's 6, in less than half of its time
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True}),
    ".ppm": ("PPM", {}),
}
"""Suffixes of the lossless formats in which decoded pictures are written, and Pillow's name and options for each."""


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    Attributes:
        pixels: uint8 (H, W, 3). notes: a phrase for each thing that was changed.
        exif: a TIFF structure; icc: the profile that explains the pixels, sRGB if there is none.
    """

    pixels: np.ndarray
    notes: list[str]
    exif: bytes = b""
    icc: bytes = b""


def read_picture(source: str | Path | BinaryIO, keep: bool = False) -> Picture:
    """A picture file, as `to_rgb` gives it, or with its metadata.

    Args:
        source: its path, or an open file.
        keep: return EXIF too, and leave RGB samples as they are if a colour profile explains them.

    Raises:
        BadImage: missing, not a picture, or damaged.
        TooLarge: more pixels than `limits` allows.
    """
    name = source if isinstance(source, str | Path) else "The input"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's hints on odd files and large pictures
            with Image.open(source) as image:
                limits.check_size(image.height, image.width)
                return _read(image, keep)
    except Image.DecompressionBombError:
        most = min(limits.max_pixels(), 2 * Image.MAX_IMAGE_PIXELS)  # Pillow's own limit
        raise TooLarge(f"{name} has more than the {most / 10**6:.3g} megapixels allowed.") from None
    except Image.UnidentifiedImageError:
        raise BadImage(f"{name} is not a picture that Pillow can read.") from None
    except OSError as error:
        raise BadImage(f"Cannot read {name}: {error.strerror or error}.") from error
    except (CodecError, MemoryError):
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise whatever they trip over
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadImage(f"{name} is damaged: {reason}.") from error


def read_image(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """A picture file as `to_rgb` gives it; raises as `read_picture` does."""
    picture = read_picture(path)
    return picture.pixels, picture.notes


def to_rgb(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """Any Pillow picture as sRGB, (H, W, 3) uint8, and a phrase for each thing that was changed.

    EXIF rotation is applied; a colour profile is followed; transparency is composited onto white; 16-bit and floating
    samples are scaled to 8 bits; grey, palette and CMYK are converted by Pillow. Frames after the first are dropped.
    """
    picture = _read(image, keep=False)
    return picture.pixels, picture.notes


def _read(image: Image.Image, keep: bool) -> Picture:
    notes, format = [], image.format
    image.load()  # a picture that is damaged itself is refused here
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"only the first of {image.n_frames} frames is used")
    exif, icc = (image.info.get(name) or b"" for name in ("exif", "icc_profile"))
    try:
        exif = exif or (_exif_elsewhere(image) if keep else b"")
        Image.Exif().load(exif)
        if is_turned(image):
            image = image.transpose(_TURNS[image.getexif()[_ORIENTATION]])
            notes.append("rotated as its EXIF says")
            exif = upright(exif)
    except Exception:  # Pillow's parser raises whatever it trips over
        exif = b""
        notes.append("its EXIF is damaged and left out")
    if image.mode.startswith(("I", "F")):
        image, scaled = _to_8_bits(image, format)
        notes += scaled
    kept = keep and colour.explains(icc, image.mode)
    if icc and not kept:
        image, converted = colour.to_srgb(image, icc)
        notes += [converted] if converted else []
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        notes.append("transparency composited onto white")
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))  # which would copy what is RGB already
    if not keep:
        return Picture(pixels, notes)
    return Picture(pixels, notes, exif.removeprefix(b"Exif\0\0"), icc if kept else b"")


_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""EXIF's orientation -> what makes the picture upright."""


def is_turned(image: Image.Image) -> bool:
    """Whether a picture's EXIF says that it is not upright."""
    return image.getexif().get(_ORIENTATION) in _TURNS


def upright(exif: bytes) -> bytes:
    """EXIF, if there is any, of a picture that was turned as it said."""
    if not exif:
        return exif
    found = Image.Exif()
    found.load(exif)
    found.pop(_ORIENTATION, None)
    return found.tobytes()


def _to_8_bits(image: Image.Image, format: str | None) -> tuple[Image.Image, list[str]]:
    """A grey picture of wider samples, read from a file of that format, and notes."""
    samples = np.asarray(image).astype(np.float64)
    low, high = 0.0, 65535.0
    if image.mode in ("I", "F") and format not in ("PNG", "PPM"):  # whose samples have 16 bits
        low, high = _range(samples, (1.0, 255.0) if image.mode == "F" else (255.0, high))
    transparent = samples == image.info.get("transparency", np.nan)  # one grey level of a 16-bit PNG
    samples[transparent] = high
    samples -= low  # in place: of a large picture half a gigabyte each
    samples *= 255 / max(high - low, 1e-12)
    notes = ["samples scaled to 8 bits"] + ["transparency composited onto white"] * bool(transparent.any())
    return Image.fromarray(samples.round(out=samples).clip(0, 255, out=samples).astype(np.uint8)), notes


def _range(samples: np.ndarray, usual: tuple[float, ...]) -> tuple[float, float]:
    """What is black and what is white: 0 and the first of the usual ends that is not exceeded, else the extremes."""
    low, high = (float(samples.min()), float(samples.max())) if samples.size else (0.0, 1.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadImage("The picture holds samples that are not finite numbers.")
    return next(((0.0, end) for end in usual if low >= 0 and high <= end), (low, high))


def write_picture(path: str | Path, pixels: np.ndarray) -> None:
    """(H, W, 3) uint8 to a file in the lossless format of its suffix; nothing is left behind on failure.

    Raises:
        Unsupported: another suffix, or the format cannot hold so large a picture.
        BadData: the file cannot be written.
    """
    suffix = check_suffix(path)
    replace_atomically(path, lambda file: save(file, pixels, suffix))


def check_suffix(path: str | Path) -> str:
    """The suffix of a picture file to be written, in small letters; `Unsupported` if it is none of `FORMATS`."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise Unsupported(f"Cannot write {path}: decoded pictures are written as {', '.join(FORMATS)}.")
    return suffix


def save(file: BinaryIO, pixels: np.ndarray, suffix: str = ".png", exif: bytes = b"", icc: bytes = b"") -> None:
    """(H, W, 3) uint8 into an open file; raises as `write_picture` does."""
    name, options = FORMATS[suffix]
    exif = _for_tiff(exif) if name == "TIFF" else exif
    metadata = {"exif": exif, "icc_profile": icc} if name != "PPM" else {}
    try:
        Image.fromarray(pixels).save(file, format=name, **options, **{k: v for k, v in metadata.items() if v})
    except ValueError as error:  # WebP has at most 16,383 pixels a side
        raise Unsupported(f"A picture of {pixels.shape[1]}x{pixels.shape[0]} is too large for {name}.") from error


_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
"""EXIF's texts: description, make, model, software, date, artist, copyright."""


def _copy_texts(found: Image.Exif, kept: Image.Exif) -> None:
    for tag in _DESCRIPTIVE:
        if isinstance(text := found.get(tag), str):
            kept[tag] = text


def _exif_elsewhere(image: Image.Image) -> bytes:
    """EXIF of a TIFF, which has it among its own tags, or of a PNG that has it in a text."""
    found, kept = image.getexif(), Image.Exif()
    _copy_texts(found, kept)
    for directory in (0x8769, 0x8825):  # EXIF's own, GPS
        if values := found.get_ifd(directory):
            kept.get_ifd(directory).update(values)
            kept[directory] = dict(values)
    return kept.tobytes() if len(kept) else b""


def _for_tiff(exif: bytes) -> bytes:
    """What Pillow can put into a compressed TIFF: texts, but no directories, and no tags that tell how it is stored."""
    found, kept = Image.Exif(), Image.Exif()
    with contextlib.suppress(Exception), warnings.catch_warnings():  # what is damaged is left out
        warnings.simplefilter("ignore")
        found.load(exif)
        _copy_texts(found, kept)
    return kept.tobytes() if len(kept) else b""


def as_array(image: Image.Image | np.ndarray) -> np.ndarray:
    """The two kinds of picture the Python interface accepts, as (H, W, 3) uint8."""
    if isinstance(image, Image.Image):
        return to_rgb(image)[0]
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise BadImage("Pass a PIL.Image or a uint8 array of shape (H, W, 3).")
    return image


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1]."""
    import torch

    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def to_pixels(x: Tensor) -> np.ndarray:
    """(1, 3, H, W) -> (H, W, 3) uint8, clipped to [0, 1] and rounded."""
    return (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until H and W are multiples of `multiple`."""
    import torch.nn.functional as F

    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % multiple, 0, -h % multiple), mode="replicate")


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `pad`."""
    return x[..., :height, :width]
