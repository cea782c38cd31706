"""The README's tables of results are those that the script writes from the tables of the report."""

import shutil

import pytest
import update_readme
from update_readme import FIGURES, README, TABLES

from codec_lib import tables

TEXT = README.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_figures():
    assert update_readme.updated(TEXT) == TEXT, "run: python tests/update_readme.py"


def test_another_number_changes_its_cell_and_nothing_else(tmp_path):
    for path in FIGURES.glob("*_kodak.csv"):
        shutil.copy(path, tmp_path)
    rows = tables.read_csv(FIGURES / "05_models_kodak.csv")
    row = next(row for row in rows if row["model"] == "hyperprior" and row["quality"] == 2)
    row["psnr"] = 99.994
    tables.write_csv(tmp_path / "05_models_kodak.csv", rows)
    changed = update_readme.updated(TEXT, tmp_path)
    before, after = TEXT.splitlines(), changed.splitlines()
    ((old, new),) = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    cells = [(a, b) for a, b in zip(old.split("|"), new.split("|"), strict=True) if a != b]
    assert [b.strip() for _, b in cells] == ["99.99"]
    assert [cell.strip() for cell in new.split("|")[1:3]] == ["2", "0.0130"]


def test_what_was_typed_by_hand_is_overwritten():
    line = next(line for line in TEXT.splitlines() if line.startswith("| ae-vector "))
    assert update_readme.updated(TEXT.replace(line, "| ae-vector | 4 | 0.001 | 40.00 | 20.00 |")) == TEXT


@pytest.mark.parametrize("head", TABLES)
def test_a_table_that_is_not_there_or_there_twice_is_told(head):
    block = next(block for block in TEXT.split("\n\n") if " ".join(block.split()).startswith(head))
    for text in (TEXT.replace(block, "gone"), TEXT.replace(block, f"{block}\n\n{block}")):
        with pytest.raises(ValueError, match="tables that begin with"):
            update_readme.updated(text)
