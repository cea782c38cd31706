"""One notebook of the report: executed, its figures and tables put in place with their record, and its page.

    python -m codec_lib.pages 05_evaluation --dataset kodak --measured build/measured
    python -m codec_lib.pages index --dataset kodak

A page stands alone: pictures embedded, formulas as MathML, no script, nothing from a network. What is executed
draws into a folder of its own; `figures/` changes only when the whole notebook has gone well.
"""

import argparse
import html
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
import papermill
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from pygments.formatters import HtmlFormatter

from codec_lib import provenance
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

_CSS = """
body{font:17px/1.55 Georgia,"DejaVu Serif",serif;color:#1b1b1b;max-width:50em;margin:2em auto;padding:0 1.2em}
h1,h2,h3,nav,th,td,figcaption{font-family:"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;line-height:1.25}
h2{margin-top:2.2em;border-bottom:1px solid #ccc;padding-bottom:.2em}
nav{font-size:.85em;margin:0 0 2em}nav a{margin-right:1.1em}a{color:#0b5394}a.anchor-link{display:none}
img{max-width:100%;height:auto}pre{font-size:.76em;line-height:1.4;overflow-x:auto}
code,pre{font-family:"DejaVu Sans Mono",Menlo,Consolas,monospace}
.highlight pre{background:#f6f6f4;border-left:3px solid #bbb;padding:.6em .9em;margin:.8em 0}
.prompt{display:none}table{border-collapse:collapse;font-size:.8em;margin:1em 0;display:block;overflow-x:auto}
th,td{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}math{font-size:1.05em}
footer{margin-top:4em;border-top:1px solid #ccc;font-size:.8em;color:#444}
@media print{body{max-width:none;margin:0;font-size:10.5pt}nav{display:none}a{color:inherit;text-decoration:none}
img,table,pre,.highlight{break-inside:avoid}h2,h3{break-after:avoid}table{display:table;font-size:7.5pt}
pre{white-space:pre-wrap}@page{margin:18mm 16mm}}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{css}</style></head>
<body><nav>{links}</nav><main>{body}</main><footer>{footer}</footer></body></html>
"""


def build(stem: str, dataset: str, measured: str = "") -> Path:
    """Execute a notebook on a data set; replace its figures and tables; write its page.

    Args:
        stem: name of a file in `notebooks/`, without its suffix.
        dataset: embedded, kodak or a folder of pictures.
        measured: folder of measurements to read (`measurements`); empty to measure now.

    Returns:
        The page, `build/report/STEM.html`; the executed notebook lies beside it.

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
        cwd=str(notebook.parent), progress_bar=False,
    )  # fmt: skip
    name = stem + (f".{Path(dataset).name}" if "dataset" in known else "")
    publish(scratch, FIGURES, name, {"notebook": notebook.name} | made_from)
    return write_page(stem)


def stems() -> list[str]:
    """The notebooks' names, in order."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def weights(stem: str) -> dict[str, str]:
    """Name -> digest of the weights that a notebook loads, from their cards."""
    cards = {p for pattern in WEIGHTS.get(stem, ()) for p in (ROOT / "data" / "weights").glob(f"{pattern}.json")}
    return {path.stem: json.loads(read_bytes(path))["digest"] for path in sorted(cards)}


def sources(notebook: Path) -> list[Path]:
    """The notebook and the modules of codec_lib that it uses."""
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return [notebook, *provenance.sources(*sorted(provenance.imported(code)))]


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
    """`build/report/STEM.html` from the executed notebook beside it."""
    notebook = nbformat.read(OUT / f"{stem}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        if cell.cell_type == "code":
            cell.outputs = [_with_tables(output) for output in cell.outputs if output.get("name") != "stderr"]
    body, _ = HTMLExporter(template_name="basic", embed_images=True).from_notebook_node(notebook)
    path = OUT / f"{stem}.html"
    css = _CSS + HtmlFormatter().get_style_defs(".highlight")
    footer = f"{stem}.ipynb, executed by papermill. What it was made from: figures/{stem}*.json."
    page = _PAGE.format(title=html.escape(title(stem)), css=css, links=_links(stem), body=body, footer=footer)
    write_bytes(path, page.encode())
    return path


def title(stem: str) -> str:
    """The first heading of a notebook."""
    return nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4).cells[0].source.splitlines()[0].lstrip("# ")


