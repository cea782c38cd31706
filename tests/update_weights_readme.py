"""Write the tables of `data/weights/README.md` anew from the cards and `data/ablations.csv`:

    python tests/update_weights_readme.py

Run it after weights were released, or the ablations measured. A table is the block below a comment with its name.
"""

from pathlib import Path

from update_readme import markdown, rounded

from codec_lib import recipe, release, tables, weight_files
from codec_lib.datasets import ROOT
from codec_lib.files import write_bytes

README, ABLATIONS = weight_files.WEIGHTS / "README.md", ROOT / "data" / "ablations.csv"


def history() -> str:
    """Each weight file: the runs that led to it, their time, and its last validation, from its card."""
    rows = []
    for path in sorted(weight_files.WEIGHTS.glob("*.json")):
        card, (stages, _) = release.read_card_of(path), recipe.plan(weight_files.WEIGHTS, [path.stem])
        last = card["validation"]
        numbers = [(last["val_loss"], 3), (last["val_bpp"], 3), (last["val_psnr"], 2)]
        rows.append([f"`{path.stem}`", f"{card['lmbda']:g}", len(stages), sum(s.settings.steps for s in stages),
                     rounded(sum(s.minutes for s in stages), 0), card["crop"],
                     *(rounded(*number) for number in numbers)])  # fmt: skip
    return markdown(("weights", "lmbda", "runs", "steps", "minutes", "crop", "loss", "bpp", "PSNR [dB]"), rows)


def ablations(path: Path = ABLATIONS) -> str:
    """What each choice of the recipe is worth, or that nobody has measured it yet."""
    if not path.is_file():
        return "Not measured yet."
    rows = [
        [row["what"], row["steps"], rounded(row["minutes"], 1), rounded(row["val_loss"], 3), rounded(row["val_bpp"], 3),
         rounded(row["val_psnr"], 2), rounded(row["difference"], 1)]
        for row in tables.read_csv(path)
    ]  # fmt: skip
    return markdown(("change", "steps", "minutes", "loss", "bpp", "PSNR [dB]", "difference in loss [%]"), rows)


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
