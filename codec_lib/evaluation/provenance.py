"""What a result was made from: code, weights, pictures, versions; kept as JSON beside it, compared before use.

Snakemake keeps such records too, but on one machine, in `.snakemake`; these go with the figures that are committed.
"""

import ast
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch

from codec_lib import datasets
from codec_lib.errors import BadData
from codec_lib.files import read_bytes, write_json
from codec_lib.places import DATA, PACKAGE

VERSIONS = ("torch", "numpy", "pillow", "constriction", "torchac", "matplotlib", "pytorch-msssim")


def sources(*modules: str) -> list[Path]:
    """The source files of these modules of codec_lib ("coding.huffman") and of all that they import or name, sorted."""
    found, waiting = set(), list(modules)
    while waiting:
        path = _path(waiting.pop())
        if path not in found:
            found.add(path)
            source = path.read_text(encoding="utf-8")
            waiting += imported(source) | _named(source)
    return sorted(found)


def _named(source: str) -> set[str]:
    """The modules that strings of Python source name, as those of the registry do."""
    names = {string.partition(":")[0] for string in _strings(source)}
    return {_module(name) for name in names if re.fullmatch(rf"{PACKAGE.name}(\.\w+)+", name)} - {"__init__"}


@cache  # the graph of the report asks for every module some twenty times
def _strings(source: str) -> frozenset[str]:
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return frozenset(value for value in constants if isinstance(value, str))


def _path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imported(source: str) -> frozenset[str]:
    """The modules of codec_lib that Python source imports, anywhere in it; `__init__` for the package's own names."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(_module(name) for name in names if name.split(".")[0] == PACKAGE.name)


def _module(name: str) -> str:
    """The module of a dotted name that may end in something within a module."""
    parts = name.split(".")[1:]
    while parts and not _path(".".join(parts)).is_file():
        parts.pop()
    return ".".join(parts) or "__init__"


def tables(source: str) -> set[Path]:
    """The tables of `data/` whose names are strings of Python source, as those that it reads are."""
    names = _strings(source)
    return {path for path in DATA.glob("*.csv") if path.name in names}


def checksum(paths: Iterable[Path]) -> str:
    """SHA-256, hexadecimal, of the names and contents of files, in their order."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name} {hashlib.sha256(read_bytes(path)).hexdigest()}\n".encode())
    return total.hexdigest()


def of_data(dataset: str | Path) -> dict[str, str]:
    """Name and checksum of data sets: of their manifests, which hold the pictures', or of a folder's pictures."""
    if names := datasets.named(dataset):
        return {"name": str(dataset), "sha256": checksum(map(datasets.manifest_path, names))}
    return {"name": Path(dataset).name, "sha256": checksum(datasets.open_pictures(dataset))}


def inputs(code: Iterable[Path], weights: dict[str, str], dataset: str | Path | None = None) -> dict:
    """The entries of a record that a result depends on; `weights` are name -> digest of those that are loaded."""
    data = of_data(dataset) if dataset is not None else None
    return {"code": checksum(code), "weights": weights, "data": data}


def record(code: Iterable[Path], weights: dict[str, str], dataset: str | Path | None = None) -> dict:
    """What is about to be used (`inputs`), and where; of `VERSIONS` what is installed, for not all results need all."""
    installed = {name: d.version for name in VERSIONS for d in importlib.metadata.distributions(name=name)}
    return inputs(code, weights, dataset) | {
        "commit": commit(),
        "versions": {"python": platform.python_version()} | installed,
        "machine": {"system": platform.platform(), "processor": processor(), "threads": torch.get_num_threads()},
    }


def commit() -> str | None:
    """The commit of the checkout, with `+` where tracked files differ from it; None outside of one."""
    git = ["git", "-C", str(PACKAGE.parent), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The processor's name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.+)", told.read_text() if told.is_file() else "", re.M)
    return name[1].strip() if name else platform.processor() or platform.machine()


def keep(result: Path, made_from: dict, files: Iterable[Path] = ()) -> None:
    """Write NAME.json, the record of a result NAME.csv, with the checksum of each of its files (by default itself)."""
    made = {path.name: hashlib.sha256(read_bytes(path)).hexdigest() for path in files or [result]}
    write_json(result.with_suffix(".json"), made_from | {"files": made})


def check(result: Path, made_from: dict) -> None:
    """Refuse (`BadData`) a result without a record, changed since, or made from other `inputs` than those given."""
    advice = "run 'make report', or leave the folder of measurements out to measure anew"
    path = result.with_suffix(".json")
    try:
        kept = json.loads(read_bytes(path))
        same = kept["files"][result.name] == hashlib.sha256(read_bytes(result)).hexdigest()
        differ = [name for name in ("code", "weights", "data") if kept[name] != made_from[name]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"The file {path} is not the record of {result.name}; {advice}.") from error
    if not same:
        raise BadData(f"The file {result} was changed after it was made; {advice}.")
    if differ:
        raise BadData(f"The file {result} was made from other {' and '.join(differ)} than those at hand; {advice}.")
