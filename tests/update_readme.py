"""Write the README's tables of results anew from `figures/*_kodak.csv`: `python tests/update_readme.py`.

Run it after `make report` on Kodak. A table is found by the beginning of its first line; the text around it is nobody's
but its author's.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from codec_lib import models, tables
from codec_lib.datasets import ROOT
from codec_lib.files import write_bytes

README, FIGURES = ROOT / "README.md", ROOT / "figures"
CODECS = ("JPEG", "JPEG 2000", "WebP", "AVIF", "JPEG XL")
REPORT = {name: "joint" if name == "checkerboard" else name for name in models.MODELS}
"""Model -> which of the report's stands beside it: it has no curve of a checkerboard."""
COMPRESSAI = {
    "factorized": "bmshj2018-factorized", "hyperprior": "bmshj2018-hyperprior", "joint": "mbt2018",
    "checkerboard": "mbt2018",
}  # fmt: skip


def results(figures: Path) -> str:
    """The four models at the four rates."""
    losses = {row["lmbda"]: row for row in tables.read_csv(figures / "05_losses_kodak.csv")}
    rows = []
    for row in tables.read_csv(figures / "05_models_kodak.csv"):
        of_lmbda = losses[row["lmbda"]]
        theirs = of_lmbda[f"{REPORT[row['model']]}, seed"]
        rows.append([row["model"], row["quality"], f"{row['lmbda']:g}", rounded(row["bpp"], 3), rounded(row["psnr"], 2),
                     rounded(row["ms_ssim"], 3), rounded(of_lmbda[row["model"]], 3), rounded(theirs, 3)])  # fmt: skip
    names = ("model", "quality", "lmbda", "bpp", "PSNR [dB]", "MS-SSIM", "loss", "loss of the report")
    return markdown(names, rows)


def bd_rates(figures: Path) -> str:
    """The four models against other codecs."""
    matrix = {row["against"]: row for row in tables.read_csv(figures / "05_bd_rate_kodak.csv")}
    rows = []
    for model, report in REPORT.items():
        others = (*CODECS, f"{report}, seed (published)", f"CompressAI {COMPRESSAI[model]} (MSE), published")
        rows.append([model, *(rounded(matrix[other][model], 1) for other in others)])
    return markdown(("BD-rate [%]", *CODECS, "the report", "CompressAI"), rows)


def autoencoders(figures: Path) -> str:
    """The autoencoders with the adaptive coder, beside JPEG."""
    rows = [
        [row["model"], f"{row['B']:.0f}", rounded(row["bpp"], 3), rounded(row["psnr"], 2), rounded(row["JPEG psnr"], 2)]
        for row in tables.read_csv(figures / "00_autoencoders_kodak.csv")
    ]
    return markdown(("model", "B", "bpp", "PSNR [dB]", "JPEG, no fewer bits [dB]"), rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "| model | quality |": results,
    "| BD-rate [%] |": bd_rates,
    "| model | B |": autoencoders,
}
"""How a table's first line begins -> what writes it."""


def rounded(value: float | None, digits: int) -> str:
    """A number as the README shows it; empty where there is none."""
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def markdown(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of text in its first column and of numbers in all others."""
    names = list(names)
    lines = [names, ["---"] + ["--:"] * (len(names) - 1), *rows]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    text[1] = text[1].replace(" ", "")
    return "\n".join(text)


def updated(text: str, figures: Path = FIGURES) -> str:
    """A README with its tables as those of a folder of figures; all else stays.

    Raises:
        ValueError: it does not have each of the tables once.
    """
    blocks = text.split("\n\n")
    for head, write in TABLES.items():
        found = [i for i, block in enumerate(blocks) if block.startswith(head)]
        if len(found) != 1:
            raise ValueError(f"the README has {len(found)} tables that begin with {head}")
        blocks[found[0]] = write(figures)
    return "\n\n".join(blocks)


if __name__ == "__main__":
    write_bytes(README, updated(README.read_text(encoding="utf-8")).encode())
