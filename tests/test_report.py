"""The report executes notebooks and makes pages; a notebook that fails is one sentence."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from codec_lib import report
from codec_lib.datasets import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "OUT", tmp_path / "build" / "report")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    return tmp_path / "build" / "report"


def notebook(path, *code: str):
    cells = [new_markdown_cell("# 07 · A <title>")]
    cells += [new_code_cell('dataset = "none"', metadata={"tags": ["parameters"]})]
    nb = new_notebook(cells=cells + [new_code_cell(c) for c in code])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nb, path)
    return path


# jupyter_client and zmq leave sockets to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
class TestExecution:
    def test_a_notebook_becomes_a_page_with_its_parameters(self, out, tmp_path, capsys):
        path = notebook(tmp_path / "07_a.ipynb", 'print("on", dataset)')
        assert report.main(["--dataset", "embedded", str(path)]) == 0
        executed = nbformat.read(out / "07_a.ipynb", as_version=4)
        assert any(o.get("text") == "on embedded\n" for c in executed.cells for o in c.get("outputs", []))
        assert "on embedded" in (out / "07_a.html").read_text()
        index = (out / "index.html").read_text()
        assert '<a href="07_a.html">07 · A &lt;title&gt;</a>' in index
        assert "2 pages" in capsys.readouterr().out

    def test_a_failing_notebook_is_named_in_one_line(self, out, tmp_path, capsys):
        path = notebook(tmp_path / "07_b.ipynb", "1 / 0")
        assert report.main(["--dataset", "embedded", str(path)]) == 1
        assert "ZeroDivisionError" in capsys.readouterr().err.splitlines()[-1]
        assert not (out / "index.html").exists()


def test_without_kodak_the_report_says_so(out, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report.datasets, "kodak_or_embedded", lambda: "embedded")
    monkeypatch.setattr(report, "build", lambda notebooks, dataset: [tmp_path / dataset])
    assert report.main([]) == 0
    assert "neither here nor can it be fetched" in capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_thin_executed_and_have_parameters(path):
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert sum("parameters" in c.metadata.get("tags", []) for c in code) == 1
    assert max(len(c.source.splitlines()) for c in code) <= 25
    assert not any(line.startswith("class ") for c in code for line in c.source.splitlines())
    assert all(c.execution_count for c in code), "a cell was never executed: nbval would pass it unchecked"
    assert not any(o.output_type == "error" for c in code for o in c.outputs)
