"""Photographs by manifest and checksum, folders of pictures, and random crops for training.

A manifest is a CSV in `data/` with path, width, height, bytes and SHA-256 of every picture, and
where it is public. Pictures are taken from the folder that the environment variable
CODECBOOK_MIRROR names (`kodak/`, `train/`, `more/`), else from the cache, else fetched from their
public address with pooch.

Two sets share the manifest `more.csv`: every tenth picture, reduced, is the test set `photographs`,
and the other nine of ten are the training set `more`.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pooch
from PIL import Image
from tqdm.auto import tqdm

from codec_lib import images
from codec_lib.errors import BadData, CodecError
from codec_lib.places import DATA
from codec_lib.places import ROOT as ROOT  # the notebooks know it by this name

if TYPE_CHECKING:
    from torch import Tensor  # which takes seconds: finding pictures must not wait for it

NAMES = ("embedded", "kodak", "photographs", "train", "more")
LICENCES = {
    "embedded": "Photographs inside scikit-image and scikit-learn, each under the licence that its package tells.",
    "train": "ImageNet sample images and BSDS500, for research use under their owners' terms.",
    "more": "Photographs from public repositories, each under the licence that data/more.csv tells.",
}
"""Of the named data sets that can be trained on."""

LONGEST = 1024
"""Pixels on the longer side of the pictures of `photographs`, at most."""

LONGEST_IN_TRAINING = 1600
"""The same of pictures that are trained on: a crop of more pixels shows a piece of a calm surface."""

_KODAK_ADDRESS = "http://r0k.us/graphics/kodak/kodak/"


def manifest_path(name: str) -> Path:
    """The manifest that lists a data set's pictures."""
    return DATA / f"{_folder(name)}.csv"


def _folder(name: str) -> str:
    """Of a mirror or the cache; the manifest has the same name."""
    return "more" if name == "photographs" else name


