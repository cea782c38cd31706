"""Pictures on disk <-> arrays <-> tensors; padding and cropping.

A picture is a uint8 array (H, W, 3), RGB; a tensor is float32 (1, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from codec_lib import limits
from codec_lib.errors import BadImage, CodecError, TooLarge
from codec_lib.files import replace_atomically

if TYPE_CHECKING:
    from torch import Tensor  # which takes a second and a half: reading pictures must not wait for it

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"}
"""Of the pictures that are looked for in a folder."""


def to_rgb(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """Any Pillow picture as (H, W, 3) uint8, and a sentence for each thing that was changed.

    EXIF rotation is applied; transparency is composited onto white; 16-bit and floating samples
    are scaled to 8 bits; grey, palette and CMYK are converted by Pillow. Frames after the first
    are dropped.
    """
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"only the first of {image.n_frames} frames is used")
    if image.getexif().get(0x0112, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        notes.append("rotated as its EXIF says")
    if image.mode.startswith(("I", "F")):
        samples = np.asarray(image).astype(np.float64)
        if image.mode == "F":
            low, high = (float(samples.min()), float(samples.max())) if samples.size else (0.0, 1.0)
            if not (np.isfinite(low) and np.isfinite(high)):
                raise BadImage("The picture holds samples that are not finite numbers.")
            if low >= 0 and high <= 1:
                low, high = 0.0, 1.0
            elif low >= 0 and high <= 255:
                low, high = 0.0, 255.0
        else:
            low, high = 0.0, 65535.0
        transparent = samples == image.info.get("transparency", np.nan)  # one grey level of a 16-bit PNG
        samples = np.where(transparent, high, samples)
        samples = (samples - low) * (255 / max(high - low, 1e-12))
        image = Image.fromarray(np.clip(np.round(samples), 0, 255).astype(np.uint8))
        notes.append("samples scaled to 8 bits")
        if transparent.any():
            notes.append("transparency composited onto white")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        notes.append("transparency composited onto white")
    return np.asarray(image.convert("RGB")).copy(), notes


def read_image(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """A picture file as `to_rgb` gives it.

    Raises:
        BadImage: missing, not a picture, or damaged.
        TooLarge: more pixels than `limits` allows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's hints on odd files and large pictures
            with Image.open(path) as image:
                limits.check_size(image.height, image.width)
                return to_rgb(image)
    except Image.DecompressionBombError:
        raise TooLarge(f"{path} has more than the {limits.max_pixels() / 10**6:.3g} megapixels allowed.") from None
    except Image.UnidentifiedImageError:
        raise BadImage(f"{path} is not a picture that Pillow can read.") from None
    except OSError as error:
        raise BadImage(f"Cannot read {path}: {error.strerror or error}.") from error
    except (CodecError, MemoryError):
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise whatever they trip over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"{path} is damaged: {reason}.") from error


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """(H, W, 3) uint8 to a PNG file, whatever the suffix; nothing is left behind on failure."""
    image = Image.fromarray(pixels)
    replace_atomically(path, lambda file: image.save(file, format="PNG"))


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
