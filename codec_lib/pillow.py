"""`.cbk` files for Pillow: after `import codec_lib.pillow`, `Image.open("a.cbk")` and `image.save("a.cbk", quality=2)`.

Opening reads the header alone: size and metadata are known without torch. The pixels are decoded when they are needed.
`save` takes `quality`, `model`, `preset`, `coder` and `effort` as `codec_lib.load` and `Codec.encode` do, and `exif`
and `icc_profile` to be carried; a profile that is not given is followed, and its colours become sRGB. Pillow empties a
file before it asks for the new content: where an option is refused, what was there is lost. `Codec.encode` writes none.
"""

import math
import numbers
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile

from codec_lib import colour, images, registry
from codec_lib.coding import container
from codec_lib.errors import CodecError, Truncated, Unsupported

FORMAT = "CBK"


class CbkImageFile(ImageFile.ImageFile):
    """A `.cbk` file that is decoded when its pixels are asked for."""

    format = FORMAT
    format_description = "Codecbook, learned image compression"
    _decoded = True  # of a copy that was pickled, which has its pixels

    def _open(self) -> None:
        try:
            header, lengths = container.read_header(self.fp)
            chunks = {name: self.fp.read(n) for name, n in lengths.chunks}
            if any(len(chunks[name]) < n for name, n in lengths.chunks):
                raise Truncated("The .cbk file is cut off inside its metadata.")
        except CodecError as error:
            raise SyntaxError(str(error)) from error
        self._mode, self._size = "RGB", (header.width, header.height)
        self.info |= {"model": header.model, "quality": header.quality / 1000}
        if container.EXIF in chunks:
            self.info["exif"] = b"Exif\0\0" + chunks[container.EXIF]
        if container.ICC in chunks:
            self.info["icc_profile"] = chunks[container.ICC]
        self.tile = []
        self._decoded = False

    def verify(self) -> None:
        """Check header and checksum, nothing is decoded; `OSError` with the reason if the file is damaged."""
        self._read(lambda data, file: None)

    def load(self):
        """The pixels; `OSError` with the reason if they cannot be decoded."""
        if not self._decoded:
            from codec_lib.weights import weight_files

            pixels = self._read(lambda data, file: weight_files.load_for(file).decode(data))
            self.im = Image.fromarray(pixels).im
            self._decoded = True
        return super().load()

    def _read(self, what: Callable[[bytes, container.Container], np.ndarray | None]) -> np.ndarray | None:
        """`what(data, file)` of the whole file, which is then closed."""
        if self.fp is None:
            raise ValueError("Operation on closed image")
        self.fp.seek(0)
        try:
            data = container.read(self.fp)
            result = what(data, container.unpack(data))
        except CodecError as error:
            raise OSError(str(error)) from error
        if self._exclusive_fp:
            self.fp.close()
        self.fp = None
        return result


def _accept(prefix: bytes) -> bool:
    return prefix[:8] == container.SIGNATURE


def _save(image: Image.Image, file, filename) -> None:
    from codec_lib.weights.targets import Rates

    given = {k: v for k, v in image.encoderinfo.items() if v is not None}
    exif, icc = (given.pop(name, b"") for name in ("exif", "icc_profile"))
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    if images.is_turned(image):  # `as_array` makes it upright
        exif = images.upright(exif)
    rates = Rates(given.pop("model", registry.DEFAULT_MODEL), given.pop("preset", None))
    quality = given.pop("quality", None)
    if quality is not None and not (isinstance(quality, numbers.Real) and -math.inf < quality < math.inf):
        raise Unsupported(f"There is no quality {quality!r}.")
    point = rates.chosen(None if quality is None else round(1000 * quality))
    options = {name: given[name] for name in ("coder", "effort") if given.get(name)}
    if "effort" in options and rates.model in registry.AUTOENCODERS:
        raise Unsupported(f"The model {rates.model} has nothing that effort could search for.")
    source = image
    if colour.explains(icc, image.mode):  # the samples stay as they are: the profile tells the reader of them
        source = image.copy()
        source.info.pop("icc_profile", None)
    else:
        icc = b""  # of samples that the file will not have
    chunks = container.metadata(exif, icc)
    file.write(rates.codec(point).encode(images.as_array(source), chunks=chunks, **options))


Image.register_open(FORMAT, CbkImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".cbk")
Image.register_mime(FORMAT, "image/x-cbk")
