"""What is installed."""

import argparse
import json

from codec_lib import tables
from codec_lib.commands import options
from codec_lib.places import installed
from codec_lib.registry import AUTOENCODERS, DEFAULT_MODEL
from codec_lib.registry import models as registered

HELP = "List the models and the weights that are installed."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_weights(p)


def run(args: argparse.Namespace) -> None:
    """Print a line for each weight file and for each model that has none."""
    rows = []
    for model, entry in registered().items():
        point = "bits" if model in AUTOENCODERS else "quality"
        name = f"{model} (default)" if model == DEFAULT_MODEL else model
        files = sorted(
            (int(path.stem.rpartition("-q")[2]), path)
            for path in args.weights.glob(f"{model}-*-q*.safetensors")
            if path.stem.rpartition("-q")[2].isdigit()
        )
        for value, path in files:
            card = path.with_suffix(".json")
            digest = json.loads(card.read_bytes())["digest"][:16] if card.is_file() else None
            rows.append({"model": name, "rate": f"{point} {value}", "preset": path.stem.split("-")[-2],
                         "MiB": path.stat().st_size / 2**20, "digest": digest, "": entry.description})  # fmt: skip
        if not files:
            rows.append({"model": name, "rate": "no weights", "": entry.description})
    print(tables.to_text(rows, digits=1))
    if installed():
        print("A wheel has the weights of some models; a checkout of the repository has all.")
