"""Add a line to `data/training_log.csv`: what a hyperprior for every rate loses on fixed pictures of `train+more`.

    python tests/update_training_log.py CORE-HOURS FILE

CORE-HOURS is how long its transforms were trained for every rate, FILE a weight file, or the one of a single rate that
this training began from. The loss at each whole quality is bpp + lmbda 255^2 MSE with rounding, on the middle of every
25th picture; `loss by the usual one` is the mean of those by `every_rate.USUAL_LOSS`. `train` holds these pictures out.
The runs behind the committed transforms were given a folder of both sets instead, in which other pictures are the 25th:
those of the list sorted by path. `held out` is the loss on them.
"""

import sys
from pathlib import Path

from codec_lib import datasets, rates, tables
from codec_lib.networks.gains import Gained
from codec_lib.places import DATA
from codec_lib.training import losses
from codec_lib.weights import weight_files

LOG = DATA / "training_log.csv"
CROP = 192


def row(hours: float, path: Path) -> tables.Row:
    """The line of a weight file."""
    frozen = weight_files.read(path)
    gained = frozen.network if frozen.quality is None else Gained(frozen.network, frozen.lmbda)
    paths = datasets.open_pictures("train+more")
    usual, others = (_losses(gained, datasets.split(listed)[1]) for listed in (paths, sorted(paths)))
    figures = {"loss by the usual one": losses.mean(usual), "held out": losses.mean(others)}
    figures |= {f"loss q{quality:g}": found for quality, found in usual.items()}
    return {"core-hours": hours} | {column: round(found["val_loss"], 4) for column, found in figures.items()}


def _losses(gained: Gained, pictures: list[Path]) -> dict[float, dict[str, float]]:
    x = datasets.centre_crops(pictures, CROP)
    return losses.validate_range(gained, x, (rates.RATE_POINTS[0], rates.RATE_POINTS[-1]))


if __name__ == "__main__":
    rows = tables.read_csv(LOG) if LOG.is_file() else []
    rows.append(row(float(sys.argv[1]), Path(sys.argv[2])))
    tables.write_csv(LOG, sorted(rows, key=lambda r: r["core-hours"]))
