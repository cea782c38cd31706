"""Weight files: a frozen codec <-> safetensors, and finding the one that is wanted.

Models that differ in their priors alone may share transforms: one file holds g_a and g_s, and the gains of a model for
every rate; the others name it and hold a checksum of what they expect to find there.
"""

import itertools
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from codec_lib import registry
from codec_lib.codecs import gained
from codec_lib.codecs.autoencoder_codec import AutoencoderCodec
from codec_lib.codecs.codec import Codec
from codec_lib.codecs.gained import GainedCodec
from codec_lib.codecs.weight_rounding import digest_of
from codec_lib.coding.container import Header
from codec_lib.errors import BadData, CodecError, WrongModel
from codec_lib.files import write_bytes
from codec_lib.places import WEIGHTS
from codec_lib.rates import RATE_POINTS, THOUSAND, in_units
from codec_lib.weights import releases
from codec_lib.weights.cards import read_card_of

FORMATS = ("1", "2")
"""Of weight files: half precision throughout, or kernels in 8 bits; the last is written."""

DESCRIBED = {"model", "preset", "format", "digest", "transforms", "lmbda", "lmbdas", "B"}
"""What a weight file's metadata may tell; a name that is none of these is a damaged one."""

AnyCodec = Codec | AutoencoderCodec
Frozen = AnyCodec | GainedCodec
"""What a weight file holds."""


def save(frozen: Frozen, path: str | Path, transforms_of: str | None = None) -> None:
    """Write the weights of a codec, and its tables.

    Args:
        frozen: what to write.
        path: where to.
        transforms_of: name, without suffix, of a weight file in the same folder that holds this codec's g_a and g_s;
            they are left out then.

    Raises:
        BadData: that file is not there, or its transforms are others.
    """
    path = Path(path)
    described = {"model": frozen.model, "preset": frozen.preset, "format": FORMATS[-1], "digest": frozen.digest.hex()}
    described |= {name: repr(value) for name, value in frozen.rate_point.items()}
    tensors = frozen.tensors
    if transforms_of is not None:
        own = transforms_in(tensors)
        if not same_tensors(own, _transforms_beside(path, transforms_of)):
            raise BadData(f"The transforms of {path.stem} are not those of {transforms_of}.")
        tensors = {name: t for name, t in tensors.items() if name not in own}
        described["transforms"] = f"{transforms_of} {digest_of([], own).hex()}"
    write_bytes(path, safetensors_bytes(tensors, described))


