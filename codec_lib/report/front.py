"""The words and tables of the report's front page, written from the tables that its notebooks measured."""

import html
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from codec_lib import registry, tables
from codec_lib.tables import Row

AGAINST = ("JPEG", "WebP", "AVIF 4:4:4")
"""The classical codecs of the front page."""

EXACT = """
- **Whatever a decoder must repeat, it computes in integers**: tables, $h_s$, context and entropy parameters. A sum of
  integers has one value in any order, so thread counts, memory layouts and devices cannot change it. Tests compute
  everything in several orders, layouts and thread counts and compare bit by bit
  (`tests/codecs/test_portability.py`, `tests/networks/test_integer_priors.py`).
- **Old files decode.** Files of earlier formats are kept with what they hold, and must decode to the same symbols
  (`tests/golden`).
- **Every file of this report was written, read and decoded**, its latent compared with the one that the model
  predicts, its bits with the model's estimate (`05_checks`).
- **Damage is noticed.** A seal covers each file and its symbols; tests change, cut and forge files and demand a
  refusal in one sentence (`tests/coding/test_fuzz.py`).
- $g_a$ and $g_s$ stay in floating point: they decide the quality of a picture, never whether a file can be read.
"""


def _read(folder: Path, name: str) -> list[Row]:
    path = folder / f"{name}.csv"
    return tables.read_csv(path) if path.is_file() else []


def _matrix(folder: Path, dataset: str) -> defaultdict[str, Row]:
    """BD-rates: codec -> those of the others against it, %; empty of one that was not measured."""
    return defaultdict(dict, {str(row["against"]): row for row in _read(folder, f"05_bd_rate_{dataset}")})


def _percent(value: float) -> str:
    """As "12 % fewer bits"."""
    return f"{abs(value):.0f} % {'fewer' if value < 0 else 'more'}"


def _list(items: list[str]) -> str:
    return ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]


def findings(folder: Path, dataset: str) -> str:
    """What was found, in one paragraph of Markdown; empty where the tables of notebook 05 are not in the folder."""
    matrix, files = _matrix(folder, dataset), _read(folder, f"05_checks_{dataset}")
    models = _models(matrix["JPEG"])
    if not models or not files:
        return ""
    best = models[0]
    told = {codec: matrix[codec].get(best) for codec in AGAINST}
    against = [f"{_percent(value)} than {codec}" for codec, value in told.items() if value is not None]
    said = [
        f"Bits at equal PSNR are what counts here, each from a file on disk. The {best} model needs the fewest: "
        f"{_list(against)} as encoded here."
    ]
    hyperprior = matrix["factorized"].get("hyperprior")
    if hyperprior is not None:
        said.append(f"The hyperprior needs {_percent(hyperprior)} bits than the factorized prior.")
    joint, checkerboard = (matrix["hyperprior"].get(name) for name in ("joint", "checkerboard"))
    if None not in (joint, checkerboard):
        said.append(
            f"Context changes its bits by {joint:+.0f} % (joint, along a wavefront) or {checkerboard:+.0f} % "
            "(checkerboard, in two steps)."
        )
    number, exact, near = (sum(row[column] for row in files) for column in ("files", "exact", "near"))
    all_of = "All" if number == exact else f"{exact:,} of"
    said.append(
        f"{all_of} {number:,} files decode to exactly the pixels that the models predict, and the size of "
        f"{'all' if near == number else f'{near:,}'} is within half a percent of the models' own estimates."
    )
    return " ".join(said + _sets(_read(folder, f"05_sets_{dataset}"), dataset))


def _models(row: Mapping[str, object]) -> list[str]:
    """The models of a BD-rate table that have a value, the one of the fewest bits first."""
    return sorted((n for n in registry.PRIORS if row.get(n) is not None), key=lambda n: float(row[n]))


def _sets(rows: list[Row], dataset: str) -> list[str]:
    """Whether another test set agrees on the order of the models, and what differs."""
    of_jpeg = {str(row["set"]): row for row in rows if row["against"] == "JPEG"}
    avif = {str(row["set"]): row.get("hyperprior") for row in rows if row["against"] == "AVIF 4:4:4"}
    said = []
    for name in [name for name in of_jpeg if name != dataset and dataset in of_jpeg]:
        same = _models(of_jpeg[name]) == _models(of_jpeg[dataset])
        sentence = f"On the second set, {name}, the order of the models is {'the same' if same else 'another'}"
        there, here = avif.get(name), avif.get(dataset)
        if None not in (there, here):
            sentence += f", and the hyperprior stands at {there:+.1f} instead of {here:+.1f} % against AVIF 4:4:4"
        said.append(f"{sentence}.")
    return said


def models(folder: Path, dataset: str) -> str:
    """The models in Markdown: rates and PSNR at their first and last rate point, BD-rates, and what each one knows."""
    matrix = _matrix(folder, dataset)
    measured, rows = _read(folder, f"05_models_{dataset}"), []
    for name in registry.PRIORS:
        own = [row for row in measured if row["model"] == name]
        if not own:
            continue
        own.sort(key=lambda row: row["bpp"])
        first, last = own[0], own[-1]
        rows.append({
            "model": name, "bpp": f"{first['bpp']:.2f} – {last['bpp']:.2f}",
            "PSNR [dB]": f"{first['psnr']:.1f} – {last['psnr']:.1f}",
            **{f"against {codec} [%]": matrix[codec].get(name) for codec in AGAINST if codec in matrix},
            "decode [s]": first["time(dec)"],
        })  # fmt: skip
    digits = {f"against {codec} [%]": 0 for codec in AGAINST} | {"decode [s]": 2}
    if not rows:
        return ""
    known = "\n".join(f"- **{row['model']}**: {registry.PRIORS[row['model']].description}" for row in rows)
    return f"{tables.to_text(rows, digits=digits)}\n\n{known}"


def markdown(
    folder: Path, dataset: str, note: str, main_figure: str, lessons: Mapping[str, str], more: str = ""
) -> str:
    """The front page.

    `note` tells what was measured on, a sentence of HTML; `main_figure` and `more` are HTML, possibly empty; `lessons`
    are address -> title.
    """
    links = "\n".join(f'- <a href="{address}">{html.escape(title)}</a>' for address, title in lessons.items())
    found, table = findings(folder, dataset), models(folder, dataset)
    parts = [
        "# Codecbook: the report", f"{note}", found, main_figure,
        f"## The models\n\n{table}\n\nRates from the first to the last rate point; bits at equal PSNR against a codec "
        "(BD-rate), negative is better; decoding on one core of the machine named below." if table else "",
        more, f"## What is exact, and how it is tested\n{EXACT}", f"## Lessons\n\n{links}" if links else "",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)
