"""The layers of codec_lib: a module imports only from modules of lower layers."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

from codec_lib.evaluation import provenance

PACKAGE = Path(__file__).parents[1] / "codec_lib"

FOLDERS = ["", "coding", "networks", "codecs", "weights", "evaluation", "training", "report", "commands"]
"""Each imports only from those before it, and from itself without circles; "" holds the modules at the top."""
ABOVE_ALL = {"__init__", "__main__", "pillow"}
"""Modules at the top that may import every folder: the package's own names, the command line, and the plugin."""
MODULES = sorted(str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".") for path in PACKAGE.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Dotted names of everything that a module imports, inside its functions too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def own(module: str) -> set[str]:
    """The modules of codec_lib that a module of it imports."""
    return provenance.imported(provenance._path(module).read_text(encoding="utf-8"))


def folder(module: str) -> str:
    return module.partition(".")[0] if "." in module else ""


def test_every_module_lies_in_a_known_folder():
    assert {folder(module) for module in MODULES} <= set(FOLDERS)


def test_imports_come_from_the_folders_before():
    wrong = set()
    for module in set(MODULES) - ABOVE_ALL:
        allowed = FOLDERS[: FOLDERS.index(folder(module)) + 1]
        wrong |= {(module, name) for name in own(module) if folder(name) not in allowed or name == "__main__"}
    assert wrong == set()


def test_no_module_imports_itself_by_way_of_others():
    wrong = set()
    for module in MODULES:
        reached, waiting = set(), sorted(own(module))
        while waiting:
            name = waiting.pop()
            if name not in reached and name != "__init__":  # that imports `load` when it is asked for, late
                reached.add(name)
                waiting += own(name)
        wrong |= {module} & reached
    assert wrong == set()


def test_only_what_draws_imports_matplotlib():
    wrong = set()
    for module in MODULES:
        if not module.startswith(("evaluation.plotting", "evaluation.drawing")):
            names = imported(provenance._path(module).read_text(encoding="utf-8"))
            wrong |= {(module, name) for name in names if name.split(".")[0] == "matplotlib"}
    assert wrong == set()


def test_importing_the_package_imports_no_module_of_it():
    code = "import sys, codec_lib; print([m for m in sys.modules if m == 'torch' or m.startswith('codec_lib.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
