"""Write the tables of `data/weights/README.md` anew from the cards and `data/ablations.csv`:

    python tests/update_weights_readme.py

Run it after weights were released, or the ablations measured. A table is the block below a comment with its name.
"""

from pathlib import Path

from codec_lib import tables
from codec_lib.files import write_bytes
from codec_lib.places import ROOT
from codec_lib.training import recipe
from codec_lib.weights import weight_files
from codec_lib.weights.cards import read_card_of

README, ABLATIONS = weight_files.WEIGHTS / "README.md", ROOT / "data" / "ablations.csv"


def history() -> str:
    """Each weight file: the runs that led to it, their time, and its last validation, from its card."""
    _, known = recipe.plan(weight_files.WEIGHTS)
    rows = []
    for path in sorted(weight_files.WEIGHTS.glob("*.json")):
        card = read_card_of(path)
        stages, last = recipe.in_order(known, [recipe.stage_of(card).key]), card["validation"]
        lmbda = "{} to {}".format(*card["lmbdas"]) if "lmbdas" in card else f"{card['lmbda']:g}"
        rows.append({"weights": f"`{path.stem}`", "lmbda": lmbda, "runs": len(stages),
                     "steps": sum(s.settings.steps for s in stages), "minutes": sum(s.minutes for s in stages),
                     "crop": card["crop"], "loss": last["val_loss"], "bpp": last["val_bpp"],
                     "PSNR [dB]": last["val_psnr"]})  # fmt: skip
    return tables.to_text(rows, digits={"minutes": 0, "PSNR [dB]": 2})


def ablations(path: Path = ABLATIONS) -> str:
    """What each choice of the recipe is worth, or that nobody has measured it yet."""
    if not path.is_file():
        return "Not measured yet."
    names = {"what": "change", "steps": "steps", "minutes": "minutes", "val_loss": "loss", "val_bpp": "bpp",
             "val_psnr": "PSNR [dB]", "difference": "difference in loss [%]"}  # fmt: skip
    rows = [{shown: row[name] for name, shown in names.items()} for row in tables.read_csv(path)]
    return tables.to_text(rows, digits={"minutes": 1, "PSNR [dB]": 2, "difference in loss [%]": 1})


TABLES = {"<!-- history -->": history, "<!-- ablations -->": ablations}


def updated(text: str) -> str:
    """The README with its tables as the cards and the ablations have them; all else stays.

    Raises:
        ValueError: it does not have each of the tables once.
    """
    blocks = text.rstrip("\n").split("\n\n")
    for mark, write in TABLES.items():
        found = [i for i, block in enumerate(blocks) if block.startswith(mark)]
        if len(found) != 1:
            raise ValueError(f"the README has {len(found)} blocks that begin with {mark}")
        blocks[found[0]] = f"{mark}\n{write()}"
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    write_bytes(README, updated(README.read_text(encoding="utf-8")).encode())