def transforms_in(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of a weight file's tensors that are of g_a and g_s, and of their gains."""
    return {name: t for name, t in tensors.items() if gained.of_transforms(name)}


def same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors have the same names, types and bits: -0.0 is not 0.0, since checksums differ."""
    return digest_of([], one) == digest_of([], other)


def holder_of_transforms(frozen: Frozen, folder: Path) -> str | None:
    """The name, without suffix, of another model's weight file of the same rate that holds this g_a and g_s."""
    own = transforms_in(frozen.tensors)
    beside = (path_of(model, frozen.preset, frozen.quality, folder) for model in registry.PRIORS)
    for path in sorted(path for path in beside if path.is_file()):
        described, tensors = _open(path)
        if described.get("model") != frozen.model and same_tensors(own, transforms_in(tensors)):
            return path.stem
    return None


def holder_of(path: Path) -> Path | None:
    """The weight file that holds the transforms of another, where that does not itself."""
    name = _open(path, tensors=False)[0].get("transforms")
    return None if name is None else path.with_stem(name.partition(" ")[0])


def dependents_of(path: Path) -> list[Path]:
    """The weight files in the same folder whose transforms a file holds."""
    return [other for other in sorted(path.parent.glob("*.safetensors")) if holder_of(other) == path]


def _transforms_beside(path: Path, name: str) -> dict[str, Tensor]:
    if Path(name).name != name:
        raise BadData(f"The weights {path} name transforms that are not beside them.")
    return transforms_in(_open(path.with_name(f"{name}.safetensors"))[1])


def path_of(model: str, preset: str, quality: float | None, folder: Path = WEIGHTS) -> Path:
    """Where the weights of a codec lie; those for every rate have the quality None."""
    return folder / (f"{model}-{preset}" + ("" if quality is None else f"-q{quality}") + ".safetensors")


def read(path: str | Path) -> Frozen:
    """What `save` wrote.

    Raises:
        BadData: the file is missing or damaged, or not such a file.
    """
    described, tensors = _open(path)
    if "transforms" in described:
        name, _, checksum = described["transforms"].partition(" ")
        shared = _transforms_beside(Path(path), name)
        if digest_of([], shared).hex() != checksum:
            raise BadData(f"The weights {path} need the transforms of {name} beside them, which have changed since.")
        tensors |= shared
    try:
        if described["format"] not in FORMATS:
            raise ValueError("another format")
        if not described.keys() <= DESCRIBED:
            raise ValueError("it tells what is not known")
        kind = gained if "lmbdas" in described else registry.entry(described["model"]).load_codec()
        found = kind.from_tensors(described, tensors)
    except (CodecError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise BadData(f"The weights {path} are not those of a codec of this version.") from error
    expected = described.get("digest") or _digest_on_card(Path(path))
    if expected not in (None, found.digest.hex()):
        raise BadData(
            f"The weights {path} have been altered: their digest is {found.digest[:8].hex()}, not {expected[:16]}."
        )
    return found


def _digest_on_card(path: Path) -> str | None:
    """Older weight files do not tell their digest; the card beside them does, if there is one."""
    try:
        digest = read_card_of(path)["digest"]
    except (BadData, KeyError):
        return None
    return digest if isinstance(digest, str) else None


def _open(path: str | Path, tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The description of a weight file, and its tensors if they are wanted."""
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise BadData(f"The weights {path} cannot be read: {error}.") from error


def qualities_of(path: Path) -> range:
    """The qualities of a weight file for a range of rates, in thousandths; none if it is damaged, or not there."""
    try:
        return gained.thousandths_within(gained.lmbdas_in(_open(path, tensors=False)[0]))
    except (BadData, KeyError, ValueError):
        return range(0)


def available(model: str, folder: str | Path = WEIGHTS, preset: str | None = None) -> list[int]:
    """The whole qualities of a model that have weights, in one preset or any."""
    found, points = set(), registry.entry(model).load_codec().rate_points()
    for name in [preset] if preset else registry.presets():
        ranged = qualities_of(path_of(model, name, None, Path(folder)))
        found |= {q for q in range(len(RATE_POINTS)) if THOUSAND * q in ranged}
        found |= {q for q in points if path_of(model, name, q, Path(folder)).is_file()}
    return sorted(found)


def load(model: str, quality: float, preset: str | None = None, folder: str | Path = WEIGHTS) -> AnyCodec:
    """The codec of a model at a rate point.

    Args:
        model: a name of `registry.models()`.
        quality: 0 to 5 of a model for every rate, 1 to 4 of models of one (`rates`); of an autoencoder the bits of its
            quantiser.
        preset: sizes of the networks; by default the first of `registry.presets()` that has weights.
        folder: where the weights lie.

    Raises:
        Unsupported: no such model, quality or preset.
        BadData: no weights for it, or they are damaged.
    """
    codec = registry.entry(model).load_codec()
    codec.check_point(model, quality)
    quality = int(quality) if quality == int(quality) else quality  # as files are named
    if preset is not None:
        codec.check_preset(model, preset, quality)
    folder = Path(folder)
    for name, point in _candidates(model, quality, preset, folder):
        found = read_as(model, name, point, folder)
        if point is None and preset is None and round(THOUSAND * quality) not in found.qualities:
            continue
        return found.at(quality) if point is None else found
    there = sorted(p.stem for p in folder.glob("*.safetensors"))
    what = f"{model} {_rate_point(model, quality)}" + (f" in the preset {preset}" if preset else "")
    raise BadData(f"There are no weights for {what} in {folder}; there are: {', '.join(there) or 'none'}.")


def _candidates(model: str, quality: float, preset: str | None, folder: Path) -> list[tuple[str, float | None]]:
    """Presets and qualities of the weight files there are that may serve a quality, in the order they are asked."""
    named = itertools.product([preset] if preset else registry.presets(), (None, quality))
    return [(name, point) for name, point in named if path_of(model, name, point, folder).is_file()]


def read_as(model: str, preset: str, quality: float | None, folder: Path = WEIGHTS) -> Frozen:
    """The weight file of that name; `BadData` if it cannot be read, or holds something else."""
    path = path_of(model, preset, quality, folder)
    found = read(path)
    if (found.model, found.preset, found.quality) != (model, preset, quality):
        raise BadData(
            f"The weights {path} are not what their name says, but {found.model} in the preset "
            f"{found.preset} {_rate_point(found.model, found.quality)}."
        )
    return found


def _rate_point(model: str, quality: float | None) -> str:
    return "for every rate" if quality is None else registry.entry(model).load_codec().in_words(quality)


def load_for(container: Header, folder: str | Path = WEIGHTS) -> AnyCodec:
    """The codec that wrote a file, found by its weights' checksum.

    Raises:
        WrongModel: no weights at hand wrote it.
        BadData: there are none for its model and quality.
    """
    quality, folder = in_units(container.quality), Path(folder)
    candidates = _candidates(container.model, quality, None, folder)
    for path in (path_of(container.model, *candidate, folder) for candidate in candidates):
        told = _open(path, tensors=False)[0].get("digest")
        if told is not None and not told.startswith(container.weights.hex()):
            continue  # reading all of it takes a second
        found = read(path)
        if found.digest[:8] == container.weights:
            return found.at(quality) if found.quality is None else found
    if not candidates:
        load(container.model, quality, None, folder)  # says what is missing
    raise WrongModel(
        f"The file was written by weights {container.weights.hex()} of {container.model} "
        f"{_rate_point(container.model, quality)}, which are not in {folder}; "
        f"{releases.advice(container.weights)}."
    )
