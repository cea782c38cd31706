"""What is installed."""

import argparse
from pathlib import Path

from codec_lib import tables
from codec_lib.commands import options
from codec_lib.errors import BadData
from codec_lib.rates import position_of
from codec_lib.registry import AUTOENCODERS, DEFAULT_MODEL, presets
from codec_lib.registry import models as registered
from codec_lib.weights.cards import card_if_any, card_path

HELP = "List the models and the weights that are installed."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_weights(p)


def _range(path: Path) -> str:
    """The qualities of weights for a range of rates, by their card: the file itself would need torch."""
    try:
        ends = [f"{position_of(lmbda):.3g}" for lmbda in card_if_any(path).get("lmbdas", [])]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadData(f"The card {card_path(path)} cannot be read.") from error
    return f"quality {' to '.join(ends)}" if ends else "several"


def run(args: argparse.Namespace) -> None:
    """Print a line for each weight file and for each model that has none."""
    if not args.weights.is_dir():
        raise BadData(f"There is no folder {args.weights}.")
    rows = []
    for model, entry in registered().items():
        point = "bits" if model in AUTOENCODERS else "quality"
        name = f"{model} (default)" if model == DEFAULT_MODEL else model
        ranges = (args.weights / f"{model}-{preset}.safetensors" for preset in presets())
        files = [(_range(path), path) for path in ranges if path.is_file()]
        of_one = {path: path.stem.rpartition("-q")[2] for path in args.weights.glob(f"{model}-*-q*.safetensors")}
        points = sorted((int(number), path) for path, number in of_one.items() if number.isdecimal() and path.is_file())
        files += [(f"{point} {number}", path) for number, path in points]
        for rate, path in files:
            digest = str(card_if_any(path).get("digest") or "")[:16] or None
            rows.append({"model": name, "rate": rate, "preset": path.stem.partition("-q")[0].split("-")[-1],
                         "MiB": path.stat().st_size / 2**20, "digest": digest, "": entry.description})  # fmt: skip
        if not files:
            missing = dict.fromkeys(("preset", "MiB", "digest"))
            rows.append({"model": name, "rate": "no weights", **missing, "": entry.description})
    print(tables.to_text(rows, digits=1))
