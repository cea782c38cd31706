"""Colour profiles: pictures of any colour space as sRGB, which is what the codecs and most screens expect."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""What Pillow calls samples of the colour spaces of profiles."""


def to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str | None]:
    """A picture whose samples an ICC profile explains, as sRGB, and a note where its samples changed.

    A profile that says what sRGB does leaves every sample as it is, and so does one that cannot be used.

    Args:
        image: of mode 1, L, P, RGB, CMYK, or with alpha, which is kept.
        profile: the ICC profile's bytes.

    Returns:
        An RGB or RGBA picture, or `image` itself.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        name = " ".join(ImageCms.getProfileDescription(source).split())[:60] or "its profile"
        samples, alpha = _split(image)
        if samples.mode == "L" and space == "RGB":
            samples = samples.convert("RGB")
        if samples.mode != _MODES.get(space):
            return image, f"its colour profile is for {space} samples, which it has not, and is ignored"
        if space == "RGB" and is_srgb(profile):
            return image, None
        samples = _converted(samples, source)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, "its colour profile is damaged and is ignored"
    if alpha is not None:
        samples.putalpha(alpha)
    return samples, f"colours converted from {name} to sRGB"


def explains(profile: bytes, mode: str) -> bool:
    """Whether an ICC profile can be read and explains RGB samples, which pictures of the mode have."""
    if not profile or mode not in ("RGB", "RGBA", "RGBa", "P", "PA", "YCbCr"):
        return False
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip() == "RGB"
    except (ImageCms.PyCMSError, OSError):
        return False


@functools.lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Whether a sound ICC profile of RGB samples differs from sRGB by no more than rounding: one level of 255."""
    levels = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)
    converted = np.asarray(_converted(Image.fromarray(colours), ImageCms.ImageCmsProfile(io.BytesIO(profile))))
    return int(np.abs(converted.astype(int) - colours).max()) <= 1


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Samples without alpha, of mode L, RGB or CMYK, and the alpha channel if there is one."""
    mode = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA", "1": "L", "YCbCr": "RGB"}.get(image.mode, image.mode)
    if "transparency" in image.info:
        mode = "LA" if mode == "L" else "RGBA"
    if mode == "P":
        mode = "RGB"
    image = image.convert(mode) if mode != image.mode else image
    if mode not in ("LA", "RGBA"):
        return image, None
    return image.convert(mode[:-1]), image.getchannel("A")


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    """Samples that a profile explains, as sRGB."""
    intent = ImageCms.getDefaultIntent(source)
    if intent not in iter(ImageCms.Intent):  # bytes swapped, in scikit-learn's china.jpg
        intent = ImageCms.Intent.PERCEPTUAL
    target, flags = ImageCms.createProfile("sRGB"), ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.profileToProfile(image, source, target, intent, "RGB", flags=flags)
