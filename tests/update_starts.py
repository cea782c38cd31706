"""Write `data/starts.csv`: validation losses of runs of `train` that differ in their start alone.

    python tests/update_starts.py SECONDS NAME=RUN...

Each RUN is the folder of a run. SECONDS is what a step takes one core that has nothing else to do; steps times that are
core-hours, whatever else the machine did.
"""

import sys
from pathlib import Path

from codec_lib import tables
from codec_lib.places import DATA

STARTS = DATA / "starts.csv"


def rows(start: str, folder: Path, seconds: float) -> list[tables.Row]:
    """The lines of a run."""
    return [
        {"start": start, "step": row["step"], "core-hours": round(row["step"] * seconds / 3600, 4)}
        | {"validation loss": round(row["val_loss"], 4)}
        for row in tables.read_csv(folder / "log.csv")
    ]


if __name__ == "__main__":
    seconds, *runs = sys.argv[1:]
    pairs = (run.split("=", 1) for run in runs)
    tables.write_csv(STARTS, [row for name, folder in pairs for row in rows(name, Path(folder), float(seconds))])
