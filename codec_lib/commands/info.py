"""What a `.cbk` file holds."""

import argparse
import json

from codec_lib.coding import container
from codec_lib.commands.files import path_of, read
from codec_lib.rates import in_units
from codec_lib.registry import AUTOENCODERS

HELP = "Tell what a .cbk file holds, after checking it."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    p.add_argument("input", type=path_of, metavar="IN.cbk", help="file that 'encode' wrote; '-' is standard input")
    p.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print it."""
    data = read(args.input, container.read)
    file = container.unpack(data)
    facts = {
        "model": file.model, "bits" if file.model in AUTOENCODERS else "quality": in_units(file.quality),
        "coder": file.coder,
        "width": file.width, "height": file.height, "bytes": len(data),
        "bpp": round(8 * len(data) / (file.width * file.height), 4),
        "streams": [len(stream) for stream in file.streams],
        "chunks": {name: len(chunk) for name, chunk in file.chunks},
        "container": file.overhead, "version": file.version,
        "weights": file.weights.hex(), "seal": f"{file.seal:08x}",
    }  # fmt: skip
    if args.json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        match value:
            case list():
                value = " ".join(f"{v:,}" for v in value)
            case dict():
                value = " ".join(f"{k} {v:,}" for k, v in value.items()) or "none"
        print(f"{name:14}{value}")
