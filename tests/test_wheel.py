"""A wheel, installed elsewhere with nothing but what it needs, works."""

import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import codec_lib
from codec_lib.places import ROOT, WEIGHTS

BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ModuleNotFoundError(f"{{name}} is not among the dependencies", name=name)

sys.meta_path.insert(0, Block())
"""


@functools.cache
def needed(name: str) -> frozenset[str]:
    """A distribution and all that it needs, as installed here."""
    found = {canonicalize_name(name)}
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return frozenset()
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found |= needed(requirement.name)
    return frozenset(found)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that the checkout stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("codec_lib", "data", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", out, source]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("codecbook-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Run Python in an environment that has the wheel and its dependencies: status, stdout, stderr."""
    site, block = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("block")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    metadata = next(site.glob("codecbook-*.dist-info")) / "METADATA"
    requires = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE)
    core = [Requirement(line).name for line in requires if "extra ==" not in line]
    allowed = frozenset.union(*map(needed, core))
    forbidden = {
        top
        for top, providers in importlib.metadata.packages_distributions().items()
        if not {canonicalize_name(p) for p in providers} & allowed and top not in ("codec_lib", "_distutils_hack")
    }
    (block / "sitecustomize.py").write_text(BLOCK.format(forbidden=sorted(forbidden)))
    environment = os.environ | {"PYTHONPATH": f"{block}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}
    environment.pop("CODECBOOK_MIRROR", None)

    def run(*arguments: object, cwd: Path) -> tuple[int, str, str]:
        command = [sys.executable, "-W", "error", *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    run.command = site / "bin" / "codecbook"
    return run


def test_a_wheel_has_at_most_60_mib_and_all_weights(wheel):
    assert wheel.stat().st_size <= 60 * 2**20
    names = zipfile.ZipFile(wheel).namelist()
    weights = {Path(name).stem for name in names if name.endswith(".safetensors")}
    assert {"codec_lib/data/kodak.csv", "codec_lib/data/releases.csv", "codec_lib/commands/encode.py"} <= set(names)
    assert weights == {path.stem for path in WEIGHTS.glob("*.safetensors")}
    assert not [name for name in names if name.startswith(("tests/", "notebooks/", "data/"))]


def test_it_runs_elsewhere_on_its_dependencies_alone(installed, tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    cbk = ["-m", "codec_lib"]
    assert installed("-c", "import scipy", cwd=tmp_path)[0] == 1
    assert installed(installed.command, "--version", cwd=tmp_path) == (0, f"codecbook {codec_lib.__version__}\n", "")
    status, out, err = installed(*cbk, "encode", "photo.jpg", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"photo\.cbk: 112x96, [\d,]+ bytes, \d\.\d{3} bpp\n", out)
    status, out, err = installed(*cbk, "info", "photo.cbk", "--json", cwd=tmp_path)
    assert (status, json.loads(out)["width"], err) == (0, 112, "")
    assert installed(*cbk, "decode", "photo.cbk", cwd=tmp_path) == (0, "photo.png: 112x96\n", "")
    plugin = "import codec_lib.pillow; from PIL import Image; print(Image.open('photo.cbk').convert('L').size)"
    assert installed("-c", plugin, cwd=tmp_path) == (0, "(112, 96)\n", "")


def test_it_says_what_it_has_and_what_it_lacks(installed, tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    status, out, err = installed("-m", "codec_lib", "models", cwd=tmp_path)
    assert (status, err) == (0, "")
    assert re.search(r"\| space-channel \(default\) +\| quality 0 to 5 +\| compact \| +\d\.\d \| [0-9a-f]{16}", out)
    assert "no weights" not in out
    status, out, err = installed("-m", "codec_lib", "evaluate", "--dataset", ".", cwd=tmp_path)
    assert (status, out) == (2, "")
    assert "pip install 'codecbook[train," in err
