"""Each figure and table that is committed is as it was made, and was made from the weights that are committed."""

import hashlib
import json

import pytest

from codec_lib.evaluation import provenance
from codec_lib.places import ROOT
from codec_lib.report import execution

FIGURES = ROOT / "figures"
RECORDS = sorted(FIGURES.glob("*.json"))


def test_every_figure_and_table_is_in_one_record_as_it_is():
    listed: dict[str, str] = {}
    for record in RECORDS:
        files = json.loads(record.read_text())["files"]
        assert not set(files) & set(listed)
        listed |= files
    here = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in FIGURES.iterdir() if p.suffix != ".json"}
    assert listed == here


@pytest.mark.parametrize("record", RECORDS, ids=lambda p: p.stem)
def test_a_record_names_the_weights_pictures_and_versions_of_now(record):
    made = json.loads(record.read_text())
    stem = record.stem.split(".")[0]
    assert made["notebook"] == f"{stem}.ipynb"
    assert made["weights"] == execution.weights(stem)
    assert len(made["code"]) == 64 and len(made["commit"].rstrip("+")) == 40
    assert set(made["versions"]) == {"python", *provenance.VERSIONS}
    if made["data"] is not None:
        assert made["data"] == provenance.of_data(made["data"]["name"])


def test_every_notebook_has_a_record():
    assert {record.stem.split(".")[0] for record in RECORDS} == set(execution.stems())
