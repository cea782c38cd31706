"""What a search wins and what it costs: the files of each effort, their loss and their time.

    python -m codec_lib.evaluation.effort hyperprior --dataset photographs --last 3 --pictures 4

writes `effort_MODEL_DATASET.csv`, a row per picture, rate point and effort, and its summary and figure.
"""

import itertools
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from codec_lib import datasets, images, metrics, registry, tables
from codec_lib.codecs.codec import Codec
from codec_lib.command_line import Parser, count, exit_status
from codec_lib.evaluation.explorer import Scene
from codec_lib.tables import Row
from codec_lib.weights import weight_files


def measure(codecs: Iterable[Codec], pictures: Mapping[str, np.ndarray], last: int, progress: bool = True) -> list[Row]:
    """Efforts 0 to `last` of each codec on each picture, uint8 (H, W, 3), by its name.

    Returns:
        A row for each: model, lmbda, image, effort, `loss`, `bpp`, `psnr` of the file as it decodes, and `seconds` of
        all cores together, from pixels in memory to the file.
    """
    rows, jobs = [], list(itertools.product(codecs, pictures.items()))
    for codec, (name, pixels) in tqdm(jobs, desc="efforts", unit="picture", disable=not progress, leave=False):
        start = time.process_time()
        for effort, data in enumerate(codec.efforts(pixels, codec.coders[0], last)):
            seconds = time.process_time() - start
            measuring = time.process_time()
            rows.append({
                "model": codec.model, "lmbda": codec.lmbda, "image": name, "effort": effort,
                "loss": codec.loss(data, pixels), "bpp": metrics.bpp(len(data), pixels),
                "psnr": metrics.psnr(pixels, codec.decode(data)), "seconds": seconds,
            })  # fmt: skip
            start += time.process_time() - measuring
    return rows


def summary(rows: list[Row]) -> list[Row]:
    """A row for each model and effort, against effort 0 of the same model.

    Returns:
        model, effort; `seconds` a picture; `loss [%]`, the change of the loss, mean of all files; `BD-rate [%]` of the
        curves through the means of each rate point, None where there is but one point.
    """
    told = []
    for model, effort in dict.fromkeys((row["model"], row["effort"]) for row in rows):
        now, before = ([r for r in rows if (r["model"], r["effort"]) == (model, e)] for e in (effort, 0))
        change = [a["loss"] / b["loss"] - 1 for a, b in zip(now, before, strict=True)]
        curves = _curve(before), _curve(now)
        told.append({
            "model": model, "effort": effort, "seconds": float(np.mean([r["seconds"] for r in now])),
            "loss [%]": 100 * float(np.mean(change)),
            "BD-rate [%]": metrics.bd_rate(*curves) if len(curves[0]) > 1 else None,
        })  # fmt: skip
    return told


def moves(before: Scene, after: Scene) -> list[Row]:
    """What a search did to the symbols of y: one picture, one codec, two efforts.

    Returns:
        A row for each kind of move: `symbol`, `share [%]` of all, `bits before` and `bits after`. Symbols that are as
        far from zero as they were have other bits, too, where a context or z has changed.
    """
    a, b = (np.abs(scene.latent.symbols) for scene in (before, after))
    kinds = {"as far from zero": a == b, "to zero": (a > 0) & (b == 0), "nearer to zero": (b > 0) & (b < a),
             "farther from zero": b > a}  # fmt: skip
    return [
        {"symbol": kind, "share [%]": 100 * float(where.mean()), "bits before": float(before.bits[where].sum()),
         "bits after": float(after.bits[where].sum())}
        for kind, where in kinds.items()
    ]  # fmt: skip


def _curve(rows: list[Row]) -> np.ndarray:
    """(bpp, PSNR) of each rate point, means of its pictures."""
    points = dict.fromkeys(row["lmbda"] for row in rows)
    return np.array([np.mean([(r["bpp"], r["psnr"]) for r in rows if r["lmbda"] == point], 0) for point in points])


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, or 2 after one sentence on stderr, or 130 after Ctrl-C."""
    from codec_lib.evaluation import plotting

    parser = Parser(prog="python -m codec_lib.evaluation.effort", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="models with a prior")
    parser.add_argument("--quality", type=int, nargs="+", default=[1, 2, 3, 4], metavar="Q", help="default: 1 2 3 4")
    parser.add_argument("--dataset", default="embedded", help="a data set or a folder (default: embedded)")
    parser.add_argument("--pictures", type=count, help="only the first so many")
    parser.add_argument("--last", type=int, default=3, help="the highest effort (default: 3)")
    parser.add_argument("--folder", default="build/effort", help="where to write (default: build/effort)")
    args = parser.parse_args(arguments)

    def work() -> None:
        for model in args.models:
            registry.entry(model, registry.PRIORS)  # refuses the others, which have nothing to search for
        codecs = [weight_files.load(model, quality) for model in args.models for quality in args.quality]
        paths = datasets.open_pictures(args.dataset)[: args.pictures]
        pictures = {t: images.read_image(path)[0] for t, path in zip(datasets.titles(paths), paths, strict=True)}
        rows = measure(codecs, pictures, args.last)
        name = f"effort_{'_'.join(args.models)}_{Path(args.dataset).name}"
        told = summary(rows)
        plotting.save_table(rows, name, args.folder)
        plotting.save_table(told, f"{name}_summary", args.folder)
        plotting.save(plotting.gains_over_time(told), name, args.folder)
        print(tables.to_text(told, digits=2))

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
