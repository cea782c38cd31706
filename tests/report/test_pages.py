"""A notebook becomes a page that stands alone, and its figures go in place with their record, or not at all."""

import hashlib
import json

import nbformat
import pytest
from conftest import is_a_sentence
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from codec_lib.datasets import NAMES, ROOT
from codec_lib.errors import BadData
from codec_lib.report import execution, pages
from codec_lib.weights.weight_files import WEIGHTS

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DRAWS = """
from pathlib import Path
(Path(figures) / f"07_a_{dataset}.csv").write_text("a\\n1\\n")
(Path(figures) / "07_always.csv").write_text(f"a\\n{len(dataset)}\\n")
print("on", dataset)
"""
PLOTS = """
from codec_lib.evaluation import plotting
figure = plotting.rate_distortion({"own": [{"bpp": 0.1, "psnr": 30.0}]}, y="psnr")
plotting.save(figure, f"07_rate_{dataset}", figures)
plotting.show()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("NOTEBOOKS", "FIGURES", "OUT"):
        monkeypatch.setattr(execution, name, tmp_path / name.lower())
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path


def notebook(place, stem: str, *code: str):
    cells = [new_markdown_cell("# 07 · A <title>")]
    cells += [new_code_cell('dataset = "none"\nfigures = "none"', metadata={"tags": ["parameters"]})]
    nb = new_notebook(cells=cells + [new_code_cell(c) for c in code])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nb, place / "notebooks" / f"{stem}.ipynb")


def files(place):
    return sorted(path.name for path in (place / "figures").glob("*"))


# jupyter_client and zmq leave sockets to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
class TestExecution:
    def test_a_notebook_becomes_a_page_its_figures_and_their_record(self, place, capsys):
        notebook(place, "07_a", DRAWS)
        assert pages.main(["07_a", "--dataset", "embedded", "--only", "execution"]) == 0
        assert not (place / "out" / "07_a.html").exists()
        assert pages.main(["07_a", "--only", "page"]) == 0
        assert "on embedded" in (place / "out" / "07_a.html").read_text()
        assert files(place) == ["07_a.embedded.json", "07_a_embedded.csv", "07_always.csv"]
        record = json.loads((place / "figures" / "07_a.embedded.json").read_text())
        assert record["notebook"] == "07_a.ipynb"
        assert record["data"]["name"] == "embedded"
        table = (place / "figures" / "07_a_embedded.csv").read_bytes()
        assert record["files"]["07_a_embedded.csv"] == hashlib.sha256(table).hexdigest()
        assert pages.main(["index", "--dataset", "embedded"]) == 0
        assert '<a href="07_a.html">07 · A &lt;title&gt;</a>' in (place / "out" / "index.html").read_text()

    def test_figures_are_png_in_place_and_drawings_in_the_page(self, place):
        notebook(place, "07_a", PLOTS)
        assert pages.main(["07_a"]) == 0
        assert files(place) == ["07_a.embedded.json", "07_rate_embedded.png"]
        page = (place / "out" / "07_a.html").read_text()
        assert page.count("<img") == page.count('src="data:image/svg+xml,') == 1
        assert "<code>07_rate_embedded</code>" in page and "rate [bit/pixel], PSNR [dB], own" in page

    def test_a_failing_notebook_is_named_and_changes_nothing(self, place, capsys):
        notebook(place, "07_a", DRAWS, "1 / 0")
        (place / "figures").mkdir()
        (place / "figures" / "07_a_embedded.csv").write_text("old")
        assert pages.main(["07_a", "--dataset", "embedded"]) == 1
        assert "ZeroDivisionError" in capsys.readouterr().err.splitlines()[-1]
        assert files(place) == ["07_a_embedded.csv"]
        assert (place / "figures" / "07_a_embedded.csv").read_text() == "old"
        assert sorted(p.name for p in (place / "out").iterdir()) == ["figures"], "nothing that a page could be made of"
        told = nbformat.read(place / "out" / "figures" / "07_a.ipynb", as_version=4)
        assert any(o.output_type == "error" for c in told.cells if c.cell_type == "code" for o in c.outputs)


def test_a_page_is_made_of_what_was_executed(place, capsys):
    notebook(place, "07_a")
    assert pages.main(["07_a", "--only", "page"]) == 2
    assert "07_a was not executed" in capsys.readouterr().err
    nbformat.write(new_notebook(cells=[new_markdown_cell("executed before")]), place / "out" / "07_a.ipynb")
    assert pages.main(["07_a", "--only", "page"]) == 0
    assert "executed before" in (place / "out" / "07_a.html").read_text()


def test_an_unknown_notebook_is_one_sentence(place, capsys):
    assert pages.main(["08_none"]) == 2
    with pytest.raises(BadData) as caught:
        execution.execute("08_none", "embedded")
    assert is_a_sentence(caught.value)


def test_the_index_has_the_main_figures_within(place, monkeypatch):
    monkeypatch.setattr(pages, "MAIN", "07_a")
    notebook(place, "07_a")
    (place / "out" / "07_a.html").write_text("a page")
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><g id="{}_some &amp; more"></g></svg>'
    outputs = [new_output("display_data", {"image/svg+xml": svg.format(n)}) for n in (*pages.MAIN_FIGURES, "05_other")]
    nb = new_notebook(cells=[new_markdown_cell("## Curves"), new_code_cell("", outputs=outputs)])
    nbformat.write(nb, place / "out" / "07_a.ipynb")
    index = pages.write_index(str(place / "some & more")).read_text()
    assert index.count("<img") == index.count('src="data:image/svg+xml,') == len(pages.MAIN_FIGURES)
    assert all(f"Curves <code>{name}_some &amp; more</code>" in index for name in pages.MAIN_FIGURES)
    assert "pictures of some &amp; more, not on the Kodak suite" in index and "../" not in index


def test_the_main_figures_are_those_of_a_notebook():
    source = (ROOT / "notebooks" / f"{pages.MAIN}.ipynb").read_text()
    assert (
        'f\\"05_rate_distortion_{dataset_name}\\"' in source and 'f\\"05_comparison_{label}_{dataset_name}\\"' in source
    )


def published(place, name: str, *new: str):
    scratch = place / "scratch"
    scratch.mkdir()
    for file in new:
        (scratch / file).write_text(name)
    execution.publish(scratch, place / "figures", name, {"notebook": "x"})
    scratch.rmdir()  # all has moved


def listed(place, name: str):
    return sorted(json.loads((place / "figures" / f"{name}.json").read_text())["files"])


def test_what_a_notebook_no_longer_makes_goes(place):
    published(place, "07_a.kodak", "07_one.csv", "07_two.csv")
    published(place, "08_b.kodak", "08_one.csv")
    published(place, "07_a.kodak", "07_two.csv", "07_three.csv")
    assert files(place) == ["07_a.kodak.json", "07_three.csv", "07_two.csv", "08_b.kodak.json", "08_one.csv"]
    assert listed(place, "07_a.kodak") == ["07_three.csv", "07_two.csv"]


def test_each_file_belongs_to_the_run_that_made_it_last(place):
    published(place, "07_a.kodak", "07_kodak.csv", "07_both.csv")
    published(place, "07_a.embedded", "07_embedded.csv", "07_both.csv")
    assert listed(place, "07_a.kodak") == ["07_kodak.csv"]
    assert listed(place, "07_a.embedded") == ["07_both.csv", "07_embedded.csv"]
    published(place, "07_a.kodak", "07_kodak.csv", "07_both.csv")
    assert listed(place, "07_a.embedded") == ["07_embedded.csv"]
    assert "07_embedded.csv" in files(place)


def test_a_file_that_another_record_lists_stays(place):
    """As after a merge that brought back a record of before."""
    published(place, "07_a.kodak", "07_both.csv")
    record = place / "figures" / "07_a.kodak.json"
    before = record.read_bytes()
    published(place, "07_a.embedded", "07_both.csv", "07_gone.csv")
    record.write_bytes(before)
    published(place, "07_a.embedded", "07_new.csv")
    assert files(place) == ["07_a.embedded.json", "07_a.kodak.json", "07_both.csv", "07_new.csv"]
    assert listed(place, "07_a.kodak") == ["07_both.csv"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_sources_and_weights_of_the_notebooks_exist(path):
    sources = execution.sources(path)
    assert path in sources and len(sources) > 3 and all(source.is_file() for source in sources)
    for name, digest in execution.weights(path.stem).items():
        assert (WEIGHTS / f"{name}.safetensors").is_file() and len(digest) == 64
    assert bool(execution.weights(path.stem)) == (path.stem in execution.WEIGHTS)


def test_every_table_of_data_belongs_to_the_notebook_that_reads_it():
    of = {
        s: {p.name for p in execution.sources(execution.NOTEBOOKS / f"{s}.ipynb") if p.suffix == ".csv"}
        for s in execution.stems()
    }
    own = of["00_autoencoders"] - {"releases.csv"}  # that all read who load weights
    assert own == {"autoencoder_runs.csv", "reported_autoencoders.csv"}
    assert "reported_numbers.csv" in of["05_evaluation"], "reproduction reads it"
    others = {f"{name}.csv" for name in NAMES} | {"ablations.csv"}  # manifests, and a table of data/weights/README.md
    assert set().union(*of.values()) == {path.name for path in (ROOT / "data").glob("*.csv")} - others


def test_the_weights_of_a_notebook_are_those_it_loads():
    of = {stem: set(execution.weights(stem)) for stem in execution.stems()}
    lessons = of["02_factorized_prior"] | of["03_hyperprior"] | of["04_autoregressive"] | of["06_beyond_the_reports"]
    assert of["05_evaluation"] >= {name for name in lessons if not name.endswith("-paper")}
    assert of["03_hyperprior"] >= of["02_factorized_prior"] >= {"factorized-compact", "factorized-paper"}
    assert {name.split("-")[0] for name in of["04_autoregressive"]} == {
        "factorized",
        "hyperprior",
        "joint",
        "checkerboard",
    }
    assert "ae-strided-compact-q2" in of["00_autoencoders"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_thin_executed_and_have_parameters(path):
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
    assert max(len(c.source.splitlines()) for c in code) <= 25
    assert not any(line.startswith("class ") for c in code for line in c.source.splitlines())
    assert all(c.execution_count for c in code), "a cell was never executed: nbval would pass it unchecked"
    assert not any(o.output_type == "error" for c in code for o in c.outputs)
