"""A frozen model with its entropy coder <-> a `.cbk` file.

From pixels to bytes and back:

    pixels --images.pad--g_a--quantization.round_to-- symbols --entropy_coding.Writer--bitstream.pack-- bytes
    bytes --bitstream.unpack--entropy_coding.Reader-- symbols --g_s--images.crop-- pixels
"""

import hashlib
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from codec_lib import bitstream, images, models
from codec_lib.bitstream import Container
from codec_lib.datasets import ROOT
from codec_lib.densities import frozen_tables
from codec_lib.entropy_coding import Reader, Tables, Writer
from codec_lib.errors import BadData, CodecError, Corrupt, Desynchronised, Unsupported, WrongModel
from codec_lib.files import write_bytes
from codec_lib.quantization import round_to

WEIGHTS = ROOT / "data" / "weights"
PRESETS = ("paper", "compact", "tiny")
"""The order in which weights are looked for."""

FORMAT = "1"
"""Of weight files."""


def check_choice(model: str, quality: int) -> None:
    """Refuse models and qualities that do not exist.

    Raises:
        Unsupported: with the possible choices.
    """
    if model not in models.MODELS:
        raise Unsupported(f"There is no model '{model}'; choose from {', '.join(models.MODELS)}.")
    if quality not in range(1, len(models.LMBDAS) + 1):
        raise Unsupported(f"There is no quality {quality}; choose from 1 to {len(models.LMBDAS)}.")


