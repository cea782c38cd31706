"""A picture at every quality that a model has, and the file that meets a size or a PSNR.

    rates = Rates("hyperprior")                          a codec for each rate point, or one for every rate
    on = rates.on(pixels)                                this picture at all of them
    data = largest_within(on, 60_000)                    or on.encode(2000), or smallest_reaching(on, 35.0)

The searches know of a picture what `AtAllRates` says, whatever the model.
"""

import functools
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from codec_lib import metrics, registry
from codec_lib.errors import Unsupported
from codec_lib.places import WEIGHTS
from codec_lib.rates import THOUSAND
from codec_lib.weights import weight_files

CLOSE = 0.01
"""A file is taken once it has at least 1 - CLOSE of the size allowed."""
CLOSE_PSNR = 0.05
"""... or at most so many dB more than asked for."""
RISE, RISE_PSNR = 1.6, 8.5
"""From the lowest quality to the highest, on Kodak: of the logarithm of the size, and dB."""


class AtAllRates(Protocol):
    """One picture at all qualities, in thousandths, rising."""

    qualities: Sequence[int]

    def encode(self, quality: int) -> bytes:
        """Its file."""
        ...

    def psnr(self, quality: int, data: bytes) -> float:
        """Of what its file decodes to, dB."""
        ...


class Rates:
    """The codecs of a model at all rates that it has weights for, loaded when they are needed.

    Args:
        model, preset, folder: as `weight_files.load` takes them.
    """

    def __init__(self, model: str, preset: str | None = None, folder: Path = WEIGHTS):
        self.model, self.preset, self.folder = model, preset, folder
        self._codecs: dict[int, weight_files.AnyCodec] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def _for_every_rate(self) -> weight_files.GainedCodec | None:
        """The one codec that has a range of qualities, if there is one."""
        presets = [self.preset] if self.preset else registry.presets()
        paths = (weight_files.path_of(self.model, preset, None, self.folder) for preset in presets)
        return next((weight_files.read(path) for path in paths if path.is_file()), None)

    @property
    def qualities(self) -> Sequence[int]:
        """In thousandths, rising; of an autoencoder the bits of its quantiser times 1000."""
        if self._for_every_rate:
            return self._for_every_rate.qualities
        return tuple(THOUSAND * point for point in weight_files.available(self.model, self.folder, self.preset))

    def chosen(self, quality: int | None) -> int:
        """A quality that exists; without one 2, or the lowest that there are weights for.

        Raises:
            Unsupported: there is no such quality.
        """
        if quality is None:
            there = self.qualities
            return 2000 if 2000 in there or not there else there[0]
        weight_files.check_choice(self.model, _in_units(quality))
        return quality

    def codec(self, quality: int) -> weight_files.AnyCodec:
        """The codec of a quality; raises as `weight_files.load` does."""
        with self._lock:
            if quality not in self._codecs and self._for_every_rate:  # one is kept: there are thousands
                self._codecs = {quality: self._for_every_rate.at(quality / THOUSAND)}
            elif quality not in self._codecs:
                found = weight_files.load(self.model, _in_units(quality), self.preset, self.folder)
                self._codecs[quality] = found
            return self._codecs[quality]

    def on(self, pixels: np.ndarray, **options) -> "_OnPicture":
        """A picture, uint8 (H, W, 3), at all rates; `options` are those of `encode`."""
        return _OnPicture(self, pixels, options)


def _in_units(quality: int) -> float:
    """Thousandths as `--quality` has them, whole ones as integers."""
    return quality / THOUSAND if quality % THOUSAND else quality // THOUSAND


class _OnPicture:
    def __init__(self, rates: Rates, pixels: np.ndarray, options: dict):
        self.rates, self.pixels, self.options = rates, pixels, options

    @property
    def qualities(self) -> Sequence[int]:
        return self.rates.qualities

    def encode(self, quality: int) -> bytes:
        return self.rates.codec(quality).encode(self.pixels, **self.options)

    def psnr(self, quality: int, data: bytes) -> float:
        return metrics.psnr(self.pixels, self.rates.codec(quality).decode(data))


def largest_within(on: AtAllRates, size: int) -> bytes:
    """The file of the best quality that has at most `size` bytes, within 1 % of it if the qualities allow.

    Raises:
        Unsupported: the lowest quality has more.
    """
    files: dict[int, bytes] = {}

    def log_size(i: int) -> float:
        files[i] = on.encode(on.qualities[i])
        return math.log(len(files[i]))

    low, high = (math.log(max(1, share * size)) for share in (1 - CLOSE, 1))  # 0 bytes are too few, too
    found = _search(len(on.qualities), log_size, low, high, RISE)
    fitting = [i for i in found if len(files[i]) <= size]
    if not fitting:
        least = min(map(len, files.values()), default=0)
        raise Unsupported(f"No quality makes a file of {size:,} bytes or less; the lowest needs {least:,}.")
    return files[max(fitting)]


def smallest_reaching(on: AtAllRates, psnr: float) -> bytes:
    """The file of the lowest quality that decodes to at least `psnr` dB, within 0.05 dB if the qualities allow.

    Raises:
        Unsupported: the highest quality does not.
    """
    files: dict[int, bytes] = {}

    def measured(i: int) -> float:
        files[i] = on.encode(on.qualities[i])
        return on.psnr(on.qualities[i], files[i])

    found = _search(len(on.qualities), measured, psnr, psnr + CLOSE_PSNR, RISE_PSNR)
    reaching = [i for i, value in found.items() if value >= psnr]
    if not reaching:
        best = max(found.values(), default=0.0)
        raise Unsupported(f"No quality reaches {psnr:g} dB; the highest has {best:.2f}.")
    return files[min(reaching)]


def _search(n: int, value: Callable[[int], float], low: float, high: float, rise: float) -> dict[int, float]:
    """All that was measured of n rising values until one lay between low and high, or the two next to them are known.

    Goes where a line leads: through the values next to low and high, or of the slope of photographs, which rise so much
    from end to end. Halves every fourth time, so that a bend cannot hold it up.
    """
    measured: dict[int, float] = {}
    below, above, middle = -1, n, (n - 1) // 2
    while above - below > 1:
        found = measured[middle] = value(middle)
        if low <= found <= high:
            break
        below, above = (middle, above) if found < low else (below, middle)
        slope = rise / n
        if below >= 0 and above < n:
            slope = max((measured[above] - measured[below]) / (above - below), slope / n)  # two files may be alike
        step = ((low + high) / 2 - found) / slope if len(measured) % 4 else (below + above) / 2 - middle
        middle = round(min(max(middle + step, below + 1), above - 1))
    return measured
