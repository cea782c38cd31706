"""A frozen autoencoder with a lossless compressor <-> a `.cbk` file.

pixels --images.pad--g_a, quantise-- symbols --symbol_streams-- stream --container.pack-- bytes
bytes --container.unpack-- stream --symbol_streams-- symbols --dequantise, g_s--images.crop-- pixels
"""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec_lib import images, limits
from codec_lib.codecs import tiles
from codec_lib.codecs.weight_rounding import digest_of, restore, round_weights
from codec_lib.coding import symbol_streams
from codec_lib.coding.compressor import checked_symbols
from codec_lib.coding.container import Container, check_seal, check_weights, pack, seal, unpack
from codec_lib.errors import BadData, Unsupported
from codec_lib.networks import autoencoders
from codec_lib.networks.autoencoders import Autoencoder, order_0_bits

CODERS = ("adaptive", "huffman", "huffman-file")
"""Lossless coders of files; `huffman` has its table in the stream, `huffman-file` in a file beside it."""


@final
@dataclass(frozen=True, eq=False)
class AutoencoderCodec:
    """A frozen autoencoder: it encodes and decodes, and cannot be trained.

    Attributes:
        network: in evaluation mode, its weights rounded to what is stored.
        preset: its sizes.
        tensors: all that its weight file holds.
        digest: SHA-256 of the weights, 32 bytes.
    """

    network: Autoencoder
    preset: str
    tensors: dict[str, Tensor]
    digest: bytes

    def __repr__(self) -> str:  # all the weights would be 15,000 lines
        return f"<{type(self).__name__} {self.model}, preset {self.preset}, {self.network.B} bits>"

    @property
    def model(self) -> str:
        """The model's public name."""
        return self.network.name

    @property
    def quality(self) -> int:
        """B, the bits of its quantiser."""
        return self.network.B

    @property
    def rate_point(self) -> dict[str, float]:
        """What tells this codec from others of its model."""
        return {"B": self.network.B}

    @property
    def coders(self) -> tuple[str, ...]:
        """The lossless coders whose files stand alone, the default first."""
        return CODERS[:2]

    def encode(
        self, image: Image.Image | np.ndarray, coder: str = "adaptive", state: Path | None = None,
        chunks: tuple[tuple[str, bytes], ...] = (),
    ) -> bytes:  # fmt: skip
        """A picture as the bytes of a `.cbk` file.

        Args:
            image: PIL.Image of any mode, or uint8 (H, W, 3).
            coder: a name of `CODERS`.
            state: the file that the coder `huffman-file` writes its table to, JSON.
            chunks: metadata for the file to carry, as `Container` has them.

        Raises:
            BadImage, TooLarge: the picture cannot be handled.
            Unsupported: no such coder.
            BadData: the weights lead to numbers that are no symbols.
        """
        pixels = images.as_array(image)
        return self.write_latents(*self.latents(pixels), *pixels.shape[:2], coder, state, chunks)

    def write_latents(
        self, symbols: np.ndarray, height: int, width: int, coder: str = "adaptive", state: Path | None = None,
        chunks: tuple[tuple[str, bytes], ...] = (),
    ) -> bytes:  # fmt: skip
        """The file of the symbols of a picture of height x width; the rest as in `encode`."""
        if coder == "huffman-file":
            compressor = symbol_streams.Huffman.from_sequence(symbols.ravel(), self._alphabet)
            compressor.save(_needed(state))
            stream = compressor.encode(symbols.ravel())
        else:
            stream = symbol_streams.pack(coder, symbols.ravel(), self._alphabet)
        quality = 1000 * self.quality
        written = Container(self.model, quality, coder, self.digest[:8], height, width, (stream,), chunks=chunks)
        return pack(seal(written, symbols))

    def decode(self, data: bytes, state: Path | None = None) -> np.ndarray:
        """The picture of a `.cbk` file that these weights wrote, uint8 (H, W, 3).

        Raises:
            Truncated, Corrupt, Unsupported, TooLarge: the file is not sound.
            WrongModel: other weights wrote it.
            Desynchronised: the symbols came out different from those that went in.
            BadData: the table of `huffman-file` is missing or damaged.
        """
        container = unpack(data)
        return self.synthesise(self.read_symbols(container, state), container.height, container.width)

    def latents(self, pixels: np.ndarray) -> tuple[np.ndarray]:
        """All that is written of a picture, uint8 (H, W, 3): its symbols."""
        return (self.analyse(pixels),)

    def analyse(self, pixels: np.ndarray) -> np.ndarray:
        """The symbols of a picture, uint8 (H, W, 3) -> int32 (C, h, w), 0..2^B."""
        limits.check_size(*pixels.shape[:2])
        net = self.network
        margin, _ = net.margins
        symbols = tiles.analyse(
            lambda x: net.quantise(net.encode(x)), pixels, net.downscale, self._device(), overlap=margin
        )
        if not symbols.isfinite().all():
            raise BadData(f"The weights of {self.model} turn this picture into numbers that no file can hold.")
        return symbols.to(torch.int32).contiguous().numpy()

    def read_symbols(self, container: Container, state: Path | None = None) -> np.ndarray:
        """The symbols of a file, checked; raises as `decode` does."""
        check_weights(container, self.digest)
        if len(container.streams) != 1:
            raise Unsupported(f"The file has {len(container.streams)} streams where {self.model} writes 1.")
        step = self.network.downscale
        shape = (self.network.size.C, -(-container.height // step), -(-container.width // step))
        count = int(np.prod(shape))
        if container.coder == "huffman-file":
            compressor = symbol_streams.Huffman.from_file(_needed(state))
            flat = compressor.decode(container.streams[0], count)
            checked_symbols(flat, self._alphabet)
        else:
            flat = symbol_streams.unpack(container.coder, container.streams[0], self._alphabet, count)
        symbols = flat.reshape(shape)
        check_seal(container, symbols)
        return symbols

    read = read_symbols  # which are what `synthesise` takes

    def estimate(self, image: Image.Image | np.ndarray) -> tuple[np.ndarray, float]:
        """The reconstruction without a file, uint8 (H, W, 3), and the order-0 entropy of all symbols in bits."""
        pixels = images.as_array(image)
        symbols, bits = self.expect(self.analyse(pixels))
        return self.synthesise(symbols, *pixels.shape[:2]), bits

    def expect(self, symbols: np.ndarray) -> tuple[np.ndarray, float]:
        """The same of symbols, which come back as they are."""
        return symbols, order_0_bits(torch.from_numpy(symbols)[None]).item()

    @property
    def _alphabet(self) -> int:
        return 2**self.network.B + 1

    def synthesise(self, symbols: np.ndarray, height: int, width: int) -> np.ndarray:
        """The picture, uint8 (height, width, 3), of symbols (C, h, w)."""
        net = self.network
        _, margin = net.margins
        return tiles.synthesise(
            lambda part: net.decode(net.dequantise(part)), torch.from_numpy(symbols)[None], (height, width),
            net.downscale, self._device(), overlap=margin,
        )  # fmt: skip

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device


def _needed(state: Path | None) -> Path:
    if state is None:
        raise BadData("The Huffman table of this file lies in a file of its own; name it with --state FILE.json.")
    return state


def freeze(model: Autoencoder, preset: str, lmbda: float | None = None) -> AutoencoderCodec:
    """Turn a trained autoencoder into a codec: its weights rounded to what is stored; lmbda is not, the rate is fixed.

    Raises:
        BadData: a weight is not finite, or too large for half precision.
    """
    stored = round_weights(model)
    return assemble(restore(autoencoders.make(model.name, preset, model.B), stored), stored, preset)


def assemble(network: Autoencoder, stored: dict[str, Tensor], preset: str) -> AutoencoderCodec:
    """A codec of a network whose weights are those `stored`, the tensors of a weight file."""
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return AutoencoderCodec(network, preset, stored, digest_of([network.name, preset, network.B], stored))


def from_tensors(described: dict[str, str], tensors: dict[str, Tensor]) -> AutoencoderCodec:
    """The codec that a weight file describes; errors of many kinds where it does not."""
    network = autoencoders.make(described["model"], described["preset"], int(described["B"]))
    return assemble(restore(network, tensors), tensors, described["preset"])


def rate_points() -> tuple[int, ...]:
    """The bits of the quantisers."""
    return autoencoders.BITS


def in_words(bits: int) -> str:
    """What a weight file is for."""
    return f"with {bits} bits"


check_point, check_preset = autoencoders.check_bits, autoencoders.check_preset
