"""The environment's files agree with each other and with what the package imports."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import codec_lib

ROOT = Path(__file__).parents[1]
GENERATED = {".git", ".venv", "build", "runs", "__pycache__", ".hypothesis", ".ipynb_checkpoints"}


def pins(lines: list[str]) -> dict[str, str]:
    """Name -> version of lines `name==version`; comments and blank lines are skipped."""
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line.strip())
            assert match, f"not an exact pin: {line!r}"
            name, version = match.groups()
            assert name not in found, f"pinned twice: {name}"
            found[name] = version
    return found


def lock_sections() -> tuple[dict[str, str], dict[str, str]]:
    """The top-level and the transitive pins of requirements.lock."""
    top, transitive = (ROOT / "requirements.lock").read_text(encoding="utf-8").split("# Transitive")
    return pins(top.splitlines()), pins(transitive.splitlines()[1:])


def lock() -> dict[str, str]:
    top, transitive = lock_sections()
    assert not top.keys() & transitive.keys()
    return top | transitive


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def product_files() -> list[Path]:
    """Every file of the product, whether or not git knows it yet."""
    found = []
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = [s for s in subfolders if s not in GENERATED and not s.endswith(("_cache", ".egg-info"))]
        found += [Path(folder) / file for file in files]
    return found


def test_conda_and_pip_install_the_same():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert pins([line for line in pip if not line.startswith("-e ")]) == lock_sections()[0]
    assert "python=3.11" in conda


def test_the_lock_satisfies_the_project():
    data = project()
    wanted = data["dependencies"] + [line for extra in data["optional-dependencies"].values() for line in extra]
    locked = lock()
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), str(requirement)


def test_the_lock_is_complete():
    """Whatever a locked package needs here is locked too."""
    locked = lock()
    for name in locked:
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            # torch pins the libraries of its CUDA build itself; a CPU build has none.
            if name != "torch" and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                assert canonicalize_name(requirement.name) in locked, f"{name} needs {requirement}"


def test_installed_versions_are_the_locked_ones():
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in lock()}
    assert installed == lock()


def test_every_import_of_the_package_is_declared():
    data = project()
    wanted = data["dependencies"] + [line for extra in data["optional-dependencies"].values() for line in extra]
    declared = {canonicalize_name(Requirement(line).name) for line in wanted}
    distributions = importlib.metadata.packages_distributions()
    for path in sorted((ROOT / "codec_lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"codec_lib"}:
                providers = {canonicalize_name(name) for name in distributions.get(top, [top])}
                assert providers & declared, f"{path.name} imports {top}, which pyproject.toml does not declare"
                assert providers & lock().keys(), f"{path.name} imports {top}, which requirements.lock does not pin"


def test_the_installed_package_is_this_one():
    assert Path(codec_lib.__file__).parent == ROOT / "codec_lib"
    assert importlib.metadata.version("codecbook") == codec_lib.__version__


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_every_target():
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(["make"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if re.match(r"make \w+ +\w", line)}
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == set(phony.split())
    assert listed >= {"help", "report", "test", "lab", "lint", "clean"}


def test_only_the_ci_script_knows_where_this_workplace_keeps_its_data():
    mirror = ROOT.parent / "shared"
    needles = [b"../" + b"shared"] + [str(mirror).encode()] * mirror.is_dir()
    assert needles[0] in (ROOT / ".ci" / "run").read_bytes()
    naming = {str(path.relative_to(ROOT)) for path in product_files() if any(n in path.read_bytes() for n in needles)}
    assert naming == {".ci/run"}
