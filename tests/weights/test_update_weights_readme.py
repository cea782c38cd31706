"""The tables of the weights' README are those that the cards and the ablations have."""

import json
import re

import pytest
import update_weights_readme
from update_weights_readme import README, TABLES

from codec_lib import tables
from codec_lib.weights import weight_files

TEXT = README.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_cards():
    assert update_weights_readme.updated(TEXT) == TEXT, "run: python tests/update_weights_readme.py"


def test_every_weight_file_has_a_line_with_the_numbers_of_its_card():
    parts = ([cell.strip() for cell in re.findall(r"[^|]+", line)] for line in TEXT.splitlines())
    lines = {cells[0]: cells for cells in parts if len(cells) == 9}
    for path in weight_files.WEIGHTS.glob("*.safetensors"):
        card = json.loads(path.with_suffix(".json").read_text())
        cells = lines[f"`{path.stem}`"]
        several = "0.0067 to 0.013" if card["preset"] == "paper" else "0.0035 to 0.093"
        assert cells[1] == (several if "lmbdas" in card else f"{card['lmbda']:g}")
        assert int(cells[2]) >= 1 + len(card.get("before", []))
        assert int(cells[3]) >= card["steps"]
        assert float(cells[6]) == pytest.approx(card["validation"]["val_loss"], abs=6e-4)
        assert float(cells[8]) == pytest.approx(card["validation"]["val_psnr"], abs=6e-3)


def test_ablations_before_and_after_they_were_measured(tmp_path):
    path = tmp_path / "table.csv"
    assert update_weights_readme.ablations(path) == "Not measured yet."
    row = {"variant": "adam", "what": "Adam", "steps": 60, "minutes": 3.01, "val_loss": 2.5, "val_bpp": 1.25,
           "val_psnr": 32.126, "difference": -0.04, "options": "--model joint"}  # fmt: skip
    tables.write_csv(path, [row])
    line = update_weights_readme.ablations(path).splitlines()[2]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["Adam", "60", "3.0", "2.500", "1.250", "32.13", "0.0"]


@pytest.mark.parametrize("mark", TABLES)
def test_a_table_that_is_not_there_or_there_twice_is_told(mark):
    for text in (TEXT.replace(mark, "gone"), f"{TEXT}\n{mark}\n"):
        with pytest.raises(ValueError, match="blocks that begin with"):
            update_weights_readme.updated(text)
