"""What notebook 05 sets side by side: files and estimates, ours and JPEG, curves of all kinds, and how models were
trained."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from codec_lib import metrics, tables
from codec_lib.codecs.codec import Codec
from codec_lib.evaluation import evaluation
from codec_lib.places import DATA
from codec_lib.registry import PRIORS
from codec_lib.tables import Row
from codec_lib.weights.cards import runs_of

Curves = dict[str, list[Row]]
"""Name -> rows with `bpp` and `psnr`."""

COMPRESSAI = dict(entry.beside for entry in PRIORS.values() if entry.beside)
"""Model -> CompressAI's name of it."""


def checks(rows: Sequence[Row]) -> Row:
    """How many of a codec's files are `exact`, and how many `near` the model's estimate: within 0.5 %, and 48 bytes."""
    off = [(row["bits"] - row["bpp_estimated"] * row["num_pixels"], 0.005 * row["bits"]) for row in rows]
    near = sum(-share <= o <= share + 8 * 48 for o, share in off)
    return {"files": len(rows), "exact": sum(bool(row["exact"]) for row in rows), "near": near}


def beside(ours: Sequence[Row], theirs: Sequence[Row]) -> Row:
    """Means of a codec's pictures and of JPEG's with no fewer bits, and how many pictures ours wins."""
    a, b = evaluation.summary(list(ours)), evaluation.summary(list(theirs))
    gain = np.array([x["psnr"] - y["psnr"] for x, y in zip(ours, theirs, strict=True)])
    return {
        "bpp": a["bpp"], "JPEG bpp": b["bpp"], "psnr": a["psnr"], "JPEG psnr": b["psnr"],
        "gain [dB]": float(gain.mean()), "pictures won": int((gain > 0).sum()), "of": len(gain),
    }  # fmt: skip


def published() -> Curves:
    """Curves on Kodak that others published, by the name of their source."""
    curves: Curves = {}
    for row in tables.read_csv(DATA / "published_rd.csv"):
        curves.setdefault(f"{row['codec']}, published", []).append({"bpp": row["bpp"], "psnr": row["psnr_rgb_db"]})
    return curves


def of_compressai(curves: Curves) -> Curves:
    """Of `published`, CompressAI's curves of models that are here too, named like ours."""
    return {
        f"{name}, CompressAI": curves[f"CompressAI {theirs} (MSE), published"] for name, theirs in COMPRESSAI.items()
    }


def of_report() -> Curves:
    """The curves on Kodak of the report we reproduce."""
    rows = tables.read_csv(DATA / "reported_results.csv")
    return {f"{n}, the report (published)": [row for row in rows if row["model"] == n] for n in COMPRESSAI}


def bd_rates(curves: Mapping[str, Sequence[Row]], columns: Iterable[str]) -> list[Row]:
    """How many more bits [%] the codec of a column needs than that of a row at equal PSNR; None without overlap.

    To a tenth of a percent, which another processor finds alike: its floats turn a few symbols.
    """
    pairs = {n: np.array([[r["bpp"], r["psnr"]] for r in rows]) for n, rows in curves.items() if len(rows) > 1}
    shown = [column for column in columns if column in pairs]
    matrix = []
    for row, anchor in pairs.items():
        found = {c: 0.0 if c == row else float(metrics.bd_rate(anchor, pairs[c])) for c in shown}
        matrix.append({"against": row} | {c: None if np.isnan(v) else round(v, 1) for c, v in found.items()})
    return matrix


def losses(summary: Sequence[Row], of_report: Curves) -> list[Row]:
    """The loss of each model at each lmbda, and the report's beside it."""
    found: dict[float, Row] = {}
    for row in summary:  # a mean of equal numbers may differ from them in its last digit
        lmbda = round(row["lmbda"], 9)
        found.setdefault(lmbda, {"lmbda": lmbda})[row["model"]] = evaluation.loss(row)
    for row in (row for rows in of_report.values() for row in rows):
        if row["lmbda"] in found:
            found[row["lmbda"]][f"{row['model']}, the report"] = evaluation.loss(row)
    return list(found.values())


def effort(cards: Mapping[str, Mapping]) -> list[Row]:
    """All stages of training that led to each model's weights, from their cards; its last validation."""
    rows = []
    for name, card in cards.items():
        stages = runs_of(card)
        rows.append({
            "model": name, "stages": len(stages), "steps": sum(s["steps"] for s in stages),
            "minutes": sum(s["minutes"] for s in stages), "crop": card["crop"],
            "validation loss": card["validation"]["val_loss"],
        })  # fmt: skip
    return rows


def at_papers_sizes(means: Sequence[Row], of_compact: Sequence[Row], cards: Mapping[str, Mapping]) -> list[Row]:
    """Loss and core-hours of training of the papers' networks, and the losses of the compact ones and of the report.

    `means` has a row for each model and quality, with `lmbda`, `bpp` and `psnr` [dB]; `of_compact` is of `losses`.
    """
    beside = {row["lmbda"]: row for row in of_compact}
    minutes = {name: sum(r["minutes"] * r.get("processes", 1) for r in runs_of(card)) for name, card in cards.items()}
    rows = []
    for row in means:
        name, others = row["model"], beside.get(round(row["lmbda"], 9), {})
        rows.append({c: row[c] for c in ("model", "quality", "bpp", "psnr")} | {
            "loss": evaluation.loss(row), "compact": others.get(name), "the report": others.get(f"{name}, the report"),
            "core-hours": minutes[name] / 60,
        })  # fmt: skip
    return rows


def different_analyses(codecs: Iterable[Codec]) -> int:
    """How many different g_a codecs have."""
    return len({tuple(v.numpy().tobytes() for v in codec.network.g_a.state_dict().values()) for codec in codecs})


def worst(rows: Sequence[Row]) -> Row:
    """The picture of the lowest PSNR."""
    row = min(rows, key=lambda row: row["psnr"])
    return {"worst psnr": row["psnr"], "worst picture": row["image"]}


def extremes(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, int]:
    """Which picture gains `least` and which `most` over JPEG."""
    gains = [a["psnr"] - b["psnr"] for a, b in zip(ours, theirs, strict=True)]
    return {"least": int(np.argmin(gains)), "most": int(np.argmax(gains))}
