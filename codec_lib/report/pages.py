"""The pages of the report, each of one executed notebook, and their index.

    python -m codec_lib.report.pages 05_evaluation --dataset kodak --measured build/measured
    python -m codec_lib.report.pages 05_evaluation --only page
    python -m codec_lib.report.pages index --dataset kodak

A page stands alone (`webpage`), its figures drawn once more, as SVG.
"""

import html
import sys
from pathlib import Path

import nbformat
from papermill.exceptions import PapermillExecutionError

from codec_lib.command_line import Parser, exit_status, say
from codec_lib.errors import BadData
from codec_lib.evaluation import provenance
from codec_lib.files import write_bytes
from codec_lib.report import execution, front, webpage
from codec_lib.report.execution import stems

TITLE = "Codecbook: the report"
MAIN, MAIN_FIGURES = "05_evaluation", ("05_rate_distortion", "05_comparison_most")
"""The notebook whose figures the index shows, and their names without the data set's."""


def write_page(stem: str) -> Path:
    """`build/report/STEM.html` from the executed notebook beside it; `BadData` if it was not executed."""
    body = webpage.body(_executed(stem))
    footer = f"{stem}.ipynb, executed by papermill. What it was made from: figures/{stem}*.json."
    links = {"index.html": "report"} | {f"{other}.html": other[:2] for other in stems() if other != stem}
    path = execution.OUT / f"{stem}.html"
    write_bytes(path, webpage.page(title(stem), body, footer, links).encode())
    return path


def title(stem: str) -> str:
    """The first heading of a notebook."""
    cells = nbformat.read(execution.NOTEBOOKS / f"{stem}.ipynb", as_version=4).cells
    return cells[0].source.splitlines()[0].lstrip("# ")


def _executed(stem: str) -> nbformat.NotebookNode:
    path = execution.OUT / f"{stem}.ipynb"
    if not path.is_file():
        raise BadData(f"The notebook {stem} was not executed; its page is made of {path}, which is not there.")
    return nbformat.read(path, as_version=4)


def write_index(dataset: str) -> Path:
    """`build/report/index.html`: findings, main figures, models, what is exact, links to the pages."""
    note = "Measured on the Kodak suite."
    if dataset != "kodak":
        note = f"Measured on the pictures of {html.escape(Path(dataset).name)}, not on the Kodak suite."
    if dataset == "embedded":
        note = "Measured on the photographs embedded in installed packages, which stand in where Kodak cannot be had."
    lessons = {f"{stem}.html": title(stem) for stem in stems() if (execution.OUT / f"{stem}.html").is_file()}
    drawn = webpage.figures(_executed(MAIN)) if (execution.OUT / f"{MAIN}.ipynb").is_file() else {}
    name = Path(dataset).name
    curves, look = (drawn.get(f"{figure}_{name}", "") for figure in MAIN_FIGURES)
    body = webpage.to_html(front.markdown(execution.FIGURES, name, note, curves, lessons, look))
    made = f"Commit {provenance.commit() or 'unknown'}, {html.escape(provenance.processor())}."
    path = execution.OUT / "index.html"
    write_bytes(path, webpage.page(TITLE, body, made).encode())
    return path


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, 1 if a cell failed, or 2; after one sentence on stderr."""
    parser = Parser(prog="python -m codec_lib.report.pages", description=__doc__.splitlines()[0])
    parser.add_argument("notebook", help=f"{', '.join(stems())}, or index")
    parser.add_argument(
        "--only", choices=("execution", "page"), help="execute it, or make its page of what was executed"
    )
    parser.add_argument("--dataset", default="embedded", help="embedded, kodak or a folder (default: embedded)")
    parser.add_argument("--second", default="", help="a second test set (default: none)")
    parser.add_argument("--measured", default="", help="folder of measurements; without it all is measured now")
    args = parser.parse_args(arguments)

    def work() -> int:
        execution.OUT.mkdir(parents=True, exist_ok=True)
        if args.notebook == "index":
            print(write_index(args.dataset))
            return 0
        try:
            if args.only != "page":
                print(execution.execute(args.notebook, args.dataset, args.measured, args.second))
        except PapermillExecutionError as error:
            say(f"The notebook {args.notebook} failed in cell {error.cell_index}: {error.ename}: {error.evalue}")
            return 1
        if args.only != "execution":
            print(write_page(args.notebook))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
