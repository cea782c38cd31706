"""Write runs of `train` to `data/starts.csv`: the validation losses from each start, for lesson 03.

    python tests/update_starts.py SECONDS NAME=RUN...

Each RUN is the folder of a run; runs of other names stay in the table. SECONDS is what a step takes one core that has
nothing else to do; steps times that are core-hours, whatever else the machine did.
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
    new = dict(run.split("=", 1) for run in runs)
    kept = tables.read_csv(STARTS)
    told = {name: [row for row in kept if row["start"] == name] for name in dict.fromkeys(row["start"] for row in kept)}
    told |= {name: rows(name, Path(folder), float(seconds)) for name, folder in new.items()}
    tables.write_csv(STARTS, [row for lines in told.values() for row in lines])