def with_mathml(markdown: str) -> str:
    """Markdown with $...$ and $$...$$ turned into MathML, but for code."""

    def replace(match: re.Match) -> str:
        code, display, inline = match.groups()
        if code:
            return code
        formula = convert(display or inline, display="block" if display else "inline")
        return f"\n\n{formula}\n\n" if display else formula

    return re.sub(r"(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)\$", replace, markdown, flags=re.S)


def _with_tables(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A printed table (`tables.to_text`) as one of HTML; other output as it is."""
    if output.output_type != "stream" or not re.search(r"^\| --", output.text, re.M):
        return output
    parts = []
    for is_table, lines in _runs(output.text.splitlines()):
        text = "\n".join(lines)
        parts.append(_table(lines) if is_table else f"<pre>{html.escape(text)}</pre>" if text.strip() else "")
    return nbformat.v4.new_output("display_data", {"text/html": "".join(parts)})


def _runs(lines: list[str]) -> list[tuple[bool, list[str]]]:
    runs: list[tuple[bool, list[str]]] = []
    for line in lines:
        is_table = line.startswith("| ")
        if not runs or runs[-1][0] != is_table:
            runs.append((is_table, []))
        runs[-1][1].append(line)
    return runs


def _table(lines: list[str]) -> str:
    head, rule, *body = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    kinds = [' class="n"' if cell.endswith(":") else "" for cell in rule]

    def row(cells: list[str], tag: str) -> str:
        shown = (f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(shown)}</tr>"

    return (
        f"<table><thead>{row(head, 'th')}</thead><tbody>{''.join(row(cells, 'td') for cells in body)}</tbody></table>"
    )


def _links(stem: str) -> str:
    links = [("index.html", "report"), *((f"{other}.html", other[:2]) for other in stems())]
    return "".join(f'<a href="{to}">{name}</a>' for to, name in links if to != f"{stem}.html")


def write_index(dataset: str) -> Path:
    """`build/report/index.html`: links to the pages, what they were measured on, the main figures."""
    note = "Measured on the Kodak suite."
    if dataset != "kodak":
        note = f"Measured on the pictures of {Path(dataset).name}, not on the Kodak suite."
    if dataset == "embedded":
        note = "Kodak could not be had on this machine: measured on the photographs embedded in installed packages."
    items = "".join(
        f'<li><a href="{stem}.html">{html.escape(title(stem))}</a></li>'
        for stem in stems() if (OUT / f"{stem}.html").is_file()
    )  # fmt: skip
    names = [f"05_{what}_{Path(dataset).name}.png" for what in ("rate_distortion", "comparison_most")]
    shown = [name for name in names if (FIGURES / name).is_file()]
    pictures = "".join(f'<p><img src="../../figures/{name}" alt="{name}"></p>' for name in shown)
    body = f"<h1>Codecbook: the report</h1><p>{note}</p><ul>{items}</ul>{pictures}"
    made = f"Commit {provenance.commit() or 'unknown'}, {provenance.processor()}."
    path = OUT / "index.html"
    write_bytes(path, _PAGE.format(title="Codecbook: the report", css=_CSS, links="", body=body, footer=made).encode())
    return path


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, 1 if a cell failed, or 2; after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m codec_lib.pages", description=__doc__.splitlines()[0])
    parser.add_argument("notebook", help=f"{', '.join(stems())}, or index")
    parser.add_argument("--dataset", default="embedded", help="embedded, kodak or a folder (default: embedded)")
    parser.add_argument("--measured", default="", help="folder of measurements; without it all is measured now")
    args = parser.parse_args(arguments)
    try:
        OUT.mkdir(parents=True, exist_ok=True)
        print(write_index(args.dataset) if args.notebook == "index" else
              build(args.notebook, args.dataset, args.measured))  # fmt: skip
    except PapermillExecutionError as error:
        print(f"codec_lib: a notebook failed, cell {error.cell_index}: {error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    except (CodecError, OSError) as error:
        print(f"codec_lib: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