def manifest(name: str) -> list[dict[str, str]]:
    """The rows of a data set's manifest, in order; `BadData` if there is no such data set."""
    if name not in NAMES:
        raise BadData(f"There is no data set '{name}'; choose from {', '.join(NAMES)}, or name a folder.")
    with open(manifest_path(name), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if name not in ("more", "photographs"):
        return rows
    return [row for i, row in enumerate(rows) if (i % 10 == 9) == (name == "photographs")]


def _address(name: str, row: dict[str, str]) -> str:
    if name == "kodak":
        return _KODAK_ADDRESS + row["path"]
    path = quote(row["path_in_repository"])
    return f"https://raw.githubusercontent.com/{row['repository']}/{row['commit']}/{path}"


def _package_path(row: dict[str, str]) -> Path:
    package, _, folder = row["package"].partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise BadData(f"The package {package}, which holds {row['path']}, is not installed; run 'make install'.")
    return Path(spec.origin).parent / folder / row["path"]


def _places(name: str, row: dict[str, str]) -> list[Path]:
    """Where a picture may lie on this machine, the first choice first."""
    if name == "embedded":
        return [_package_path(row)]
    mirror = os.environ.get("CODECBOOK_MIRROR")
    folders = ([Path(mirror)] if mirror else []) + [_cache()]
    return [folder / _folder(name) / row["path"] for folder in folders]


def _cache() -> Path:
    return Path(pooch.os_cache("codecbook"))


def _is_intact(path: Path, row: dict[str, str]) -> bool:
    return path.is_file() and pooch.file_hash(path, alg="sha256") == row["sha256"]


def find(name: str) -> list[Path]:
    """The pictures of a named data set, all present and checked, without touching the network.

    Those of `photographs` are reduced copies without loss, made in the cache when they are first asked for.

    Raises:
        BadData: one is missing or is not the picture the manifest describes.
    """
    found = []
    for row in manifest(name):
        present = [path for path in _places(name, row) if path.is_file()]
        if not present:
            raise BadData(
                f"{row['path']} of the data set {name} is not on this machine; run 'python -m codec_lib data "
                f"fetch {name}', or set CODECBOOK_MIRROR to a folder that holds {_folder(name)}/{row['path']}."
            )
        intact = next((path for path in present if _is_intact(path, row)), None)
        if intact is None:
            raise BadData(f"{present[0]} is not the picture of the manifest (its SHA-256 differs).")
        found.append(intact)
    return [_reduced(path) for path in found] if name == "photographs" else found


def _reduced(path: Path) -> Path:
    copy = _cache() / "photographs" / f"{path.stem}.png"
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        images.write_picture(copy, reduce(images.read_image(path)[0]))
    return copy


def reduce(pixels: np.ndarray, longest: int = LONGEST) -> np.ndarray:
    """A picture, uint8 (H, W, 3), with at most `longest` pixels on its longer side (Lanczos)."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def fetch(name: str, progress: bool = True) -> list[Path]:
    """`find`, after fetching what is missing from the public addresses.

    Raises:
        BadData: a picture can neither be found nor fetched.
    """
    pooch.get_logger().setLevel("WARNING")  # the bar says what is going on
    rows = manifest(name)
    missing = [row for row in rows if not any(_is_intact(path, row) for path in _places(name, row))]
    for row in tqdm(missing, desc=f"fetching {name}", unit="picture", disable=not (progress and missing)):
        target = _places(name, row)[-1]
        if name == "embedded":
            raise BadData(f"{target}, part of an installed package, is missing or changed; reinstall the package.")
        try:
            pooch.retrieve(
                _address(name, row), f"sha256:{row['sha256']}", fname=target.name, path=target.parent,
                downloader=pooch.HTTPDownloader(timeout=10),
            )  # fmt: skip
        except Exception as error:  # pooch passes on whatever requests, urllib3 or the disk raise
            reason = textwrap.shorten(str(error), 100, placeholder=" ...") or type(error).__name__
            raise BadData(
                f"Cannot fetch {row['path']} of {name} from {_address(name, row)} ({reason}); "
                f"without a network, set CODECBOOK_MIRROR to a folder that holds {_folder(name)}/."
            ) from error
    return find(name)


def open_pictures(dataset: str | Path) -> list[Path]:
    """The pictures of one of `NAMES`, of several ("train+more"), or of a folder (with its subfolders), sorted.

    Raises:
        BadData: the folder is absent or holds no picture file; a named set cannot be had.
    """
    if names := named(dataset):
        return [path for name in names for path in fetch(name)]
    folder = Path(dataset)
    if not folder.is_dir():
        raise BadData(f"There is no data set or folder '{dataset}'; choose from {', '.join(NAMES)}, or name a folder.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in images.SUFFIXES and p.is_file())
    if not paths:
        raise BadData(f"The folder {folder} holds no pictures.")
    return paths


def titles(paths: Sequence[Path]) -> list[str]:
    """What pictures are called in tables: their files' names, or whole paths where several have one name."""
    often = Counter(path.stem for path in paths)
    return [path.stem if often[path.stem] == 1 else str(path) for path in paths]


def named(dataset: str | Path) -> list[str]:
    """The named data sets that a choice such as "train+more" consists of; none where it is a folder."""
    names = str(dataset).split("+")
    return names if set(names) <= set(NAMES) else []


def can_be_had(name: str) -> bool:
    """Whether a named data set is here or can be fetched; fetches it."""
    try:
        fetch(name, progress=False)
    except (BadData, OSError):
        return False
    return True


def kodak_or_embedded() -> str:
    """`kodak` where it can be had, else `embedded`: what the report is made of."""
    return "kodak" if can_be_had("kodak") else "embedded"


def second_beside(dataset: str | Path) -> str:
    """The second test set of a report: `photographs` beside Kodak, where it can be had; else empty."""
    return "photographs" if dataset == "kodak" and can_be_had("photographs") else ""


def split(paths: list[Path], every: int = 25) -> tuple[list[Path], list[Path]]:
    """Training and validation pictures: every 25th (at least one, if there are two) validates."""
    if len(paths) < 2:
        return paths, paths
    validation = paths[every - 1 :: every] or paths[-1:]
    held_out = set(validation)
    return [p for p in paths if p not in held_out], validation


def _load_all(paths: list[Path], progress: bool, longest: int = 2**31) -> list[np.ndarray]:
    loaded, refused = [], []
    for path in tqdm(paths, desc="reading pictures", unit="picture", disable=not progress):
        try:
            loaded.append(reduce(images.read_image(path)[0], longest))
        except CodecError as error:
            refused.append(str(error))
    if not loaded:
        raise BadData(f"None of the {len(paths)} pictures can be read; the first: {refused[0]}")
    if refused:
        left_out = f"{len(refused)} of {len(paths)} pictures cannot be read and are left out; the first: {refused[0]}"
        tqdm.write(left_out, sys.stderr)
    return loaded


class RandomCrops:
    """Random square crops, scaled by a random factor first: a data set as torch's `DataLoader` takes them.

    Scaling down removes JPEG's block artefacts; scaling up makes crops as smooth as photographs of many pixels.

    Crop number i depends on (seed, i) alone, so a resumed or a distributed run sees exactly the
    crops it would have seen. Pictures are read once and kept in memory, reduced to `LONGEST_IN_TRAINING`.

    Args:
        paths: picture files; those smaller than a crop are enlarged to fit.
        size: side of a crop, pixels.
        seed: start of the random numbers.
        scales: smallest and largest factor, uniform between.
    """

    def __init__(
        self, paths: list[Path], size: int, seed: int = 0, scales: tuple[float, float] = (0.5, 1.0),
        progress: bool = True,
    ):  # fmt: skip
        self.pictures = [Image.fromarray(p) for p in _load_all(paths, progress, LONGEST_IN_TRAINING)]
        self.size, self.seed, self.scales = size, seed, scales

    def __len__(self) -> int:
        return 2**62  # endless: a sampler chooses the numbers

    def __getitem__(self, i: int) -> Tensor:
        """uint8 (3, size, size)."""
        import torch

        rng = np.random.default_rng((self.seed, i))
        picture = self.pictures[rng.integers(len(self.pictures))]
        scale = rng.uniform(*self.scales)
        side = min(self.size / scale, picture.width, picture.height)  # of the region that becomes the crop
        left = rng.uniform(0, picture.width - side)
        top = rng.uniform(0, picture.height - side)
        if side == self.size:  # no scaling: stay on the pixel grid
            left, top = int(left), int(top)
        crop = picture.resize((self.size,) * 2, Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        pixels = np.array(crop)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def centre_crops(paths: list[Path], size: int, most: int = 64) -> Tensor:
    """The middle of each picture, halved first where it is large enough: validation, uint8 (n, 3, size, size)."""
    import torch

    crops = []
    for pixels in _load_all(paths[:most], progress=False):
        picture = Image.fromarray(pixels)
        side = min(picture.width, picture.height, 2 * size)
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        box = (left, top, left + side, top + side)
        crop = picture.resize((size, size), Image.Resampling.BICUBIC, box)
        crops.append(torch.from_numpy(np.array(crop)).permute(2, 0, 1))
    return torch.stack(crops)
