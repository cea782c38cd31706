"""One notebook of the report executed, its figures and tables put in place with their record.

What is executed draws into a folder of its own, and `figures/` changes only when the whole notebook has gone well.
"""

import json
import shutil
from pathlib import Path

import nbformat
import papermill

from codec_lib.errors import BadData
from codec_lib.evaluation import provenance
from codec_lib.files import read_bytes, write_json
from codec_lib.places import ROOT
from codec_lib.weights import weight_files
from codec_lib.weights.cards import card_path, read_card_of

NOTEBOOKS, FIGURES, OUT = ROOT / "notebooks", ROOT / "figures", ROOT / "build" / "report"

WEIGHTS = {
    "00_autoencoders": ("ae-*", "factorized-compact"),
    "02_factorized_prior": ("factorized-*",),
    "03_hyperprior": ("[fh]*",),
    "04_autoregressive": ("[fhjc]*-compact",),
    "05_evaluation": ("[fhjcs]*-compact", "ae-resnet18-*", "ae-vector-*"),
    "06_beyond_the_reports": ("[hjcs]*-compact",),
    "07_explorer": ("[fhjcs]*-compact",),
}
"""Notebook -> the weight files that it loads by name, or compares with the reports, as patterns; measured times have a
record of their own."""

VECTOR = (
    "--InlineBackend.figure_formats=svg",
    "--InlineBackend.print_figure_kwargs={'bbox_inches': 'tight', 'dpi': 150, 'metadata': {'Date': None}}",
)
"""Arguments of a kernel whose figures shall be drawings in the page; photographs in them have 150 dpi."""


def execute(stem: str, dataset: str, measured: str = "", second: str = "") -> Path:
    """Execute a notebook on a data set, as `build/report/STEM.ipynb`; replace its figures and tables.

    Args:
        stem: name of a file in `notebooks/`, without its suffix.
        measured: folder of measurements to read (`measurements`); empty to measure now.
        second: another data set that a notebook with a parameter of this name shows beside; empty for none.

    Raises:
        PapermillExecutionError: a cell failed; `build/report/figures/STEM.ipynb` has the traceback.
        BadData: there is no such notebook.
    """
    notebook = NOTEBOOKS / f"{stem}.ipynb"
    if not notebook.is_file():
        raise BadData(f"There is no notebook {stem}; choose from {', '.join(stems())}.")
    scratch, executed = OUT / "figures" / stem, OUT / f"{stem}.ipynb"
    running = scratch.with_suffix(".ipynb")  # papermill saves it after each cell
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    given = {"dataset": dataset, "figures": str(scratch), "measured": measured, "second": second}
    known = papermill.inspect_notebook(str(notebook))
    files = [*sources(notebook), *map(card_path, weight_files_of(stem))]
    made_from = provenance.record(files, weights(stem), dataset if "dataset" in known else None)
    if second and "second" in known:
        made_from["second"] = provenance.of_data(second)
    papermill.execute_notebook(
        str(notebook), str(running), {k: v for k, v in given.items() if k in known}, kernel_name="python3",
        cwd=str(notebook.parent), progress_bar=False, extra_arguments=list(VECTOR),
    )  # fmt: skip
    name = stem + (f".{Path(dataset).name}" if "dataset" in known else "")
    publish(scratch, FIGURES, name, {"notebook": notebook.name} | made_from)
    running.replace(executed)
    return executed


def stems() -> list[str]:
    """The notebooks' names, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def weights(stem: str) -> dict[str, str]:
    """Name -> digest of the weights that a notebook loads, from their cards."""
    return {path.stem: read_card_of(path)["digest"] for path in weight_files_of(stem)}


def weight_files_of(stem: str) -> list[Path]:
    """The weight files that a notebook loads, and those that hold their transforms."""
    named = {path for pattern in WEIGHTS.get(stem, ()) for path in weight_files.WEIGHTS.glob(f"{pattern}.safetensors")}
    return sorted(named | set(map(weight_files.holder_of, named)) - {None})


def sources(notebook: Path) -> list[Path]:
    """The notebook, the modules of codec_lib that it uses, and the tables of `data/` that they read."""
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    modules = provenance.sources(*sorted(provenance.imported(code)))
    tables = set().union(*map(provenance.tables, [code, *(path.read_text(encoding="utf-8") for path in modules)]))
    return [notebook, *modules, *sorted(tables)]


def publish(scratch: Path, figures: Path, name: str, made_from: dict) -> None:
    """Move a notebook's new figures and tables to where they are kept, and drop those that it no longer makes.

    The record, `NAME.json`, lists them with their checksums. A file that the notebook makes on every data set
    leaves the records of its other data sets; one that such a record lists stays.
    """
    new = sorted(file.name for file in scratch.iterdir())
    record = figures / f"{name}.json"
    figures.mkdir(parents=True, exist_ok=True)
    others = {path: json.loads(read_bytes(path)) for path in figures.glob(f"{name.split('.')[0]}.*json")}
    before = others.pop(record, {"files": {}})["files"]
    for file in new:
        (scratch / file).replace(figures / file)
    for gone in set(before).difference(new, *(other["files"] for other in others.values())):
        (figures / gone).unlink(missing_ok=True)
    for path, other in others.items():
        other["files"] = {n: digest for n, digest in other["files"].items() if n not in new}
        write_json(path, other)
    provenance.keep(record, made_from, [figures / file for file in new])
