"""What is installed."""

import argparse
import json
from pathlib import Path

from codec_lib import tables
from codec_lib.commands import options
from codec_lib.rates import RATE_POINTS
from codec_lib.registry import AUTOENCODERS, DEFAULT_MODEL, presets
from codec_lib.registry import models as registered

HELP = "List the models and the weights that are installed."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_weights(p)


def _every_rate(model: str, folder: Path) -> list[Path]:
    """The weights of a model for every rate."""
    paths = (folder / f"{model}-{preset}.safetensors" for preset in presets())
    return [path for path in paths if path.is_file()]


def run(args: argparse.Namespace) -> None:
    """Print a line for each weight file and for each model that has none."""
    rows = []
    for model, entry in registered().items():
        point = "bits" if model in AUTOENCODERS else "quality"
        name = f"{model} (default)" if model == DEFAULT_MODEL else model
        files = [(f"{point} 0 to {len(RATE_POINTS) - 1}", path) for path in _every_rate(model, args.weights)]
        files += sorted(
            (f"{point} {int(path.stem.rpartition('-q')[2])}", path)
            for path in args.weights.glob(f"{model}-*-q*.safetensors")
            if path.stem.rpartition("-q")[2].isdigit()
        )
        for rate, path in files:
            card = path.with_suffix(".json")
            digest = json.loads(card.read_bytes())["digest"][:16] if card.is_file() else None
            rows.append({"model": name, "rate": rate, "preset": path.stem.partition("-q")[0].split("-")[-1],
                         "MiB": path.stat().st_size / 2**20, "digest": digest, "": entry.description})  # fmt: skip
        if not files:
            missing = dict.fromkeys(("preset", "MiB", "digest"))
            rows.append({"model": name, "rate": "no weights", **missing, "": entry.description})
    print(tables.to_text(rows, digits=1))
