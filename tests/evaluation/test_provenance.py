"""A result carries what it was made from, and is refused once that has changed."""

import inspect
import json
import subprocess
from pathlib import Path

import pytest
from conftest import is_a_sentence

from codec_lib import registry
from codec_lib.errors import BadData
from codec_lib.evaluation import provenance
from codec_lib.places import ROOT


def names(*modules):
    return {path.stem for path in provenance.sources(*modules)}


def test_sources_are_all_that_a_module_imports():
    assert names("files") == {"errors", "files"}
    assert {"evaluation", "codec", "checkerboard", "compact", "metrics", "container"} <= names("evaluation.evaluation")
    assert not {"training", "plotting", "report", "pages", "runs"} & names("evaluation.evaluation")


@pytest.mark.parametrize("name", registry.models())
def test_a_measurement_tells_of_the_code_of_every_model(name):
    """The registry names classes in strings; one put together from parts would be missed."""
    module = inspect.getfile(registry.entry(name).load())
    assert Path(module) in provenance.sources("evaluation.evaluation")


def test_sources_see_every_form_of_import(tmp_path, monkeypatch):
    package = tmp_path / "codec_lib"
    package.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", package)
    for name, text in {
        "__init__": "def load():\n    from codec_lib.e import f\n", "a": "import numpy as np, codec_lib.b\n",
        "b": "def f():\n    from codec_lib.c import g\n", "c": "from numpy import codec_lib\n", "d": "", "e": "",
        "g": "from codec_lib import b, d\n", "h": "import codec_lib as x\n", "i": "from codec_lib import load\n",
        "j": "from codec_lib.p import k\n", "l": "from codec_lib.p.k import m\n",
    }.items():  # fmt: skip
        (package / f"{name}.py").write_text(text)
    (package / "p").mkdir()
    (package / "p" / "__init__.py").write_text("")
    (package / "p" / "k.py").write_text("import codec_lib.d\n")
    assert names("a") == {"a", "b", "c"}
    assert names("g") == {"b", "c", "d", "g"}
    assert names("h") == {"h", "__init__", "e"}
    assert names("i") == {"i", "__init__", "e"}
    assert names("j") == {"j", "k", "d"}
    assert names("l") == {"l", "k", "d"}


def test_tables_are_those_that_source_names(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "DATA", tmp_path / "data")
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "b.csv", "c.csv", "d.csv"):
        (tmp_path / "data" / name).touch()
    source = '"""Of data/c.csv."""\nread(ROOT / "data" / "a.csv")  # "d.csv"\ndef f(n="b.csv"):\n    return f"{n}.csv"'
    assert {path.name for path in provenance.tables(source)} == {"a.csv", "b.csv"}


@pytest.fixture
def result(tmp_path):
    path, code = tmp_path / "table.csv", tmp_path / "code.py"
    path.write_text("a\n1\n")
    code.write_text("x = 1\n")

    def record(**changed):
        return provenance.record([code], {"w": "00"}, "embedded") | changed

    provenance.keep(path, record())
    return path, record


def test_what_is_unchanged_is_taken(result):
    path, record = result
    provenance.check(path, record())
    kept = json.loads(path.with_suffix(".json").read_text())
    assert kept["data"]["name"] == "embedded"
    assert set(kept) == {"code", "weights", "data", "commit", "versions", "machine", "files"}
    assert kept["versions"]["torch"].startswith("2.") and kept["versions"].keys() == {"python", *provenance.VERSIONS}


def test_versions_are_told_of_what_is_installed(result, monkeypatch):
    """torchac, say, is an extra that a measurement with another coder does not need."""
    monkeypatch.setattr(provenance, "VERSIONS", ("torch", "no-such-package"))
    assert result[1]()["versions"].keys() == {"python", "torch"}


def test_where_it_was_made_does_not_matter(result):
    path, record = result
    provenance.check(path, record(commit="other", machine={}, versions={}))


@pytest.mark.parametrize("what", ["code", "weights", "data"])
def test_what_was_made_from_something_else_is_refused(result, what):
    path, record = result
    with pytest.raises(BadData, match=f"other {what} than") as caught:
        provenance.check(path, record(**{what: "other"}))
    assert is_a_sentence(caught.value)


def test_another_source_file_is_other_code(result, tmp_path):
    path, record = result
    (tmp_path / "code.py").write_text("x = 2\n")
    with pytest.raises(BadData, match="other code"):
        provenance.check(path, record())


def test_a_table_changed_afterwards_is_refused(result):
    path, record = result
    path.write_text("a\n2\n")
    with pytest.raises(BadData, match="changed after"):
        provenance.check(path, record())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}'])
def test_a_record_that_is_none_is_refused(result, text):
    path, record = result
    path.with_suffix(".json").write_text(text)
    with pytest.raises(BadData, match="is not the record") as caught:
        provenance.check(path, record())
    assert is_a_sentence(caught.value)


def test_without_a_record_there_is_no_result(result):
    path, record = result
    path.with_suffix(".json").unlink()
    with pytest.raises(BadData):
        provenance.check(path, record())


def test_a_folder_of_pictures_is_known_by_its_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    before = provenance.of_data(tmp_path)
    (tmp_path / "a.png").write_bytes(b"2")
    assert before["name"] == tmp_path.name
    assert provenance.of_data(tmp_path)["sha256"] != before["sha256"]


def test_the_commit_is_gits(tmp_path, monkeypatch):
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert provenance.commit().rstrip("+") == head.stdout.strip()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "x")
    assert provenance.commit() is None
