"""The report: every notebook executed headless, its figures and tables rebuilt, and a page of each."""

import argparse
import html
import sys
import time
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from codec_lib import datasets
from codec_lib.datasets import ROOT
from codec_lib.errors import CodecError
from codec_lib.files import write_bytes

OUT = ROOT / "build" / "report"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Codecbook: the report</title>
<style>body{{font:17px/1.5 sans-serif;max-width:44em;margin:3em auto;padding:0 1em}}img{{max-width:100%}}</style>
<h1>Codecbook: the report</h1><p>{note}</p><ul>{items}</ul>{pictures}</html>"""


def build(notebooks: list[Path], dataset: str) -> list[Path]:
    """Execute notebooks on a data set into `build/report/`; figures and tables go to `figures/`.

    Returns:
        The HTML pages, `index.html` last.

    Raises:
        PapermillExecutionError: a cell failed.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    pages = []
    bar = tqdm(notebooks, desc="report", unit="notebook")
    for notebook in bar:
        bar.set_postfix_str(notebook.stem)
        executed = OUT / notebook.name
        known = papermill.inspect_notebook(str(notebook))
        given = {"dataset": dataset, "figures": str(ROOT / "figures")}
        papermill.execute_notebook(
            str(notebook), str(executed), {k: v for k, v in given.items() if k in known}, kernel_name="python3",
            cwd=str(notebook.parent), progress_bar=False,
        )  # fmt: skip
        page, _ = HTMLExporter(embed_images=True).from_notebook_node(nbformat.read(executed, as_version=4))
        pages.append(executed.with_suffix(".html"))
        write_bytes(pages[-1], page.encode())
    pages.append(_index(pages, dataset))
    return pages


def _index(pages: list[Path], dataset: str) -> Path:
    note = "Measured on the Kodak suite."
    if dataset != "kodak":
        note = "Kodak could not be had on this machine: measured on the photographs embedded in installed packages."
    items = "".join(f'<li><a href="{p.name}">{html.escape(_title(p))}</a></li>' for p in pages)
    names = [f"05_rate_distortion_{dataset}.png", f"05_comparison_most_{dataset}.png"]
    shown = [name for name in names if (ROOT / "figures" / name).is_file()]
    pictures = "".join(f'<p><img src="../../figures/{name}" alt="{name}"></p>' for name in shown)
    path = OUT / "index.html"
    write_bytes(path, _PAGE.format(note=note, items=items, pictures=pictures).encode())
    return path


def _title(page: Path) -> str:
    first = nbformat.read(page.with_suffix(".ipynb"), as_version=4).cells[0].source.splitlines()[0]
    return first.lstrip("# ")


def main(arguments: list[str] | None = None) -> int:
    """Command line: `python -m codec_lib.report [--dataset NAME] [NOTEBOOK ...]`."""
    parser = argparse.ArgumentParser(prog="python -m codec_lib.report", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to execute; all without it")
    parser.add_argument("--dataset", help="kodak, embedded or a folder; without it Kodak where it can be had")
    args = parser.parse_args(arguments)
    start = time.monotonic()
    dataset = args.dataset or datasets.kodak_or_embedded()
    print(f"report: on the data set {dataset}" + ("" if args.dataset or dataset == "kodak" else
          " (Kodak is neither here nor can it be fetched)"), flush=True)  # fmt: skip
    try:
        pages = build(args.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")), dataset)
    except PapermillExecutionError as error:
        print(f"codec_lib: a notebook failed, cell {error.cell_index}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except (CodecError, OSError) as error:
        print(f"codec_lib: {error}", file=sys.stderr)
        return 2
    print(f"report: {len(pages)} pages in {time.monotonic() - start:.0f} s, begin with {pages[-1].relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
