"""How large a picture may be. Knows no torch, so that a file can be refused before anything is loaded."""

import os

from codec_lib.errors import BadImage, TooLarge, Unsupported

MAX_PIXELS = 2**26
"""Larger pictures (67 megapixels) are refused unless the variable `CODECBOOK_MAX_PIXELS` allows more.

Pillow warns of a decompression bomb at 89 megapixels and refuses twice that.
"""


def max_pixels() -> int:
    """The limit in force: `CODECBOOK_MAX_PIXELS` of the environment, or `MAX_PIXELS`.

    Raises:
        Unsupported: the variable is no positive integer.
    """
    value = os.environ.get("CODECBOOK_MAX_PIXELS", "")
    if not value:
        return MAX_PIXELS
    if not (value.isascii() and value.isdigit() and len(value) < 19 and int(value) > 0):
        raise Unsupported(f"CODECBOOK_MAX_PIXELS must be a number of pixels, not '{value}'.")
    return int(value)


def check_size(height: int, width: int) -> None:
    """Refuse empty pictures and those above the limit, before anything is allocated."""
    if height < 1 or width < 1:
        raise BadImage(f"A picture of {width}x{height} has no pixels.")
    if height * width > max_pixels():
        raise TooLarge(
            f"A picture of {width}x{height} has more than the {max_pixels() / 10**6:.3g} megapixels allowed; "
            "set CODECBOOK_MAX_PIXELS to allow more."
        )
