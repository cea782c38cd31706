"""Weight files: a frozen codec <-> safetensors, and finding the one that is wanted."""

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from codec_lib import autoencoder_codec, autoencoders, codec, models
from codec_lib.autoencoder_codec import AutoencoderCodec
from codec_lib.autoencoders import AUTOENCODERS
from codec_lib.bitstream import Container
from codec_lib.codec import Codec
from codec_lib.datasets import ROOT
from codec_lib.densities import SCALES
from codec_lib.entropy_coding import Tables
from codec_lib.errors import BadData, CodecError, Unsupported, WrongModel
from codec_lib.files import write_bytes
from codec_lib.stored import restore

WEIGHTS = ROOT / "data" / "weights"
PRESETS = ("paper", "compact", "tiny")
"""The order in which weights are looked for."""

FORMATS = ("1", "2")
"""Of weight files: half precision throughout, or kernels in 8 bits; the last is written."""


AnyCodec = Codec | AutoencoderCodec


def rate_points(model: str) -> tuple[int, ...]:
    """The qualities of a model, from 1; of an autoencoder the bits of its quantiser.

    Raises:
        Unsupported: no such model, with the possible choices.
    """
    if model in models.MODELS:
        return tuple(range(1, len(models.LMBDAS) + 1))
    if model in AUTOENCODERS:
        return autoencoders.BITS
    raise Unsupported(f"There is no model '{model}'; choose from {', '.join([*models.MODELS, *AUTOENCODERS])}.")


def check_choice(model: str, quality: int) -> None:
    """Refuse models and qualities that do not exist.

    Raises:
        Unsupported: with the possible choices.
    """
    points = rate_points(model)
    if quality in points:
        return
    if model in AUTOENCODERS:
        raise Unsupported(f"No quantiser of {model} has {quality} bits; choose from {', '.join(map(str, points))}.")
    raise Unsupported(f"There is no quality {quality}; choose from 1 to {len(points)}.")


def save(frozen: AnyCodec, path: str | Path) -> None:
    """Write the weights of a codec, and its tables."""
    described = {"model": frozen.model, "preset": frozen.preset, "format": FORMATS[-1]}
    described |= {name: repr(value) for name, value in frozen.rate_point.items()}
    tensors = frozen.stored
    if isinstance(frozen, Codec):
        tensors = tensors | codec.stored_tables(frozen.tables)
    write_bytes(path, safetensors_bytes(tensors, described))


def path_of(model: str, preset: str, quality: int, folder: Path = WEIGHTS) -> Path:
    """Where the weights of a codec lie."""
    return folder / f"{model}-{preset}-q{quality}.safetensors"


def read(path: str | Path) -> AnyCodec:
    """A codec from a file that `save` wrote.

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
        if described["format"] not in FORMATS:
            raise ValueError("another format")
        if described["model"] in AUTOENCODERS:
            network = autoencoders.make(described["model"], described["preset"], int(described["B"]))
            return autoencoder_codec.assemble(restore(network, tensors), tensors, described["preset"])
        lmbda = float(described["lmbda"])
        if not 0 < lmbda < math.inf:
            raise ValueError("no rate point")
        network = models.make(described["model"], described["preset"], lmbda)
        stored = {name: t for name, t in tensors.items() if not name.startswith("tables.")}
        restore(network, stored)
        return codec.assemble(network, stored, _read_tables(network, tensors), described["preset"], lmbda)
    except (CodecError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise BadData(f"The weights {path} are not those of a codec of this version.") from error


def _read_tables(network: models.Model, tensors: dict[str, Tensor]) -> dict[str, Tables]:
    size = network.size
    counts = {"y": size.M} if isinstance(network, models.FactorizedPrior) else {"z": size.N, "y": SCALES}
    tables = {}
    for stream, count in counts.items():
        parts = (tensors[f"tables.{stream}.{part}"].numpy() for part in ("widths", "offsets", "frequencies"))
        tables[stream] = Tables(*parts)
        if len(tables[stream].widths) != count:
            raise ValueError(f"{count} tables are needed for {stream}")
    return tables


def available(model: str, folder: str | Path = WEIGHTS) -> list[int]:
    """The qualities of a model that have weights."""
    return [q for q in rate_points(model) if any(path_of(model, name, q, Path(folder)).is_file() for name in PRESETS)]


def load(model: str, quality: int, preset: str | None = None, folder: str | Path = WEIGHTS) -> AnyCodec:
    """The codec of a model at a rate point.

    Args:
        model: a name of `models.MODELS` or `autoencoders.AUTOENCODERS`.
        quality: 1 to 4, for `models.LMBDAS`; for an autoencoder the bits of its quantiser.
        preset: sizes of the networks; by default the first of `PRESETS` that has weights.
        folder: where the weights lie.

    Raises:
        Unsupported: no such model, quality or preset.
        BadData: no weights for it, or they are damaged.
    """
    check_choice(model, quality)
    if preset is not None:
        _check_preset(model, preset, quality)
    folder = Path(folder)
    for name in [preset] if preset else PRESETS:
        path = path_of(model, name, quality, folder)
        if path.is_file():
            found = read(path)
            if (found.model, found.preset, found.quality) != (model, name, quality):
                raise BadData(
                    f"The weights {path} are not what their name says, but {found.model} in the preset {found.preset} "
                    f"{_rate_point(found.model, found.quality)}."
                )
            return found
    there = sorted(p.stem for p in folder.glob("*.safetensors"))
    what = f"{model} {_rate_point(model, quality)}" + (f" in the preset {preset}" if preset else "")
    raise BadData(f"There are no weights for {what} in {folder}; there are: {', '.join(there) or 'none'}.")


def _check_preset(model: str, preset: str, quality: int) -> None:
    if model in AUTOENCODERS:
        autoencoders.check_preset(model, preset)
    else:
        models.preset(preset, models.LMBDAS[quality - 1], model)


def _rate_point(model: str, quality: int) -> str:
    return f"with {quality} bits" if model in AUTOENCODERS else f"at quality {quality}"


def load_for(container: Container, folder: str | Path = WEIGHTS) -> AnyCodec:
    """The codec that wrote a file, found by its weights' checksum.

    Raises:
        WrongModel: no weights at hand wrote it.
        BadData: there are none for its model and quality.
    """
    found = [p for p in PRESETS if path_of(container.model, p, container.quality, Path(folder)).is_file()]
    for preset in found:
        candidate = load(container.model, container.quality, preset, folder)
        if candidate.digest[:8] == container.weights:
            return candidate
    if not found:
        load(container.model, container.quality, None, folder)  # says what is missing
    raise WrongModel(
        f"The file was written by weights {container.weights.hex()} of {container.model} "
        f"{_rate_point(container.model, container.quality)}, which are not in {folder}."
    )
