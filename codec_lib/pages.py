"""One notebook of the report: executed, its figures and tables put in place with their record, and its page.

    python -m codec_lib.pages 05_evaluation --dataset kodak --measured build/measured
    python -m codec_lib.pages 05_evaluation --only page
    python -m codec_lib.pages index --dataset kodak

A page stands alone (`webpage`), its figures drawn once more, as SVG. What is executed draws into a folder of its own;
`figures/` changes only when the whole notebook has gone well.
"""

import argparse
import html
import json
import shutil
import sys
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from codec_lib import provenance, webpage
from codec_lib.datasets import ROOT
from codec_lib.errors import BadData, CodecError
from codec_lib.files import read_bytes, write_bytes

NOTEBOOKS, FIGURES, OUT = ROOT / "notebooks", ROOT / "figures", ROOT / "build" / "report"
WEIGHTS = {
    "00_autoencoders": ("ae-*", "factorized-*"),
    "02_factorized_prior": ("factorized-*",),
    "03_hyperprior": ("hyperprior-*", "factorized-*"),
    "04_autoregressive": ("[fhjc]*",),
    "05_evaluation": ("*",),
}
"""Notebook -> the weight files that it loads, as patterns of their names."""
TITLE = "Codecbook: the report"
MAIN, MAIN_FIGURES = "05_evaluation", ("05_rate_distortion", "05_comparison_most")
"""The notebook whose figures the index shows, and their names without the data set's."""


def execute(stem: str, dataset: str, measured: str = "") -> Path:
    """Execute a notebook on a data set; replace its figures and tables.

    Args:
        stem: name of a file in `notebooks/`, without its suffix.
        dataset: embedded, kodak or a folder of pictures.
        measured: folder of measurements to read (`measurements`); empty to measure now.

    Returns:
        The executed notebook, `build/report/STEM.ipynb`.

    Raises:
        PapermillExecutionError: a cell failed.
        BadData: there is no such notebook.
    """
    notebook = NOTEBOOKS / f"{stem}.ipynb"
    if not notebook.is_file():
        raise BadData(f"There is no notebook {stem}; choose from {', '.join(stems())}.")
    scratch, executed = OUT / "figures" / stem, OUT / f"{stem}.ipynb"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    given = {"dataset": dataset, "figures": str(scratch), "measured": measured}
    known = papermill.inspect_notebook(str(notebook))
    made_from = provenance.record(sources(notebook), weights(stem), dataset if "dataset" in known else None)
    papermill.execute_notebook(
        str(notebook), str(executed), {k: v for k, v in given.items() if k in known}, kernel_name="python3",
        cwd=str(notebook.parent), progress_bar=False, extra_arguments=list(webpage.VECTOR),
    )  # fmt: skip
    name = stem + (f".{Path(dataset).name}" if "dataset" in known else "")
    publish(scratch, FIGURES, name, {"notebook": notebook.name} | made_from)
    return executed


def stems() -> list[str]:
    """The notebooks' names, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def weights(stem: str) -> dict[str, str]:
    """Name -> digest of the weights that a notebook loads, from their cards."""
    cards = {p for pattern in WEIGHTS.get(stem, ()) for p in (ROOT / "data" / "weights").glob(f"{pattern}.json")}
    return {path.stem: json.loads(read_bytes(path))["digest"] for path in sorted(cards)}


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
    leaves the records of its other data sets.
    """
    new = sorted(file.name for file in scratch.iterdir())
    record = figures / f"{name}.json"
    figures.mkdir(parents=True, exist_ok=True)
    before = json.loads(read_bytes(record))["files"] if record.is_file() else {}
    for file in new:
        (scratch / file).replace(figures / file)
    for gone in set(before) - set(new):
        (figures / gone).unlink(missing_ok=True)
    for other in set(figures.glob(f"{name.split('.')[0]}.*json")) - {record}:
        kept = json.loads(read_bytes(other))
        kept["files"] = {n: digest for n, digest in kept["files"].items() if n not in new}
        write_bytes(other, (json.dumps(kept, indent=1) + "\n").encode())
    provenance.keep(record, made_from, [figures / file for file in new])


# --- pages ---


def write_page(stem: str) -> Path:
    """`build/report/STEM.html` from the executed notebook beside it.

    Raises:
        BadData: it was not executed.
    """
    body = webpage.body(_executed(stem))
    footer = f"{stem}.ipynb, executed by papermill. What it was made from: figures/{stem}*.json."
    links = {"index.html": "report"} | {f"{other}.html": other[:2] for other in stems() if other != stem}
    path = OUT / f"{stem}.html"
    write_bytes(path, webpage.page(title(stem), body, footer, links).encode())
    return path


def title(stem: str) -> str:
    """The first heading of a notebook."""
    return nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4).cells[0].source.splitlines()[0].lstrip("# ")


def _executed(stem: str) -> nbformat.NotebookNode:
    path = OUT / f"{stem}.ipynb"
    if not path.is_file():
        raise BadData(f"The notebook {stem} was not executed; its page is made of {path}, which is not there.")
    return nbformat.read(path, as_version=4)


def write_index(dataset: str) -> Path:
    """`build/report/index.html`: links to the pages beside it, what they were measured on, the main figures."""
    note = "Measured on the Kodak suite."
    if dataset != "kodak":
        note = f"Measured on the pictures of {html.escape(Path(dataset).name)}, not on the Kodak suite."
    if dataset == "embedded":
        note = "Kodak could not be had on this machine: measured on the photographs embedded in installed packages."
    items = "".join(
        f'<li><a href="{stem}.html">{html.escape(title(stem))}</a></li>'
        for stem in stems() if (OUT / f"{stem}.html").is_file()
    )  # fmt: skip
    drawn = webpage.figures(_executed(MAIN)) if (OUT / f"{MAIN}.ipynb").is_file() else {}
    pictures = "".join(drawn.get(f"{name}_{Path(dataset).name}", "") for name in MAIN_FIGURES)
    body = f"<h1>{TITLE}</h1><p>{note}</p><ul>{items}</ul>{pictures}"
    made = f"Commit {provenance.commit() or 'unknown'}, {html.escape(provenance.processor())}."
    path = OUT / "index.html"
    write_bytes(path, webpage.page(TITLE, body, made).encode())
    return path


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, 1 if a cell failed, or 2; after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m codec_lib.pages", description=__doc__.splitlines()[0])
    parser.add_argument("notebook", help=f"{', '.join(stems())}, or index")
    parser.add_argument(
        "--only", choices=("execution", "page"), help="execute it, or make its page of what was executed"
    )
    parser.add_argument("--dataset", default="embedded", help="embedded, kodak or a folder (default: embedded)")
    parser.add_argument("--measured", default="", help="folder of measurements; without it all is measured now")
    args = parser.parse_args(arguments)
    try:
        OUT.mkdir(parents=True, exist_ok=True)
        if args.notebook == "index":
            print(write_index(args.dataset))
            return 0
        if args.only != "page":
            print(execute(args.notebook, args.dataset, args.measured))
        if args.only != "execution":
            print(write_page(args.notebook))
    except PapermillExecutionError as error:
        print(f"codec_lib: a notebook failed, cell {error.cell_index}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except (CodecError, OSError) as error:
        print(f"codec_lib: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
