"""Every measured number of the README and of the notebooks' text stands in a table of `figures/` or `data/`."""

import csv
import re
from pathlib import Path

import nbformat
import pytest

from codec_lib import rates, registry, tables
from codec_lib.places import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\.\d)")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def values(folder: Path, pattern: str = "*.csv") -> set[float]:
    """The size of every number in the tables of a folder."""
    found = set()
    for path in folder.glob(pattern):
        with open(path, newline="", encoding="utf-8") as file:
            for cell in (cell for row in csv.reader(file) for cell in row):
                if re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", cell):
                    found.add(abs(float(cell)))
    return found


def unknown(text: str, known: set[float]) -> list[str]:
    """The decimal numbers of a text that no table has, rounded as they are in the text."""
    text = re.sub(r"arXiv[: ]*\d{4}\.\d{5}|```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    places = {number: len(number.split(".")[1]) for number in DECIMAL.findall(text)}
    return [n for n, k in places.items() if not any(abs(value - float(n)) <= 0.5001 * 10**-k for value in known)]


def test_a_number_that_no_table_has_is_noticed():
    assert unknown("from 1.25 to 3.7 dB in version 2.13.0", {1.2549, 3.649}) == ["3.7"]


def test_the_decimals_of_the_readme_are_in_the_tables():
    results = README.split("\n## Results\n")[1].split("\n## Train your own\n")[0]
    assert len(DECIMAL.findall(results)) > 80
    assert unknown(results, values(ROOT / "figures") | values(ROOT / "data")) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_decimals_of_a_notebooks_text_are_in_its_tables(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert unknown(text, values(ROOT / "figures", f"{path.stem[:2]}_*.csv") | values(ROOT / "data")) == []


def table_of_readme(head: str) -> list[dict[str, str]]:
    """The rows of the README's table whose first line begins with `head`."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if " ".join(line.split()).startswith(head))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [dict(zip([c.strip() for c in lines[start].strip("|").split("|")], row, strict=True)) for row in rows]


def agrees(shown: str, value: float) -> bool:
    digits = len(shown.partition(".")[2])
    return abs(float(shown) - value) <= 0.5001 * 10**-digits


def test_the_results_table_is_that_of_the_report():
    measured = {(r["model"], r["quality"]): r for r in tables.read_csv(ROOT / "figures" / "05_models_kodak.csv")}
    rows = table_of_readme("| quality | lmbda |")
    assert {(model, int(row["quality"])) for row in rows for model in registry.PRIORS} == set(measured)
    for row in rows:
        ours = measured["hyperprior", int(row["quality"])]
        assert agrees(row["lmbda"], ours["lmbda"])
        assert agrees(row["PSNR [dB]"], ours["psnr"]) and agrees(row["MS-SSIM"], ours["ms_ssim"])
        for model in registry.PRIORS:
            assert agrees(row[f"{model} [bpp]"], measured[model, int(row["quality"])]["bpp"])


def test_the_losses_are_those_of_the_report():
    measured = {r["lmbda"]: r for r in tables.read_csv(ROOT / "figures" / "05_losses_kodak.csv")}
    rows = table_of_readme("| loss at lmbda |")
    assert [float(row["loss at lmbda"]) for row in rows] == list(rates.LMBDAS)
    for row in rows:
        assert len(row) == 1 + len(registry.PRIORS) + 3
        for name in row.keys() - {"loss at lmbda"}:
            assert agrees(row[name], measured[float(row["loss at lmbda"])][name])


def test_the_bd_rates_are_those_of_the_report():
    matrix = {row["against"]: row for row in tables.read_csv(ROOT / "figures" / "05_bd_rate_kodak.csv")}
    theirs = {
        "factorized": "bmshj2018-factorized", "hyperprior": "bmshj2018-hyperprior", "joint": "mbt2018",
        "checkerboard": "mbt2018", "space-channel": "mbt2018",
    }  # fmt: skip
    rows = table_of_readme("| BD-rate [%] |")
    assert [row["BD-rate [%]"] for row in rows] == list(theirs)
    for row in rows:
        model = row["BD-rate [%]"]
        curve = "joint" if theirs[model] == "mbt2018" else model
        assert agrees(row["the report"], matrix[f"{curve}, the report (published)"][model])
        assert agrees(row["CompressAI"], matrix[f"CompressAI {theirs[model]} (MSE), published"][model])
        for name in ("JPEG", "JPEG 2000", "WebP", "AVIF 4:4:4", "JPEG XL"):
            assert agrees(row[name], matrix[name][model])


def test_the_table_of_autoencoders_is_that_of_notebook_00():
    measured = {(r["model"], r["B"]): r for r in tables.read_csv(ROOT / "figures" / "00_autoencoders_kodak.csv")}
    rows = table_of_readme("| model | B |")
    assert {(row["model"], int(row["B"])) for row in rows} == set(measured)
    for row in rows:
        ours = measured[row["model"], int(row["B"])]
        shown = {"bpp": "bpp", "PSNR [dB]": "psnr", "JPEG, no fewer bits [dB]": "JPEG psnr"}
        assert all(agrees(row[column], ours[name]) for column, name in shown.items())
