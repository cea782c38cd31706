"""Write the README's tables of results anew from figures/ and data/speed.csv: `python tests/update_readme.py`.

Run it after `make report` on Kodak. A table is found by the beginning of its first line; the text around it is nobody's
but its author's.
"""

from collections.abc import Callable
from pathlib import Path

from codec_lib import registry, tables
from codec_lib.files import write_bytes
from codec_lib.places import DATA, ROOT

README, FIGURES = ROOT / "README.md", ROOT / "figures"
CODECS = ("JPEG", "JPEG 2000", "WebP", "AVIF 4:4:4", "JPEG XL")
BESIDE = {name: entry.beside for name, entry in registry.PRIORS.items() if entry.beside}
"""Model -> the report's and CompressAI's that stand beside it; the joint model's, where there is none of its own."""


def results(figures: Path) -> str:
    """A line for each rate: all models have the same transforms, so nearly the same PSNR, and differ in their bits."""
    rows: dict[int, tables.Row] = {}
    for row in tables.read_csv(figures / "05_models_kodak.csv"):
        line = rows.setdefault(row["quality"], {"quality": row["quality"], "lmbda": row["lmbda"]})
        if row["model"] == "hyperprior":
            line |= {"PSNR [dB]": row["psnr"], "MS-SSIM": row["ms_ssim"]}
        line[f"{row['model']} [bpp]"] = row["bpp"]
    columns = ["quality", "lmbda", "PSNR [dB]", "MS-SSIM", *(f"{name} [bpp]" for name in registry.PRIORS)]
    in_order = [{column: row[column] for column in columns} for row in rows.values()]
    return tables.to_text(in_order, digits={"lmbda": 4, "PSNR [dB]": 2})


def losses(figures: Path) -> str:
    """The loss at the lmbda of the report, and the report's, which has no curve of a checkerboard."""
    rows = []
    for row in tables.read_csv(figures / "05_losses_kodak.csv"):
        if row.get("joint, the report") is not None:
            names = [n for name in registry.PRIORS for n in (name, f"{name}, the report") if row.get(n) is not None]
            rows.append({"loss at lmbda": row["lmbda"]} | {name: row[name] for name in names})
    return tables.to_text(rows, digits={"loss at lmbda": 4})


def papers(figures: Path) -> str:
    """The papers' own networks: loss and training, beside the shared transforms' and the report's."""
    names = {"model": "papers' layers", "quality": "quality", "bpp": "bpp", "psnr": "PSNR [dB]", "loss": "loss"}
    names |= {"compact": "shared transforms", "the report": "the report", "core-hours": "core-hours"}
    rows = [
        {shown: row[name] for name, shown in names.items()} for row in tables.read_csv(figures / "03_papers_kodak.csv")
    ]
    return tables.to_text(rows, digits={"quality": 0, "PSNR [dB]": 2, "core-hours": 1})


def bd_rates(figures: Path) -> str:
    """The models against other codecs."""
    matrix = {row["against"]: row for row in tables.read_csv(figures / "05_bd_rate_kodak.csv")}
    rows = []
    for model, (report, compressai) in BESIDE.items():
        against = {name: name for name in CODECS} | {
            "the report": f"{report}, the report (published)",
            "CompressAI": f"CompressAI {compressai} (MSE), published",
        }
        rows.append({"BD-rate [%]": model} | {name: matrix[other][model] for name, other in against.items()})
    return tables.to_text(rows, digits=1)


def autoencoders(figures: Path) -> str:
    """The autoencoders with the adaptive coder, beside JPEG."""
    names = {"model": "model", "B": "B", "bpp": "bpp", "psnr": "PSNR [dB]", "JPEG psnr": "JPEG, no fewer bits [dB]"}
    rows = [
        {shown: row[name] for name, shown in names.items()}
        for row in tables.read_csv(figures / "00_autoencoders_kodak.csv")
    ]
    return tables.to_text(rows, digits={"B": 0, "bpp": 3} | dict.fromkeys([names["psnr"], names["JPEG psnr"]], 2))


def speed(_: Path) -> str:
    """A line for each codec, times of both pictures beside each other."""
    rows: dict[str, tables.Row] = {}
    for row in tables.read_csv(DATA / "speed.csv"):
        megapixels = f"{row['width'] * row['height'] / 1e6:.1f} MP"
        line = rows.setdefault(row["codec"], {"codec": row["codec"]})
        line |= {f"{megapixels}: {column}": row[column] for column in ("encode [s]", "decode [s]")}
    return tables.to_text(list(rows.values()), tables.columns_of(rows.values()))


TABLES: dict[str, Callable[[Path], str]] = {
    "| quality | lmbda |": results,
    "| loss at lmbda |": losses,
    "| papers' layers |": papers,
    "| BD-rate [%] |": bd_rates,
    "| model | B |": autoencoders,
    "| codec |": speed,
}
"""How a table's first line begins, but for spaces -> what writes it."""


def updated(text: str, figures: Path = FIGURES) -> str:
    """A README with its tables as those of a folder of figures; all else stays.

    Raises:
        ValueError: it does not have each of the tables once.
    """
    blocks = text.split("\n\n")
    for head, write in TABLES.items():
        found = [i for i, block in enumerate(blocks) if " ".join(block.split()).startswith(head)]
        if len(found) != 1:
            raise ValueError(f"the README has {len(found)} tables that begin with {head}")
        blocks[found[0]] = write(figures)
    return "\n\n".join(blocks)


if __name__ == "__main__":
    write_bytes(README, updated(README.read_text(encoding="utf-8")).encode())
