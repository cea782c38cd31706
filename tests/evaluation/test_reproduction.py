"""The reproduction table: the reports' numbers are complete, ours are found beside them, differences are right."""

from collections import Counter
from pathlib import Path

import pytest

from codec_lib import datasets, tables
from codec_lib.errors import BadData
from codec_lib.evaluation import reproduction

DATA, FIGURES = datasets.ROOT / "data", datasets.ROOT / "figures"
COLUMNS = ["report", "item", "setting", "quantity", "unit", "value", "note"]
UNITS = {
    "bpp": "bit/pixel", "psnr": "dB", "bits": "bit", "num_pixels": "pixel", "time(enc)": "s", "time(dec)": "s",
    "params": "M", "macs": "G", "symbols": "1", "symbols per pixel": "1/pixel",
}  # fmt: skip


@pytest.fixture(scope="module")
def reported_rows() -> list[tables.Row]:
    return tables.read_csv(reproduction.REPORTED_NUMBERS)


@pytest.fixture(scope="module")
def compared(reported_rows) -> list[tables.Row]:
    return reproduction.compare(reported_rows, reproduction.collect(FIGURES))


def numbers(rows: list[tables.Row]) -> Counter:
    return Counter((r["report"], r["item"], r["setting"], r["quantity"], r["value"]) for r in rows)


def older_numbers() -> list[tuple]:
    """All numbers of the three older tables, as `numbers` has them."""
    found = []
    for r in tables.read_csv(DATA / "reported_results.csv"):
        quantities = ("num_pixels", "bits", "bpp", "psnr", "time(enc)", "time(dec)")
        found += [(4, r["model"], f"lmbda={r['lmbda']}", q, r[q]) for q in quantities]
    for r in tables.read_csv(DATA / "reported_complexity.csv"):
        found += [(4, r["model"], "lmbda=0.0067", "params", r["params_millions"]),
                  (4, r["model"], "lmbda=0.0067;pixels=393216", "macs", r["macs_billions"])]  # fmt: skip
    for r in tables.read_csv(DATA / "reported_autoencoders.csv"):
        setting = f"picture={r['picture']};B={r['B']}"
        found += [(2, "ae-resnet18", setting, q, r[q]) for q in ("bpp", "psnr")]
        setting = f"picture={r['picture']};q={r['jpeg_quality']}"
        found += [(2, "jpeg", setting, q, r[f"jpeg_{q}"]) for q in ("bpp", "psnr")]
    return [number for number in found if number[-1] is not None]


def test_every_number_of_the_older_tables_is_there_once(reported_rows):
    found, older = numbers(reported_rows), older_numbers()
    assert len(older) == 8 * 6 + 4 * 2 + 4 * 2 + 5 * 2 + 3 * 2
    assert {number: found[number] for number in older} == dict.fromkeys(older, 1)


def test_the_numbers_that_the_older_tables_lack_are_there(reported_rows):
    older = set(older_numbers())
    assert {n for n in numbers(reported_rows) if n not in older} == {
        (1, "ae-vector", "picture=1", "psnr", 12.6),
        (3, "ae-resnet18", "B=2;pixels=262144", "symbols", 32768),
        (3, "ae-resnet18", "B=2", "symbols per pixel", 0.125),
        (4, "hyperprior", "lmbda=0.0067", "params", 2.887),
        (4, "factorized", "lmbda=0.0067;pixels=4194304", "macs", 771.752),
        (4, "hyperprior", "lmbda=0.0067;pixels=4194304", "macs", 771.752),
        (4, "joint", "lmbda=0.0067;pixels=4194304", "macs", 1730),
        (4, "checkerboard", "lmbda=0.0067;pixels=4194304", "macs", 1747),
    }


def test_the_rows_are_well_formed(reported_rows):
    assert all(list(row) == COLUMNS for row in reported_rows)
    assert {row["report"] for row in reported_rows} == {1, 2, 3, 4}
    assert all(str(row["unit"]) == UNITS[row["quantity"]] for row in reported_rows)
    assert max(numbers(reported_rows).values()) == 1


def test_rates_are_bits_per_pixel(reported_rows):
    """The fourth report's rates exceed its bits over its pixels by up to 208 bit: a slip of a digit would show."""
    at = {(r["item"], r["setting"], r["quantity"]): r["value"] for r in reported_rows}
    known = [key[:2] for key in at if key[2] == "bits"]
    assert len(known) == 8
    for key in known:
        assert at[*key, "bits"] == pytest.approx(at[*key, "bpp"] * at[*key, "num_pixels"], abs=210)


def test_each_number_has_one_of_ours_or_the_reason_why_not(reported_rows):
    rows = reproduction.compare([row | {"note": row["note"] or "no reason"} for row in reported_rows],
                                reproduction.collect(FIGURES))  # fmt: skip
    assert [row for row in rows if row["ours"] is None and row["note"] == "no reason"] == []
    assert {row["item"] for row in rows if row["ours"] is None} <= {"jpeg"}


def test_numbers_of_a_reports_own_pictures_say_so(reported_rows):
    own = [row for row in reported_rows if str(row["setting"]).startswith("picture=")]
    assert len(own) == 17
    assert all("not published" in row["note"] for row in own)
    assert not any("not published" in str(row["note"]) for row in reported_rows if row not in own)


