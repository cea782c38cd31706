"""Measurements kept on disk, each with the record of what it was made from: what the report is put together from.

    python -m codec_lib.evaluation.measurements hyperprior-compact-q2 --dataset kodak --folder build/measured

measures a codec, `jpeg` or another classical codec its curve, and `times` the models at the papers' sizes.
`pictures`, `curve` and `times` measure anew where no folder is given; where one is, they read what lies there, and
refuse what was made from other code, weights or pictures.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from codec_lib import datasets, images, tables
from codec_lib.command_line import Parser, exit_status
from codec_lib.errors import Unsupported
from codec_lib.evaluation import classical, evaluation, provenance, timing
from codec_lib.registry import PRIORS
from codec_lib.tables import Row
from codec_lib.weights import weight_files
from codec_lib.weights.weight_files import AnyCodec

TIMES = "times"


def curves() -> dict[str, str]:
    """The names of measurements of classical codecs -> those of the codecs."""
    return {re.sub(r"[ :]+", "", name.lower()): name for name in classical.CODECS}


def stem(model: str, preset: str, quality: int | None, coder: str | None = None) -> str:
    """The name of a codec's measurement: that of its weights, and the coder where it is not the default."""
    return weight_files.path_of(model, preset, quality).stem + (f".{coder}" if coder else "")


def pictures(
    codec: AnyCodec, dataset: str, coder: str | None = None, folder: str | Path = "", progress: bool = True,
    anew: bool = False,
) -> list[Row]:  # fmt: skip
    """The rows of `evaluation.evaluate` for a codec on a data set, with its default coder if none is named.

    They come from the folder where measurements are kept: `BadData` if it lacks them, or they were made from something
    else than is at hand. Without a folder they are measured now; `anew` measures and keeps them there.
    """
    name = stem(codec.model, codec.preset, codec.quality, coder)
    return _rows(
        name, folder, anew, "evaluation.evaluation", {name: codec.digest.hex()}, dataset,
        lambda: evaluation.evaluate(codec, datasets.open_pictures(dataset), coder, progress),
    )  # fmt: skip


def curve(codec: str, dataset: str, folder: str | Path = "", progress: bool = True, anew: bool = False) -> list[Row]:
    """The rows of `classical.curve`; arguments and errors as of `pictures`."""
    name = next(name for name, of in curves().items() if of == codec)
    return _rows(
        name, folder, anew, "evaluation.classical", {}, dataset,
        lambda: classical.curve(codec, datasets.open_pictures(dataset), progress=progress),
    )  # fmt: skip


def times(dataset: str, folder: str | Path = "", anew: bool = False) -> list[Row]:
    """`timing.whole` of each model at the papers' low-rate size, on a data set's first picture; seconds.

    The least of three measurements where a folder keeps them, one without.
    `weights` tells whether they are trained, or a stand-in (`timing.stand_in`) for want of such.
    """
    having = [name for name in PRIORS if 1 in weight_files.available(name, preset="paper")]
    trained = {name: weight_files.load(name, 1, "paper") for name in having}

    def measure() -> list[Row]:
        pixels, _ = images.read_image(datasets.open_pictures(dataset)[0])
        return [
            {"model": name, "weights": "trained" if name in trained else "stand-in"}
            | timing.whole(trained.get(name) or timing.stand_in(name, pixels), pixels, repeats=3 if folder else 1)
            for name in PRIORS
        ]

    digests = {stem(name, "paper", None): codec.digest.hex() for name, codec in trained.items()}
    return _rows(TIMES, folder, anew, "evaluation.timing", digests, dataset, measure)


def _rows(
    name: str, folder: str | Path, anew: bool, module: str, weights: dict[str, str], dataset: str,
    measure: Callable[[], list[Row]],
) -> list[Row]:  # fmt: skip
    if not folder:
        return measure()
    path, code = _path(name, dataset, folder), provenance.sources(module)
    if not anew:
        provenance.check(path, provenance.inputs(code, weights, dataset))
        return tables.read_csv(path)
    rows = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_csv(path, [{k: int(v) if isinstance(v, bool) else v for k, v in row.items()} for row in rows])
    provenance.keep(path, provenance.record(code, weights, dataset))
    return rows


def _path(name: str, dataset: str, folder: str | Path) -> Path:
    return datasets.ROOT / folder / Path(dataset).name / f"{name}.csv"


def keep(name: str, dataset: str, folder: str | Path) -> Path:
    """Measure now and write `FOLDER/DATASET/NAME.csv`, with its record beside it.

    The name is MODEL-PRESET-qQ or that and .CODER, a classical codec, or `times`; the folder is made if need be.
    `CodecError` where there are no such codec, weights or pictures.
    """
    if name == TIMES:
        times(dataset, folder, anew=True)
    elif name in curves():
        curve(curves()[name], dataset, folder, anew=True)
    else:
        path, quality = weights_of(name)
        found, coder = weight_files.read(path), name.partition(".")[2] or None
        pictures(found if quality is None else found.at(quality), dataset, coder, folder, anew=True)
    return _path(name, dataset, folder)


def weights_of(name: str) -> tuple[Path, int | None]:
    """The weight file of a measurement, or `Unsupported`, and the quality to take of one for every rate."""
    of_weights = name.partition(".")[0]
    if of_one := re.fullmatch(r"(.+)-q(0|[1-9][0-9]*)", of_weights, re.ASCII):
        own, whole = (weight_files.WEIGHTS / f"{stem}.safetensors" for stem in (of_weights, of_one[1]))
        quality = int(of_one[2])
        if whole.is_file() and (not own.is_file() or 1000 * quality in weight_files.qualities_of(whole)):
            return whole, quality  # as `weight_files.load` chooses
        if own.is_file():
            return own, None
    known = ", ".join([TIMES, *curves()])
    raise Unsupported(f"Nothing is called '{name}'; name weights of data/weights with a quality, or one of {known}.")


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, or 2 after one sentence on stderr, or 130 after Ctrl-C."""
    parser = Parser(prog="python -m codec_lib.evaluation.measurements", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="weights (MODEL-PRESET-qQ[.CODER]), a codec, or times")
    parser.add_argument("--dataset", default="embedded", help="embedded, kodak or a folder (default: embedded)")
    parser.add_argument("--folder", default="build/measured", help="where to keep them (default: build/measured)")
    args = parser.parse_args(arguments)

    def work() -> None:
        for name in args.names:
            print(keep(name, args.dataset, args.folder))

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
