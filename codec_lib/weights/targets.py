"""A picture at every quality that a model has, and the file that meets a size or a PSNR.

    rates = Rates("hyperprior")                          a codec for each rate point, or one for every rate
    on = rates.on(pixels)                                this picture at all of them
    data = largest_within(on, 60_000)                    or on.encode(2000), or smallest_reaching(on, 35.0)

The searches know of a picture what `OnPicture` tells, whatever the model.
"""

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codec_lib import metrics, registry
from codec_lib.errors import Unsupported
from codec_lib.places import WEIGHTS
from codec_lib.rates import THOUSAND, in_units
from codec_lib.weights import weight_files

CLOSE = 0.01
"""A file is taken once it has at least 1 - CLOSE of the size allowed."""
CLOSE_PSNR = 0.05
"""... or at most so many dB more than asked for."""
FEW = 4
"""So many rates are all tried."""
RISE, RISE_PSNR = 1.6, 8.5
"""From the lowest quality to the highest, on Kodak: of the logarithm of the size, and dB."""


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
        having = (p for p in presets if weight_files.path_of(self.model, p, None, self.folder).is_file())
        return next((weight_files.read_as(self.model, p, None, self.folder) for p in having), None)

    @property
    def qualities(self) -> Sequence[int]:
        """In thousandths, rising; of an autoencoder the bits of its quantiser times 1000."""
        if self._for_every_rate:
            return self._for_every_rate.qualities
        return tuple(THOUSAND * point for point in weight_files.available(self.model, self.folder, self.preset))

    def chosen(self, quality: int | None) -> int:
        """A quality, `Unsupported` if there is none such; without one 2, or the lowest that there are weights for."""
        if quality is None:
            there = self.qualities
            return 2000 if 2000 in there or not there else there[0]
        registry.entry(self.model).load_codec().check_point(self.model, in_units(quality))
        return quality

    def codec(self, quality: int) -> weight_files.AnyCodec:
        """The codec of a quality; raises as `weight_files.load` does."""
        with self._lock:
            whole = self._for_every_rate
            if quality in self._codecs:
                pass
            elif whole and quality in whole.qualities:  # one is kept: there are thousands
                self._codecs = {quality: whole.at(quality / THOUSAND)}
            else:
                self._codecs[quality] = weight_files.load(self.model, in_units(quality), self.preset, self.folder)
            return self._codecs[quality]

    def on(self, pixels: np.ndarray, **options) -> "OnPicture":
        """A picture, uint8 (H, W, 3), at all rates; `options` are those of `encode`. `BadData` without weights."""
        if not self.qualities:
            self.codec(self.chosen(None))  # says what is missing
        return OnPicture(self, pixels, options)


@dataclass(frozen=True)
class OnPicture:
    """One picture, uint8 (H, W, 3), at all rates; `options` are those of `encode`."""

    rates: Rates
    pixels: np.ndarray
    options: dict

    @property
    def qualities(self) -> Sequence[int]:
        """In thousandths, rising."""
        return self.rates.qualities

    def encode(self, quality: int) -> bytes:
        """Its file."""
        return self.rates.codec(quality).encode(self.pixels, **self.options)

    def psnr(self, quality: int, data: bytes) -> float:
        """Of what its file decodes to, dB."""
        return metrics.psnr(self.pixels, self.rates.codec(quality).decode(data))


def largest_within(on: OnPicture, size: int) -> bytes:
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
    return files[max(fitting, key=lambda i: len(files[i]))]


def smallest_reaching(on: OnPicture, psnr: float) -> bytes:
    """The file of the lowest quality that decodes to at least `psnr` dB, within 0.05 dB if the qualities allow.

    Raises:
        Unsupported: the highest quality does not.
    """
    files: dict[int, bytes] = {}

    def measured(i: int) -> float:
        files[i] = on.encode(on.qualities[i])
        return min(on.psnr(on.qualities[i], files[i]), psnr + RISE_PSNR)  # infinite where nothing differs

    found = _search(len(on.qualities), measured, psnr, psnr + CLOSE_PSNR, RISE_PSNR)
    reaching = [i for i, value in found.items() if value >= psnr]
    if not reaching:
        best = max(found.values(), default=0.0)
        raise Unsupported(f"No quality reaches {psnr:g} dB; the highest has {best:.2f}.")
    return files[min(reaching, key=lambda i: len(files[i]))]


def _search(n: int, value: Callable[[int], float], low: float, high: float, rise: float) -> dict[int, float]:
    """All that was measured of n rising values until one lay between low and high, or the two next to them are known.

    A few are all measured: those of an autoencoder need not rise with its bits.

    Goes where a line leads: through the values next to low and high, or of the slope of photographs, which rise so much
    from end to end. Halves every fourth time, so that a bend cannot hold it up.
    """
    if n <= FEW:
        return {i: value(i) for i in range(n)}
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
