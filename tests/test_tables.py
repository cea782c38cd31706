"""Tables: CSV there and back, and aligned text."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_lib import tables
from codec_lib.errors import BadData

ROWS = [{"name": "JPEG, q=5", "bpp": 0.25, "n": 24}, {"name": "own", "bpp": None, "n": 7, "note": 'says "hi"'}]

# Text that is not also a number, and survives a CSV file: that is all a CSV file can promise.
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1).filter(
    lambda s: tables._parsed(s) == s
)
values = st.one_of(st.none(), st.integers(), st.floats(-1e6, 1e6).map(lambda v: round(v, 6) + 0.0), words)


def test_rows_come_back_and_gaps_are_none(tmp_path):
    tables.write_csv(tmp_path / "t.csv", ROWS)
    assert (tmp_path / "t.csv").read_text() == (
        'name,bpp,n,note\n"JPEG, q=5",0.25,24,\nown,,7,"says ""hi"""\n'
    )  # fmt: skip
    assert tables.read_csv(tmp_path / "t.csv") == [{"note": None} | ROWS[0], ROWS[1]]


def test_a_name_of_digits_stays_a_name(tmp_path):
    tables.write_csv(tmp_path / "t.csv", [{"image": "0801", "n": 0, "v": 0.5, "w": -10}])
    assert tables.read_csv(tmp_path / "t.csv") == [{"image": "0801", "n": 0, "v": 0.5, "w": -10}]


@given(rows=st.lists(st.fixed_dictionaries({"a b": values, "c": values}), min_size=1, max_size=5))
def test_any_rows_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    tables.write_csv(path, rows)
    back = tables.read_csv(path)
    assert back == rows
    assert all(
        type(row[name]) is type(value) for row, old in zip(back, rows, strict=True) for name, value in old.items()
    )


def test_floats_are_rounded_so_that_files_do_not_depend_on_the_last_bits(tmp_path):
    numbers = [0.1 + 0.2, np.float32(0.1), np.float64(-1e-9), math.inf, np.int64(3), 1e5]
    tables.write_csv(tmp_path / "t.csv", [{"v": v} for v in numbers])
    assert (tmp_path / "t.csv").read_text().split() == ["v", "0.3", "0.1", "0.0", "inf", "3", "100000.0"]
    tables.write_csv(tmp_path / "t.csv", [{"v": 0.12345}], digits=2)
    assert tables.read_csv(tmp_path / "t.csv") == [{"v": 0.12}]


def test_not_a_number_comes_back(tmp_path):
    tables.write_csv(tmp_path / "t.csv", [{"v": math.nan}])
    assert math.isnan(tables.read_csv(tmp_path / "t.csv")[0]["v"])


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        tables.write_csv(tmp_path / "t.csv", [])
    assert not list(tmp_path.iterdir())


def test_no_folder_no_file(tmp_path):
    with pytest.raises(BadData, match="does not exist"):
        tables.write_csv(tmp_path / "absent" / "t.csv", ROWS)
    with pytest.raises(BadData, match="Cannot read"):
        tables.read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [b"", b"a,b\n1\n", b"a,b\n1,2,3\n", b"a\n\xff\xfe\n", b'a\n"open\n'])
def test_what_is_not_a_table_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadData, match="not a CSV table"):
        tables.read_csv(tmp_path / "t.csv")


def test_text_is_aligned_markdown_with_numbers_to_the_right():
    assert tables.to_text(ROWS).splitlines() == [
        "| name      |   bpp |   n | note      |",
        "| --------- | ----: | --: | --------- |",
        "| JPEG, q=5 | 0.250 |  24 |           |",
        '| own       |       |   7 | says "hi" |',
    ]


def test_text_shows_the_columns_and_digits_asked_for():
    rows = [{"a": 1.25, "b": -0.0001, "c": True, "d": "x|y"}]
    assert tables.to_text(rows, ["b", "a"], digits={"a": 1}).splitlines()[2] == "| 0.000 | 1.2 |"
    assert tables.to_text(rows, ["c", "d"]).splitlines()[2] == r"| True | x\|y |"
    assert tables.to_text(rows, ["a", "absent"], digits=0).splitlines()[2] == "|   1 |        |"


def test_a_notebook_shows_a_table_as_html_and_as_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    tables.show(ROWS, ["name", "bpp"], digits={"bpp": 1})
    (data,) = shown
    assert data["text/plain"].split("\n") == ["     name bpp", "JPEG, q=5 0.2", "      own    "]
    assert "<td>0.2</td>" in data["text/html"] and "<td>JPEG, q=5</td>" in data["text/html"]
    tables.show(ROWS)
    assert shown[-1]["text/plain"].splitlines()[0].split() == ["name", "bpp", "n", "note"]


def test_steady_rows_have_the_digits_that_any_machine_computes():
    row = {"a": 0.123456, "b": 143923.42, "c": 393216.0, "d": 24, "e": "x", "f": None, "g": math.inf, "h": True}
    assert tables.steady([row]) == [row | {"a": 0.1235, "b": 143900.0}]
