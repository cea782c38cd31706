"""A frozen model with its entropy coder <-> a `.cbk` file.

From pixels to bytes and back:

    pixels --tiles.analyse: g_a-- y --h_a--quantization.round_to-- z     (a factorized prior has no z)
    z, y --walk: exact prediction, round_to, streams.write-- streams --container.pack-- bytes
    bytes --container.unpack-- streams --walk: exact prediction, streams.read-- y_hat
    y_hat --tiles.synthesise: g_s-- pixels
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from codec_lib import images, limits, metrics
from codec_lib.codecs import streams, tiles
from codec_lib.codecs.search import Latents, check_effort, search
from codec_lib.codecs.streams import Code, Symbols, given, rows_of
from codec_lib.coding.container import Container, check_seal, check_weights, pack, seal, unpack
from codec_lib.coding.integer_networks import from_grid, plus
from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.order import Order
from codec_lib.coding.range_coding import CODERS
from codec_lib.errors import BadData, Unsupported
from codec_lib.networks.priors.base import ExactPrior, Group, Prior
from codec_lib.networks.quantization import round_to
from codec_lib.rates import THOUSAND, in_units, loss


@final
@dataclass(frozen=True, eq=False)
class Codec:
    """A frozen model: it encodes and decodes, and cannot be trained.

    Attributes:
        network: the model in evaluation mode, its weights rounded to what is stored.
        prior: what of it encoder and decoder compute exactly.
        tables: the integer tables of each stream, in the order of the file.
        preset, lmbda: what it was trained as.
        tensors: all that its weight file holds.
        digest: SHA-256 of weights and tables, 32 bytes.
        thousandths: of quality, as files tell it.
    """

    network: Prior
    prior: ExactPrior
    tables: dict[str, Tables]
    preset: str
    lmbda: float
    tensors: dict[str, Tensor]
    digest: bytes
    thousandths: int

    def __repr__(self) -> str:  # all the weights would be 15,000 lines
        return f"<{type(self).__name__} {self.model}, preset {self.preset}, quality {self.quality:g}>"

    @property
    def model(self) -> str:
        """The model's public name."""
        return self.network.name

    @property
    def quality(self) -> float:
        """1 to 4 for the rate points of the reports, 0 to 5 of a model for every rate; whole ones are integers."""
        return in_units(self.thousandths)

    @property
    def rate_point(self) -> dict[str, float]:
        """What tells this codec from others of its model."""
        return {"lmbda": self.lmbda}

    @property
    def coders(self) -> tuple[str, ...]:
        """The entropy coders that it can use, the default first."""
        return tuple(name for name in CODERS if name != "torchac" or not self.network.order.many)

    def with_order(self, other: Order) -> "Codec":
        """The same weights and tables, with y coded in another order of the same context.

        Only it decodes its files: the symbols are the same, but not their sequence.

        Raises:
            Unsupported: positions of that order look at other neighbours.
        """
        if other.mask != self.network.order.mask:
            raise Unsupported(f"The {self.model} model was trained with another context than that of {other.name}.")
        network, prior = copy.copy(self.network), copy.copy(self.prior)
        network.order = prior.order = other
        return replace(self, network=network, prior=prior)

    def encode(
        self, image: Image.Image | np.ndarray, coder: str = "constriction", effort: int = 0,
        chunks: tuple[tuple[str, bytes], ...] = (), progress: bool = False,
    ) -> bytes:  # fmt: skip
        """A picture as the bytes of a `.cbk` file.

        Args:
            image: PIL.Image of any mode, or uint8 (H, W, 3).
            coder: a name of `range_coding.CODERS`.
            effort: 0 to 9, how long to search for a better file of this picture; each doubles the time from 1 on.
            chunks: metadata for the file to carry, as `Container` has them.
            progress: show bars while searching, and while a large picture is worked on.

        Raises:
            BadImage, TooLarge: the picture cannot be handled.
            Unsupported: no such effort, no such coder here, or not for this model.
            BadData: the weights lead to numbers that are no symbols.
        """
        *_, data = self.efforts(image, coder, effort, chunks, progress)
        return data

    def efforts(
        self, image: Image.Image | np.ndarray, coder: str, last: int,
        chunks: tuple[tuple[str, bytes], ...] = (), progress: bool = False,
    ) -> Iterator[bytes]:  # fmt: skip
        """The files of efforts 0 to `last`, each when it is found; otherwise as `encode`."""
        check_effort(last)
        pixels = images.as_array(image)
        latents = self.latents(pixels, progress)

        def candidate(latents: Latents) -> tuple[float, bytes]:
            data = self.write_latents(*latents, *pixels.shape[:2], coder, chunks)
            return self.loss(data, pixels), data

        if last == 0:  # there is nothing to compare, and y is not needed again: symbols may take its place
            room = rows_of(latents.y).view(torch.int32)
            yield self.write_latents(*latents, *pixels.shape[:2], coder, chunks, progress, room)
        else:
            yield from search(self.network, self.lmbda, pixels, latents, candidate, last, progress)

    def loss(self, data: bytes, pixels: np.ndarray) -> float:
        """lmbda 255^2 MSE + bit/pixel of a picture's file, as it decodes: what training and search make small."""
        return loss(self.lmbda, metrics.bpp(len(data), pixels), metrics.mse(self.decode(data), pixels) / 255**2)

    def decode(self, data: bytes, progress: bool = False) -> np.ndarray:
        """The picture of a `.cbk` file that these weights wrote, uint8 (H, W, 3).

        Raises:
            Truncated, Corrupt, Unsupported, TooLarge: the file is not sound.
            WrongModel: other weights wrote it.
            Desynchronised: the symbols came out different from those that went in.
        """
        container = unpack(data)
        return self.synthesise(self.read(container, progress), container.height, container.width, progress)

    def analyse(self, pixels: np.ndarray) -> Symbols:
        """The symbols of a picture, uint8 (H, W, 3)."""
        y, z = self.latents(pixels)
        return self.walk(self.rounded(z), *y.shape[1:], self.rounding(y))[0]

    def write_latents(
        self, y: Tensor, z: Tensor | None, height: int, width: int, coder: str = "constriction",
        chunks: tuple[tuple[str, bytes], ...] = (), progress: bool = False, room: Tensor | None = None,
    ) -> bytes:  # fmt: skip
        """The file of latents before rounding, as `Latents` has them, of a picture of height x width.

        `room` as in `walk`, the others and the errors as in `encode`.
        """
        return self._write(self.rounded(z), self.rounding(y), height, width, coder, chunks, progress, room)

    def write_symbols(self, symbols: Symbols, height: int, width: int, coder: str = "constriction") -> bytes:
        """The file of given symbols of a picture of height x width; raises as `encode` does."""
        shapes = {stream: values.shape for stream, values in symbols.items()}
        if shapes != self._shapes(height, width):
            raise ValueError(f"need symbols of the shapes {self._shapes(height, width)}, got {shapes}")
        return self._write(symbols.get("z"), given(symbols["y"]), height, width, coder)

    def read(self, container: Container, progress: bool = False) -> Tensor:
        """y_hat of a file, float32 (1, M, h, w); raises as `decode` does."""
        return self._read(container, progress)[1]  # the symbols are not kept

    def read_symbols(self, container: Container) -> Symbols:
        """The symbols of a file, checked; raises as `decode` does."""
        return self._read(container)[0]

    def estimate(self, image: Image.Image | np.ndarray) -> tuple[np.ndarray, float]:
        """What the model itself says of a picture: its reconstruction, uint8 (H, W, 3), and its estimate of the bits.

        Nothing is written; a file must give the same pixels and nearly these bits.
        """
        pixels = images.as_array(image)
        y_hat, bits = self.expect(*self.latents(pixels))
        return self.synthesise(y_hat, *pixels.shape[:2]), bits

    def expect(self, y: Tensor, z: Tensor | None) -> tuple[Tensor, float]:
        """The same of latents before rounding: y_hat, float32 (1, M, h, w), and the estimate of the bits."""
        return self._expect(self.rounded(z), *y.shape[1:], self.rounding(y))

    def expect_symbols(self, symbols: Symbols) -> tuple[Tensor, float]:
        """The same of given symbols, say of a file that was searched for."""
        return self._expect(symbols.get("z"), *symbols["y"].shape[1:], given(symbols["y"]))

    def _expect(self, z: np.ndarray | None, h: int, w: int, choose: Code) -> tuple[Tensor, float]:
        bits = []

        def count(group: Group, mean: Tensor, index: Tensor) -> Tensor:
            symbols = choose(group, mean, index)
            bits.append(float(self.prior.bits(symbols, index).sum()))
            return symbols

        with torch.inference_mode():
            _, y_hat = self.walk(z, h, w, count)
            if z is not None:
                z = torch.from_numpy(z).float()[None].to(self._device())
                bits.append(self.network.bits_z(z).item())
        return y_hat, sum(bits)

    # --- pixels <-> latents ---

    def latents(self, pixels: np.ndarray, progress: bool = False) -> Latents:
        """What g_a and h_a make of a picture, uint8 (H, W, 3)."""
        limits.check_size(*pixels.shape[:2])
        y = tiles.analyse(self.network.g_a, pixels, self.network.downscale, self._device(), progress)
        if "z" not in self.tables:
            return Latents(y, None)
        return Latents(y, tiles.hyper_analyse(self.network.side_latent, y, self._device()))

    def rounded(self, z: Tensor | None) -> np.ndarray | None:
        """The symbols of z, if there is one."""
        return None if z is None else self._checked(round_to(z)[0]).numpy().astype(np.int32)

    def synthesise(self, y_hat: Tensor, height: int, width: int, progress: bool = False) -> np.ndarray:
        """The picture, uint8 (height, width, 3), of a latent as a decoder has it, (1, M, h, w)."""
        size = height, width
        return tiles.synthesise(self.network.g_s, y_hat, size, self.network.downscale, self._device(), progress)

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _shapes(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) of each stream of a picture's file."""
        h, w = -(-height // self.network.downscale), -(-width // self.network.downscale)
        return self.network.shapes(h, w)

    # --- latents <-> bytes ---

    def walk(
        self, z: np.ndarray | None, h: int, w: int, code: Code, progress: bool = False, room: Tensor | None = None
    ) -> tuple[Symbols, Tensor]:  # fmt: skip
        """Go over the groups of y; all that encoder and decoder differ in is `code`.

        Args:
            z: the symbols of z, if the model has one.
            code: gives the symbols of each group.
            progress: show a bar.
            room: where to put the symbols of y, int32 (h w, M), each just after its call of `code`.

        Returns:
            All symbols, and y_hat, float32 (1, M, h, w), as g_s sees it.
        """
        psi = self.prior.side_information(None if z is None else torch.from_numpy(z), h, w)
        tiles.give_memory_back(h, w)
        symbols = torch.empty(h * w, self.network.size.M, dtype=torch.int32) if room is None else room

        def visit(group: Group, mean: Tensor, index: Tensor) -> Tensor:
            values = code(group, from_grid(mean), index)
            symbols[group] = values.to(torch.int32)
            bar.update(values.numel())
            return plus(mean, values)

        with tqdm(total=symbols.numel(), desc="symbols", leave=False, disable=not progress, unit_scale=True) as bar:
            y_hat = self.prior.walk(psi, h, w, visit)
        del psi  # of a large picture half a gigabyte, like each of these
        tiles.give_memory_back(h, w)
        y = symbols.T.view(-1, h, w).numpy()
        return ({} if z is None else {"z": z}) | {"y": y}, y_hat.float().mul_(from_grid(1.0))

    def rounding(self, y: Tensor) -> Code:
        """What an encoder makes of a latent, float32 (M, h, w), on the walk."""
        rows = rows_of(y)
        return lambda group, mean, index: self._checked(round_to(rows[group].double(), mean)[0])

    def _checked(self, symbols: Tensor) -> Tensor:
        if not (symbols.abs() < 2**31).all():  # not a number, either
            raise BadData(f"The weights of {self.model} turn this picture into numbers that no file can hold.")
        return symbols

    def _write(
        self, z: np.ndarray | None, choose: Code, height: int, width: int, coder: str,
        chunks: tuple[tuple[str, bytes], ...] = (), progress: bool = False, room: Tensor | None = None,
    ) -> bytes:  # fmt: skip
        self._check_coder(coder)
        h, w = self._shapes(height, width)["y"][1:]
        written, symbols = streams.write(
            self.tables, coder, z, choose, lambda code: self.walk(z, h, w, code, progress, room)
        )
        digest = self.digest[:8]
        container = Container(self.model, self.thousandths, coder, digest, height, width, written, chunks=chunks)
        return pack(seal(container, *symbols.values()))

    def _read(self, container: Container, progress: bool = False) -> tuple[Symbols, Tensor]:
        self._check_container(container)
        if container.version == 1:  # its groups were coded whole
            reading = self.with_order(replace(self.network.order, portion=limits.max_pixels()))
        else:
            reading = self
        shapes = self._shapes(container.height, container.width)
        symbols, y_hat = streams.read(
            self.tables, container.coder, container.streams, shapes,
            lambda z, code: reading.walk(z, *shapes["y"][1:], code, progress),
        )  # fmt: skip
        check_seal(container, *symbols.values())
        return symbols, y_hat

    def _check_container(self, container: Container) -> None:
        """Refuse, before memory is taken, files of other weights or rates and streams too short for their picture."""
        check_weights(container, self.digest)
        if container.quality != self.thousandths:
            raise Unsupported(
                f"The file has quality {container.quality / THOUSAND:g}; this codec is one of quality {self.quality:g}."
            )
        if len(container.streams) != len(self.tables):
            raise Unsupported(
                f"The file has {len(container.streams)} streams where {self.model} writes {len(self.tables)}."
            )
        self._check_coder(container.coder)
        streams.check_lengths(self.tables, container, self._shapes(container.height, container.width))

    def _check_coder(self, coder: str) -> None:
        if coder in CODERS and coder not in self.coders:
            raise Unsupported(
                f"The coder torchac keeps no state between groups, so it cannot code the {self.model} model; "
                "use --coder constriction."
            )
