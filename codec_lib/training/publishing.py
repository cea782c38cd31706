"""A finished training run -> a weight file and its card; and those -> the folder where codecs are looked for.

python -m codec_lib.training.publishing runs/h/hyperprior-compact.safetensors runs/j/joint-compact.safetensors
"""

import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from codec_lib import __version__, datasets, rates, registry
from codec_lib.codecs import gained
from codec_lib.command_line import Parser, exit_status
from codec_lib.errors import BadData
from codec_lib.evaluation import evaluation, provenance
from codec_lib.training.runs import Run
from codec_lib.training.settings import LENGTHS, Settings
from codec_lib.weights import weight_files
from codec_lib.weights.cards import check_card, read_card_of, runs_of, write_card


def release(run: Run, folder: Path, progress: bool = True, source_cards: Iterable[dict] = ()) -> tuple[Path, dict]:
    """Freeze a run's averaged weights, write NAME.safetensors and the card NAME.json; their path, and the card.

    The card tells the settings, the pictures and their licence, the compute, the versions, the last validation,
    and bpp and PSNR on Kodak from files, where Kodak is on this machine; and what was done before, from
    `source_cards`, those of the weights that the run began from.
    """
    settings = run.settings
    if settings.lmbdas is None:
        frozen = registry.entry(settings.model).load_codec().freeze(run.average, settings.preset, settings.lmbda)
    else:
        frozen = gained.freeze(run.average, settings.preset, settings.lmbdas)
    path = weight_files.path_of(settings.model, settings.preset, frozen.quality, folder)
    card = {
        "name": path.stem,
        **{k: v for k, v in asdict(settings).items() if k not in _MEASURED and v is not None},
        "steps": run.step,
        "minutes": round(run.seconds / 60, 1),
        "length": "changed" if run.length_changed else next(n for n in LENGTHS if getattr(settings, n) is not None),
        "precision": str(run.dtype).removeprefix("torch."),
        "started_from": run.started_from,
        **({"transforms": run.transforms_from} if run.transforms_from else {}),
        "corpus": corpus(settings.dataset),
        "before": _history(source_cards),
        "device": _device(run.device),
        "processes": run.world,
        "versions": {"codec_lib": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "parameters": sum(p.numel() for p in run.average.parameters()),
        "digest": frozen.digest.hex(),
        "validation": run.rows[-1] if run.rows else None,
        "loss_curve": [{k: row[k] for k in ("step", "minutes", "val_loss")} for row in run.rows],
        "kodak": _kodak(frozen, progress) if settings.lmbdas is None else None,
    }
    weight_files.save(frozen, path)
    write_card(path, card)
    return path, card


def publish(path: Path, folder: Path = weight_files.WEIGHTS) -> Path:
    """Copy a weight file and its card to a folder; transforms that lie there already are not written twice.

    Files there that have had their transforms from the one it replaces get them back, unless they are the same.
    `BadData` if the weights or the card cannot be read, or do not belong together.
    """
    frozen, card = weight_files.read(path), read_card_of(path)
    check_card(path, card, frozen.digest)
    target = weight_files.path_of(frozen.model, frozen.preset, frozen.quality, folder)
    whole = weight_files.path_of(frozen.model, frozen.preset, None, folder)
    if frozen.quality is not None and rates.THOUSAND * frozen.quality in weight_files.qualities_of(whole):
        raise BadData(f"Weights of one rate would never be found beside {whole}; put them elsewhere with --to DIR.")
    new = weight_files.transforms_in(frozen.tensors)
    for other in weight_files.dependents_of(target):
        dependent = weight_files.read(other)
        if not weight_files.same_tensors(weight_files.transforms_in(dependent.tensors), new):
            weight_files.save(dependent, other)
    weight_files.save(frozen, target, weight_files.holder_of_transforms(frozen, folder))
    write_card(target, card)
    return target


_MEASURED = ("steps", "epochs", "minutes", "precision")
"""Settings in whose place the card tells what became of them."""

_STAGE = (
    "name", *(name for name in Settings.__dataclass_fields__ if name not in _MEASURED), *_MEASURED, "length",
    "device", "processes", "corpus", "started_from", "transforms", "digest",
)  # fmt: skip
"""What decided a run and what came of it; `recipe` repeats runs from this."""


def _history(cards: Iterable[dict]) -> list[dict]:
    """The runs that led to some weights, those that others began from first; what two cards share is told once."""
    history: dict[tuple, dict] = {}
    for card in cards:
        for run in runs_of(card):
            history.setdefault((run["name"], run["digest"]), {name: run[name] for name in _STAGE if name in run})
    return list(history.values())


def corpus(dataset: str | Path) -> dict[str, str | int]:
    """Name, number of pictures, checksum (of the manifest, or of a folder's pictures) and licence of data sets."""
    if names := datasets.named(dataset):
        count = sum(len(datasets.manifest(name)) for name in names)
        licence = " ".join(datasets.LICENCES[name] for name in names)
    else:
        count, licence = len(datasets.open_pictures(dataset)), "Pictures of a folder; their owners' terms hold."
    return provenance.of_data(dataset) | {"pictures": count, "licence": licence}


def _kodak(frozen: weight_files.AnyCodec, progress: bool) -> dict | None:
    try:
        paths = datasets.find("kodak")
    except BadData:
        return None
    means = evaluation.summary(evaluation.evaluate(frozen, paths, progress=progress))
    return {name: round(means[name], 4) for name in ("bpp", "psnr", "ms_ssim")}


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def read_card(model: str, preset: str, quality: int | None, folder: Path = weight_files.WEIGHTS) -> dict:
    """`read_card_of` of weights by their name."""
    return read_card_of(weight_files.path_of(model, preset, quality, folder))


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, or 2 after one sentence on stderr, or 130 after Ctrl-C."""
    parser = Parser(
        prog="python -m codec_lib.training.publishing",
        description="Put trained weights and their cards where the other commands find them.",
    )
    parser.add_argument(
        "weights", type=Path, nargs="+", metavar="FILE", help="of a run; one whose transforms others share goes first"
    )
    parser.add_argument("--to", type=Path, default=weight_files.WEIGHTS, metavar="DIR", help="folder of weight files")
    args = parser.parse_args(arguments)

    def work() -> None:
        for path in args.weights:
            target = publish(path, args.to)
            print(f"{target}: {target.stat().st_size:,} bytes")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
