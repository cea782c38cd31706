"""The front page says what the tables hold, and nothing where they hold nothing."""

import pytest

from codec_lib import tables
from codec_lib.places import ROOT
from codec_lib.report import front, webpage


@pytest.fixture
def folder(tmp_path):
    matrix = [
        {"against": "factorized", "factorized": 0.0, "hyperprior": -30.4, "joint": -34.0, "checkerboard": -33.0},
        {"against": "hyperprior", "factorized": 40.0, "hyperprior": 0.0, "joint": -6.2, "checkerboard": -4.1},
        {"against": "JPEG", "factorized": -25.0, "hyperprior": -45.0, "joint": -48.4, "checkerboard": -47.0},
        {"against": "WebP", "factorized": 14.0, "hyperprior": -17.0, "joint": -21.0, "checkerboard": -19.0},
        {"against": "AVIF 4:4:4", "factorized": 50.0, "hyperprior": 8.0, "joint": 2.4, "checkerboard": 5.0},
    ]
    tables.write_csv(tmp_path / "05_bd_rate_kodak.csv", matrix)
    tables.write_csv(tmp_path / "05_checks_kodak.csv", [{"files": 24, "exact": 24, "near": 24}] * 50)
    row = {"model": "joint", "time(dec)": 0.5}
    both = [row | {"bpp": 0.38, "psnr": 31.7}, row | {"bpp": 1.11, "psnr": 37.2}]
    tables.write_csv(tmp_path / "05_models_kodak.csv", both)
    return tmp_path


def test_findings_are_the_numbers_of_the_tables(folder):
    said = front.findings(folder, "kodak")
    assert "The joint model needs the fewest: 48 % fewer than JPEG, 21 % fewer than WebP and 2 % more than AVIF" in said
    assert "hyperprior needs 30 % fewer bits than the factorized" in said
    assert "-6 % (joint, along a wavefront) or -4 % (checkerboard" in said
    assert "All 1,200 files decode" in said and "size of all is within" in said
    assert "second set" not in said


@pytest.mark.parametrize(("joint", "order"), [(-47.0, "the same"), (-30.0, "another")])
def test_the_second_set_agrees_or_not(folder, joint, order):
    def row(name, against, **models):
        return {
            "set": name,
            "against": against,
            "factorized": -20.0,
            "hyperprior": -45.0,
            "checkerboard": -46.0,
        } | models

    rows = [row("kodak", "JPEG", joint=-48.0), row("photographs", "JPEG", joint=joint)]
    rows += [row("kodak", "AVIF 4:4:4", hyperprior=8.0), row("photographs", "AVIF 4:4:4", hyperprior=31.0)]
    tables.write_csv(folder / "05_sets_kodak.csv", rows)
    said = front.findings(folder, "kodak")
    assert f"On the second set, photographs, the order of the models is {order}, and" in said
    assert "+31.0 instead of +8.0 % against AVIF" in said


def test_a_file_that_is_not_exact_is_counted(folder):
    tables.write_csv(folder / "05_checks_kodak.csv", [{"files": 24, "exact": 23, "near": 20}])
    assert "23 of 24 files decode" in front.findings(folder, "kodak")


def test_without_tables_the_page_has_no_findings(tmp_path):
    assert front.findings(tmp_path, "kodak") == front.models(tmp_path, "kodak") == ""
    page = front.markdown(tmp_path, "kodak", "A note.", "", {})
    assert page.startswith("# Codecbook") and "## The models" not in page and "## What is exact" in page


def test_a_curve_that_overlaps_no_other_is_left_out(folder):
    """As of a folder of few pictures, where some rate or model is missing."""
    rows = tables.read_csv(folder / "05_bd_rate_kodak.csv")
    tables.write_csv(folder / "05_bd_rate_kodak.csv", rows[2:])
    said = front.findings(folder, "kodak")
    assert "joint model needs the fewest" in said and "factorized prior" not in said and "Context" not in said
    alone = [row | dict.fromkeys(("factorized", "hyperprior", "joint", "checkerboard")) for row in rows]
    tables.write_csv(folder / "05_bd_rate_kodak.csv", alone)
    assert front.findings(folder, "kodak") == ""


def test_the_page_has_its_parts_in_order(folder):
    page = webpage.to_html(front.markdown(folder, "kodak", "Note.", "<figure>F</figure>", {"05_a.html": "05 · <A>"}))
    parts = ["Note.", "48 % fewer", "<figure>F</figure>", "<table>", "0.38 – 1.11", "in integers", "05 · &lt;A&gt;"]
    assert [page.index(part) for part in parts] == sorted(page.index(part) for part in parts)


def test_what_is_said_of_tests_names_files_that_exist():
    named = [word.strip("`(),.") for word in front.EXACT.split() if word.strip("(),.").startswith("`tests/")]
    assert len(named) == 4 and all((ROOT / name).exists() for name in named)
