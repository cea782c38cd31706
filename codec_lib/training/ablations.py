"""What each choice of the training recipe is worth: one change at a time, same minutes, same seed, one thread.

    python -m codec_lib.training.ablations --minutes 3 --csv data/ablations.csv

Every variant trains a hyperprior from no weights. It is judged by the loss of its average on the validation split of
the training pictures, the same crops for all. Nothing else should run meanwhile: the clock decides the steps.
"""

import shlex
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from codec_lib import datasets, tables
from codec_lib.command_line import Parser, exit_status
from codec_lib.errors import BadData, Unsupported
from codec_lib.files import check_target
from codec_lib.tables import Row
from codec_lib.training import losses, training
from codec_lib.training.settings import Settings, options

BASE = Settings(
    "hyperprior", 0.025, minutes=3.0, batch_size=8, crop=192, precision="bfloat16", optimiser="muon"
)  # fmt: skip
"""Classical start (KLT, hyper-transforms as scales), cosine to 1 %, average 0.998, downscale 0.5 to 1."""

VARIANTS: dict[str, tuple[str, dict]] = {
    "base": ("the recipe", {}),
    "adam": ("Adam instead of Muon", {"optimiser": "adam"}),
    "random": ("a random start instead of the classical one", {"random_start": True}),
    "float32": ("float32 instead of bfloat16", {"precision": "float32"}),
    "crop-128": ("18 crops of 128 pixels, as many pixels as 8 of 192", {"crop": 128, "batch_size": 18}),
    "batch-4": ("4 crops a step instead of 8", {"batch_size": 4}),
    "batch-16": ("16 crops a step instead of 8", {"batch_size": 16}),
    "no-downscale": ("pictures as they are, not downscaled", {"smallest_scale": 1.0}),
    "no-average": ("the last weights instead of their average", {"average": 0.0}),
    "constant": ("a constant learning rate instead of a falling one", {"last_lr": 1.0}),
    "double": ("twice the learning rate", {"lr": 2 * BASE.lr}),
    "half": ("half the learning rate", {"lr": BASE.lr / 2}),
}
"""Name -> what it is, and what it changes in `BASE`."""

COLUMNS = ["variant", "what", "steps", "minutes", "val_loss", "val_bpp", "val_psnr", "difference", "options"]
"""`difference` is that of val_loss to the base's, in per cent; `options` are those of `train`."""


def measure(
    path: Path, base: Settings = BASE, names: Iterable[str] = tuple(VARIANTS), progress: bool = True
) -> list[Row]:
    """Train what the table at `path` lacks, a CSV file with `COLUMNS`, and write it anew after each variant.

    Its rows are in the order of `VARIANTS`; `names` are those wanted, and the `base` that they change always is.

    Raises:
        Unsupported: there is no such variant.
        BadData: the folder of the table is absent, or the table is by other settings, or there are no pictures.
        KeyboardInterrupt: Ctrl-C; what is finished is in the table.
    """
    wanted = ["base", *names]
    unknown = [name for name in wanted if name not in VARIANTS]
    if unknown:
        raise Unsupported(f"There is no variant '{unknown[0]}'; choose from {', '.join(VARIANTS)}.")
    check_target(path)
    settings = {name: replace(base, **change) for name, (_, change) in VARIANTS.items()}
    kept = {row.get("variant"): row for row in (tables.read_csv(path) if path.is_file() else [])}
    rows = {name: kept.get(name, {}) for name in VARIANTS}
    other = [name for name, row in rows.items() if row and row.get("options") != _options(settings[name])]
    if other:
        raise BadData(
            f"The table {path} has variant '{other[0]}' by other settings; choose another file, or remove it."
        )
    missing = [name for name, row in rows.items() if name in wanted and not row]
    bar = tqdm(missing, unit="variant", disable=not progress)
    for name in bar:
        bar.set_description(name)
        rows[name] = _trained(settings[name], base, progress) | {"variant": name, "what": VARIANTS[name][0]}
        for row in filter(None, rows.values()):
            row["difference"] = 100 * (row["val_loss"] / rows["base"]["val_loss"] - 1)
        tables.write_csv(path, [{column: row[column] for column in COLUMNS} for row in rows.values() if row])
    return list(filter(None, rows.values()))


def _options(settings: Settings) -> str:
    return shlex.join(options(settings))


def _trained(settings: Settings, base: Settings, progress: bool) -> Row:
    """Length and validation of a run, on one thread; its crops for validation have the base's size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = training.train(settings, Path(folder), progress=progress, validations=0)
        held_out = datasets.split(datasets.open_pictures(settings.dataset))[1]
        validation = losses.validate(run.average, datasets.centre_crops(held_out, base.crop), settings.lmbda)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The variants that are finished are in the table; the same command goes on.") from None
    finally:
        torch.set_num_threads(threads)
    return {"steps": run.step, "minutes": run.seconds / 60, "options": _options(settings)} | validation


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, or 2 after one sentence on stderr, or 130 after Ctrl-C."""
    parser = Parser(prog="python -m codec_lib.training.ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=BASE.minutes, metavar="T", help="of each variant (default: 3)")
    parser.add_argument("--csv", type=Path, default=Path("data", "ablations.csv"), metavar="FILE", help="the table")
    parser.add_argument("--names", nargs="+", default=list(VARIANTS), metavar="NAME", help="variants (default: all)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(arguments)

    def work() -> None:
        rows = measure(args.csv, replace(BASE, minutes=args.minutes), args.names, not args.quiet)
        print(tables.to_text(rows, COLUMNS[:-1], {"minutes": 1, "val_psnr": 2, "difference": 2}))

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
