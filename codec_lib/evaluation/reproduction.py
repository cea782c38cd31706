"""What the four reports printed beside what was measured: `data/reported_numbers.csv` and the tables of `figures/`.

A setting is a list of conditions, as `lmbda=0.013`, `picture=2;B=1` or `B=2;pixels=262144`.
"""

from collections.abc import Mapping
from pathlib import Path

from codec_lib import tables
from codec_lib.places import DATA

REPORTED_NUMBERS = DATA / "reported_numbers.csv"
"""A row per number that a report printed: report (1 to 4), item, setting, quantity, unit, value, note."""

Key = tuple[str, str, str]
"""item, setting, quantity"""

_FILES = {name: (name, 1.0) for name in ("num_pixels", "bits", "bpp", "psnr", "time(enc)", "time(dec)")}
_THOP_PIXELS = 768 * 512
_BATCH_PIXELS = 64 * 256 * 256  # what the fourth report's printed MACs fit; like 768x512 in whole tiles of 64x64
_THIRD_PIXELS = 512 * 512

# A table, which item and setting a row of it is, and of each quantity the column and the factor to the reports' unit.
_TABLES = (
    ("05_models_{}.csv", "{model}", "lmbda={lmbda:g}", _FILES),
    ("05_complexity.csv", "{model}", "lmbda=0.0067", {"params": ("as thop counts", 1.0)}),
    ("05_complexity.csv", "{model}", f"lmbda=0.0067;pixels={_THOP_PIXELS}", {"macs": ("MACs as thop", 1.0)}),
    ("05_complexity.csv", "{model}", f"lmbda=0.0067;pixels={_BATCH_PIXELS}",
     {"macs": ("MACs as thop", _BATCH_PIXELS / _THOP_PIXELS)}),
    ("00_autoencoders_{}.csv", "{model}", "B={B:g}", _FILES | {"params": ("parameters", 1e-6)}),
    ("00_networks.csv", "{model}", "B={B:g}", {"symbols per pixel": ("symbols per pixel", 1.0)}),
    ("00_networks.csv", "{model}", f"B={{B:g}};pixels={_THIRD_PIXELS}",
     {"symbols": ("symbols per pixel", _THIRD_PIXELS)}),
    ("00_jpeg_{}.csv", "jpeg", "q={quality:g}", {"bpp": ("bpp", 1.0), "psnr": ("psnr", 1.0)}),
)  # fmt: skip


def collect(folder: Path, dataset: str = "kodak") -> dict[Key, float]:
    """Our numbers in the units of the reports: means over a data set's pictures, and the counts that need none.

    Rates in bit/pixel, PSNR in dB, times in seconds, parameters in millions and multiply-accumulates
    in billions (of the four models both as thop counts them, in the preset `paper`; of the
    autoencoders all parameters of the stored networks). A table that is not in the folder adds nothing.
    """
    ours = {}
    for name, item, setting, quantities in _TABLES:
        path = Path(folder) / name.format(dataset)
        for row in tables.read_csv(path) if path.exists() else []:
            for quantity, (column, factor) in quantities.items():
                if row[column] is not None:
                    ours[item.format_map(row), setting.format_map(row), quantity] = float(row[column]) * factor
    return ours


def compare(reported_rows: list[tables.Row], ours: Mapping[Key, float | None]) -> list[tables.Row]:
    """The reproduction table: the reports' rows with `ours`, `difference` (ours - theirs) and `difference [%]`.

    Beside a number of one of a report's own pictures (`picture=...`) stands our mean, beside one whose
    setting a report does not tell ours if there is only one. Where nothing is comparable, or `ours`, of `collect`,
    is None, the three are None and `note` has the reason.
    """
    compared = []
    for row in reported_rows:
        theirs, our = row["value"], _counterpart(row, ours)
        difference = None if our is None else our - theirs
        compared.append(row | {
            "ours": our, "difference": difference,
            "difference [%]": None if difference is None or not theirs else 100 * difference / theirs,
            "note": row["note"] or ("not measured here" if our is None else None),
        })  # fmt: skip
    return compared


def _counterpart(row: tables.Row, ours: Mapping[Key, float | None]) -> float | None:
    item, quantity = row["item"], row["quantity"]
    setting = ";".join(part for part in (row["setting"] or "").split(";") if not part.startswith("picture="))
    if setting or (item, setting, quantity) in ours:
        return ours.get((item, setting, quantity))
    alike = [value for (i, _, q), value in ours.items() if (i, q) == (item, quantity)]
    return alike[0] if len(alike) == 1 else None