def test_parameters_and_macs_are_the_reports_where_it_counted_as_we_do(compared):
    rows = [r for r in compared if r["quantity"] in ("params", "macs")]
    alike = [r for r in rows if "factorized model's" not in str(r["note"]) and "run twice" not in str(r["note"])]
    assert (len(rows), len(alike)) == (13, 9)
    for row in alike:
        assert abs(row["difference [%]"]) < 0.1, row


def test_ours_is_what_the_tables_say(compared):
    models = {(r["model"], r["lmbda"]): r for r in tables.read_csv(FIGURES / "05_models_kodak.csv")}
    networks = {(r["model"], r["B"]): r for r in tables.read_csv(FIGURES / "00_autoencoders_kodak.csv")}
    ours = {(r["item"], r["setting"], r["quantity"]): r["ours"] for r in compared}
    for quantity in ("bits", "bpp", "psnr", "time(enc)", "time(dec)"):
        assert ours["hyperprior", "lmbda=0.0483", quantity] == models["hyperprior", 0.0483][quantity]
    assert ours["joint", "lmbda=0.013", "bpp"] == models["joint", 0.013]["bpp"]
    assert ours["ae-resnet18", "picture=2;B=4", "psnr"] == networks["ae-resnet18", 4]["psnr"]
    assert ours["ae-vector", "picture=1", "psnr"] == networks["ae-vector", 4]["psnr"]


def row(item: str, setting: str | None, quantity: str, value: object, note: str | None = None) -> tables.Row:
    return dict(zip(COLUMNS, [2, item, setting, quantity, "dB", value, note], strict=True))


def test_differences_by_hand():
    ours = {("a", "B=1", "psnr"): 30.0, ("a", "B=2", "psnr"): 36.0, ("a", "B=3", "psnr"): None, ("b", "B=4", "psnr"): 5}
    rows = [
        row("a", "B=1", "psnr", 32.0), row("a", "picture=3;B=2", "psnr", 32, "own"), row("a", "B=3", "psnr", 1),
        row("a", "B=1", "bpp", 1, "why"), row("b", "picture=1", "psnr", 4), row("a", "picture=1", "psnr", 4),
        row("b", None, "psnr", 0), row("b", "B=1", "psnr", 4),
    ]  # fmt: skip
    made = reproduction.compare(rows, ours)
    assert [(r["ours"], r["difference"], r["difference [%]"], r["note"]) for r in made] == [
        (30.0, -2.0, -6.25, None), (36.0, 4.0, 12.5, "own"), (None, None, None, "not measured here"),
        (None, None, None, "why"), (5, 1.0, 25.0, None), (None, None, None, "not measured here"),
        (5, 5.0, None, None), (None, None, None, "not measured here"),
    ]  # fmt: skip
    assert set(made[0]) == {*COLUMNS, "ours", "difference", "difference [%]"}
    assert rows[2]["note"] is None, "the rows given stay as they are"


def test_tables_are_read_by_the_name_of_the_data_set(tmp_path):
    assert reproduction.collect(tmp_path) == {}
    (tmp_path / "05_complexity.csv").write_text("model,as thop counts,MACs as thop\nm,2.5,3\n")
    (tmp_path / "00_jpeg_mine.csv").write_text("quality,bpp,psnr\n10,0.25,26.5\n")
    (tmp_path / "00_networks.csv").write_text("model,B,symbols per pixel\nn,2.0,0.25\nn,4,\n")
    without_pictures = {
        ("m", "lmbda=0.0067", "params"): 2.5,
        ("m", "lmbda=0.0067;pixels=393216", "macs"): 3.0,
        ("m", "lmbda=0.0067;pixels=4194304", "macs"): 32.0,
        ("n", "B=2", "symbols per pixel"): 0.25,
        ("n", "B=2;pixels=262144", "symbols"): 65536.0,
    }
    assert reproduction.collect(tmp_path) == without_pictures
    jpeg = {("jpeg", "q=10", "bpp"): 0.25, ("jpeg", "q=10", "psnr"): 26.5}
    assert reproduction.collect(tmp_path, "mine") == without_pictures | jpeg


def test_without_tables_nothing_stands_beside_the_reports(reported_rows, tmp_path):
    rows = reproduction.compare(reported_rows, reproduction.collect(tmp_path / "nowhere", "kodak"))
    assert len(rows) == len(reported_rows)
    assert all(r["ours"] is r["difference"] is r["difference [%]"] is None and r["note"] for r in rows)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"model,B,symbols per pixel\nn,2\n",
    ],
    ids=["empty", "not text", "ragged"],
)
def test_a_bad_table_is_bad_data(tmp_path: Path, content: bytes):
    (tmp_path / "00_networks.csv").write_bytes(content)
    with pytest.raises(BadData) as raised:
        reproduction.collect(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / '00_networks.csv'} is not ")


def test_a_folder_in_place_of_a_table_is_bad_data(tmp_path: Path):
    (tmp_path / "00_networks.csv").mkdir()
    with pytest.raises(BadData, match="00_networks"):
        reproduction.collect(tmp_path)