@final
@dataclass(frozen=True)
class Codec:
    """A frozen factorized-prior model: it encodes and decodes, and cannot be trained.

    Attributes:
        network: the model in evaluation mode, its weights rounded to what is stored.
        tables: the integer tables of each stream.
        preset, lmbda: what it was trained as.
        digest: SHA-256 of weights and tables, 32 bytes.
    """

    network: nn.Module
    tables: dict[str, Tables]
    preset: str
    lmbda: float
    digest: bytes

    @property
    def model(self) -> str:
        """The model's public name."""
        return self.network.name

    @property
    def quality(self) -> int:
        """The rate point, 1 to 4, nearest to its lmbda."""
        return models.quality_of(self.lmbda)

    def encode(self, image: Image.Image | np.ndarray, coder: str = "constriction") -> bytes:
        """A picture as the bytes of a `.cbk` file.

        Args:
            image: PIL.Image of any mode, or uint8 (H, W, 3).
            coder: a name of `entropy_coding.CODERS`.

        Raises:
            BadImage, TooLarge: the picture cannot be handled.
            Unsupported: no such coder here.
            BadData: the weights lead to numbers that are no symbols.
        """
        pixels = images.as_array(image)
        return self.write_symbols(self.analyse(pixels), *pixels.shape[:2], coder)

    def decode(self, data: bytes) -> np.ndarray:
        """The picture of a `.cbk` file that these weights wrote, uint8 (H, W, 3).

        Raises:
            Truncated, Corrupt, Unsupported, TooLarge: the file is not sound.
            WrongModel: other weights wrote it.
            Desynchronised: the symbols came out different from those that went in.
        """
        container = bitstream.unpack(data)
        symbols = self.read_symbols(container)
        y_hat = round_to(torch.from_numpy(symbols).float()[None])[1]
        return self._synthesise(y_hat, container.height, container.width)

    def analyse(self, pixels: np.ndarray) -> np.ndarray:
        """The symbols of a picture, uint8 (H, W, 3) -> int32 (M, ceil(H / 16), ceil(W / 16))."""
        with torch.inference_mode():
            symbols, _ = round_to(self.network.g_a(self._input(pixels)).float())
        if not (symbols.abs() < 2**31).all():  # not a number, either
            raise BadData(f"The weights of {self.model} turn this picture into numbers that no file can hold.")
        return symbols[0].cpu().numpy().astype(np.int32)

    def write_symbols(self, symbols: np.ndarray, height: int, width: int, coder: str = "constriction") -> bytes:
        """The file of symbols, int32 (M, h, w), of a picture of height x width; raises as `encode` does."""
        if symbols.shape != self._shape(height, width):
            raise ValueError(f"need symbols of shape {self._shape(height, width)}, got {symbols.shape}")
        writer = Writer(self.tables["y"], coder)
        writer.put(symbols.ravel(), _channel_index(symbols.shape))
        return bitstream.pack(
            Container(
                self.model, self.quality, coder, self.digest[:8], height, width, _crc(symbols), (writer.finish(),)
            )
        )

    def read_symbols(self, container: Container) -> np.ndarray:
        """The symbols of a file, int32 (M, h, w), checked; raises as `decode` does."""
        if container.weights != self.digest[:8]:
            raise WrongModel(
                f"The file was written by other weights ({container.weights.hex()}) of the model {container.model} "
                f"than those at hand ({self.digest[:8].hex()})."
            )
        if len(container.streams) != 1:
            raise Unsupported(f"The file has {len(container.streams)} streams where {self.model} writes 1.")
        tables, stream = self.tables["y"], container.streams[0]
        shape = self._shape(container.height, container.width)
        least = tables.least_bits.sum() * shape[1] * shape[2]
        if 8 * len(stream) + 64 < least:  # before memory is taken for a size that cannot be
            raise Corrupt(
                f"The stream of the file is too short for a picture of {container.width}x{container.height}: "
                f"{len(stream):,} bytes, where {int(least / 8):,} are the least possible."
            )
        reader = Reader(tables, container.coder, stream)
        symbols = reader.get(_channel_index(shape)).reshape(shape)
        reader.finish()
        if _crc(symbols) != container.symbols_crc:
            raise Desynchronised("The symbols decoded from the file are not those that were encoded.")
        return symbols

    def predict(self, image: Image.Image | np.ndarray) -> tuple[np.ndarray, float]:
        """What the model itself says of a picture: its reconstruction, uint8 (H, W, 3), and its estimate of the bits.

        Nothing is written; a file must give the same pixels and nearly these bits.
        """
        pixels = images.as_array(image)
        with torch.inference_mode():
            prediction = self.network(self._input(pixels))
        x_hat = images.crop(prediction.x_hat, *pixels.shape[:2])
        return images.to_pixels(x_hat), float(sum(b.double().sum() for b in prediction.bits.values()))

    def save(self, path: str | Path) -> None:
        """Write weights and tables as safetensors."""
        tensors = _stored_weights(self.network) | _stored_tables(self.tables)
        described = {"model": self.model, "preset": self.preset, "lmbda": repr(self.lmbda), "format": FORMAT}
        write_bytes(path, safetensors_bytes(tensors, described))

    def _shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(M, h, w) of the latent of a picture."""
        step = self.network.downscale
        return self.network.size.M, -(-height // step), -(-width // step)

    def _input(self, pixels: np.ndarray) -> Tensor:
        images.check_size(*pixels.shape[:2])
        x = images.pad(images.to_tensor(pixels), self.network.downscale)
        device = next(self.network.parameters()).device
        return x.to(device, memory_format=torch.channels_last)

    def _synthesise(self, y_hat: Tensor, height: int, width: int) -> np.ndarray:
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            x_hat = self.network.g_s(y_hat.to(device, memory_format=torch.channels_last))
        return images.to_pixels(images.crop(x_hat, height, width))


def _channel_index(shape: tuple[int, int, int]) -> np.ndarray:
    return np.repeat(np.arange(shape[0]), shape[1] * shape[2])


def _crc(symbols: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(symbols, "<i4").tobytes())


def freeze(model: nn.Module, preset: str, lmbda: float) -> Codec:
    """Turn a trained model into a codec: weights rounded to half precision, integer tables made.

    The densities stay in float32; the decoder does not use them.

    Raises:
        BadData: a weight is not finite, or too large for half precision.
    """
    network = type(model)(model.size)
    network.load_state_dict({name: t.float() for name, t in _stored_weights(model).items()})
    tables = {"y": frozen_tables(network.density_y)}
    return _assemble(network, tables, preset, lmbda)


def _assemble(network: nn.Module, tables: dict[str, Tables], preset: str, lmbda: float) -> Codec:
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    digest = hashlib.sha256(json.dumps([network.name, preset, lmbda]).encode())
    for name, tensor in sorted((_stored_weights(network) | _stored_tables(tables)).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.numpy().tobytes())
    return Codec(network, tables, preset, lmbda, digest.digest())


def _stored_weights(network: nn.Module) -> dict[str, Tensor]:
    def stored(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu().to(torch.float32 if name.startswith("density") else torch.float16).contiguous()
        if not tensor.isfinite().all():
            raise BadData(f"The weights {name} hold numbers that are not finite or too large for half precision.")
        return tensor

    return {name: stored(name, tensor) for name, tensor in network.state_dict().items()}


def _stored_tables(tables: dict[str, Tables]) -> dict[str, Tensor]:
    return {
        f"tables.{stream}.{part}": torch.from_numpy(getattr(t, part))
        for stream, t in tables.items()
        for part in ("widths", "offsets", "frequencies")
    }


def weights_path(model: str, preset: str, quality: int, folder: Path = WEIGHTS) -> Path:
    """Where the weights of a codec lie."""
    return folder / f"{model}-{preset}-q{quality}.safetensors"


def read(path: str | Path) -> Codec:
    """A codec from a file that `Codec.save` wrote.

    Raises:
        BadData: the file is missing or damaged, or not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadData(f"The weights {path} cannot be read: {error}.") from error
    try:
        lmbda = float(described["lmbda"])
        if described["format"] != FORMAT or not 0 < lmbda < math.inf:
            raise ValueError("another format, or no rate point")
        network = models.make(described["model"], described["preset"], lmbda)
        weights = {name: t.float() for name, t in tensors.items() if not name.startswith("tables.")}
        network.load_state_dict(weights)
        parts = ("widths", "offsets", "frequencies")
        tables = {"y": Tables(*(tensors[f"tables.y.{part}"].numpy() for part in parts))}
        if len(tables["y"].widths) != network.size.M:
            raise ValueError("a table for each channel is needed")
    except (CodecError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise BadData(f"The weights {path} are not those of a codec of this version.") from error
    return _assemble(network, tables, described["preset"], lmbda)


def load(model: str, quality: int, preset: str | None = None, folder: str | Path = WEIGHTS) -> Codec:
    """The codec of a model at a rate point.

    Args:
        model: a name of `models.MODELS`.
        quality: 1 to 4, for `models.LMBDAS`.
        preset: sizes of the networks; by default the first of `PRESETS` that has weights.
        folder: where the weights lie.

    Raises:
        Unsupported: no such model, quality or preset.
        BadData: no weights for it, or they are damaged.
    """
    check_choice(model, quality)
    if preset is not None:
        models.preset(preset, models.LMBDAS[quality - 1])  # refuses unknown names
    folder = Path(folder)
    for name in [preset] if preset else PRESETS:
        path = weights_path(model, name, quality, folder)
        if path.is_file():
            codec = read(path)
            if (codec.model, codec.preset, codec.quality) != (model, name, quality):
                raise BadData(
                    f"The weights {path} are not what their name says, but {codec.model} in the preset {codec.preset} "
                    f"at quality {codec.quality}."
                )
            return codec
    there = sorted(p.stem for p in folder.glob("*.safetensors"))
    what = f"{model} at quality {quality}" + (f" in the preset {preset}" if preset else "")
    raise BadData(f"There are no weights for {what} in {folder}; there are: {', '.join(there) or 'none'}.")


def load_for(container: Container, folder: str | Path = WEIGHTS) -> Codec:
    """The codec that wrote a file, found by its weights' checksum.

    Raises:
        WrongModel: no weights at hand wrote it.
        BadData: there are none for its model and quality.
    """
    found = [p for p in PRESETS if weights_path(container.model, p, container.quality, Path(folder)).is_file()]
    for preset in found:
        codec = load(container.model, container.quality, preset, folder)
        if codec.digest[:8] == container.weights:
            return codec
    if not found:
        load(container.model, container.quality, None, folder)  # says what is missing
    raise WrongModel(
        f"The file was written by weights {container.weights.hex()} of {container.model} at quality "
        f"{container.quality}, which are not in {folder}."
    )
