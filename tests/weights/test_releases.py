"""Weights are kept by digest, and an error names the release that has them."""

import csv
import json
import re

import pytest

from codec_lib import __version__
from codec_lib.coding.container import Header
from codec_lib.errors import WrongModel
from codec_lib.places import WEIGHTS
from codec_lib.weights import releases, weight_files


def test_the_weights_of_this_release_are_in_the_table():
    """After weights were published: python tests/update_releases.py."""
    for card in sorted(WEIGHTS.glob("*.json")):
        digest = bytes.fromhex(json.loads(card.read_bytes())["digest"])[:8]
        assert __version__ in releases.releases_of(digest), card.stem


def test_lines_are_unique():
    with open(releases.RELEASES, newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert len(set(rows)) == len(rows)


def test_an_error_names_the_release(monkeypatch, tmp_path, weights):
    table = tmp_path / "releases.csv"
    table.write_text("release,name,digest\n0.9.0,factorized-tiny-q2,0123456789012345\n")
    monkeypatch.setattr(releases, "RELEASES", table)
    known, unknown = (
        Header("factorized", 2000, "constriction", bytes.fromhex(d * 2), 8, 8) for d in ("01234567", "ab" * 4)
    )
    with pytest.raises(WrongModel, match="no release of codecbook has them"):
        weight_files.load_for(unknown, weights)
    table.write_text(f"release,name,digest\n0.9.0,factorized-tiny-q2,{known.weights.hex()}\n")
    with pytest.raises(WrongModel, match=re.escape("release 0.9.0 of codecbook has them")):
        weight_files.load_for(known, weights)
