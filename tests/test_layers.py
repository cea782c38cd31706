"""The layers of codec_lib: a module imports only from modules of lower layers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "codec_lib"

LAYERS = {
    "errors": 0,
    "command_line": 1,
    "files": 1,
    "images": 2,
    "tables": 2,
    "metrics": 2,
    "classical": 3,
    "datasets": 3,
    "quantization": 3,
    "entropy_coding": 3,
    "reproduction": 4,
    "lossless_compressor": 4,
    "huffman": 5,
    "adaptive_arithmetic": 5,
    "lossless": 6,
    "densities": 4,
    "layers": 4,
    "transforms": 5,
    "context": 5,
    "models": 6,
    "autoencoders": 7,
    "muon": 0,
    "stored": 7,
    "exact": 7,
    "initialisation": 7,
    "bitstream": 7,
    "codec": 8,
    "autoencoder_codec": 8,
    "runs": 8,
    "weight_files": 9,
    "training": 10,
    "complexity": 9,
    "inspection": 9,
    "timing": 9,
    "evaluation": 10,
    "provenance": 4,
    "measurements": 11,
    "ablations": 11,
    "recipe": 12,
    "release": 11,
    "plotting": 10,
    "drawing": 11,
    "diagrams": 12,
    "webpage": 0,
    "execution": 5,
    "pages": 6,
    "report": 4,
    "__main__": 12,
}
MODULES = sorted(path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__")


def imported(source: str) -> set[str]:
    """Dotted names of everything that a module imports, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ["codec_lib" if node.level else "", node.module]))
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def siblings(names: set[str]) -> set[str]:
    """Modules of codec_lib among imported names; `from codec_lib import load` counts as codec."""
    found = {name.split(".")[1] for name in names if name.startswith("codec_lib.")}
    return {"weight_files" if name == "load" else name for name in found - {"__version__"}}


def test_imports_are_found_in_every_form():
    source = """
import numpy as np, codec_lib.codec
from codec_lib import images, load as l, __version__
from codec_lib.files import write_bytes
def late():
    from . import metrics
    from .models import Prediction
    import codec_lib
"""
    assert siblings(imported(source)) == {"codec", "weight_files", "images", "files", "metrics", "models"}
    assert "numpy" in imported(source)


def test_every_module_has_a_layer():
    assert set(MODULES) - set(LAYERS) == set(), "give it a layer in LAYERS"


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_lower_layers(module: str):
    used = siblings(imported((PACKAGE / f"{module}.py").read_text(encoding="utf-8")))
    allowed = {name for name in LAYERS if LAYERS[name] < LAYERS.get(module, 0)}
    assert used - allowed == set()


@pytest.mark.parametrize("module", MODULES)
def test_only_what_draws_imports_matplotlib(module: str):
    names = imported((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    assert module in ("plotting", "drawing") or not any(name.split(".")[0] == "matplotlib" for name in names)


def test_importing_the_package_imports_no_module_of_it():
    code = "import sys, codec_lib; print([m for m in sys.modules if m == 'torch' or m.startswith('codec_lib.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
