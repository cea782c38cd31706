"""Options that several commands have, and what is refused of them before torch is imported."""

import argparse
import math
from pathlib import Path

from codec_lib.errors import Unsupported
from codec_lib.places import WEIGHTS
from codec_lib.registry import AUTOENCODERS, DEFAULT_MODEL, PRIORS, entry

CODERS = ("constriction", "torchac")
LOSSLESS = ("adaptive", "huffman")
"""These two repeat what stands in modules that take long to import; --help should not."""

ALL_MODELS = f"one of {', '.join(PRIORS)}, or an autoencoder: {', '.join(AUTOENCODERS)}"


def add_weights(p: argparse.ArgumentParser) -> None:
    """--weights."""
    p.add_argument("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weight files")


def add_model(p: argparse.ArgumentParser) -> None:
    """--model, and how it is coded."""
    p.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help=ALL_MODELS)
    p.add_argument(
        "--preset",
        metavar="NAME",
        help="sizes of the networks: compact or paper (default: the first that has weights of the quality)",
    )
    p.add_argument(
        "--effort", type=int, default=0, choices=range(10), metavar="E",
        help="0 to 9: search for a better file of each picture; from 1 on, each takes twice as long as the one before",
    )  # fmt: skip
    p.add_argument("--coder", choices=CODERS, help="entropy coder (default: constriction)")
    p.add_argument("--lossless", choices=LOSSLESS, help="lossless coder of an autoencoder (default: adaptive)")


def check_family(args: argparse.Namespace) -> None:
    """Refuse (`Unsupported`) options of the other family of models, and name those to be used instead."""
    entry(args.model)  # refuses what does not exist
    own, foreign = ("quality", "coder"), ("bits", "lossless")
    if args.model in AUTOENCODERS:
        own, foreign = foreign, own
    for name, instead in zip(foreign, own, strict=True):
        if getattr(args, name) is not None:
            raise Unsupported(f"The model {args.model} has no --{name}; use --{instead}.")
    if args.effort and args.model in AUTOENCODERS:
        raise Unsupported(f"The model {args.model} has nothing that --effort could search for.")


def _number(text: str, kind: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not {kind}") from None


def quality(text: str) -> int:
    """A quality as it is typed, 2.4, in thousandths."""
    thousandths = 1000 * _number(text, "a quality")
    if not math.isfinite(thousandths):
        raise argparse.ArgumentTypeError(f"'{text}' is not a quality")
    if abs(thousandths - round(thousandths)) > 1e-6:
        raise argparse.ArgumentTypeError(f"'{text}' has more than three decimals")
    return round(thousandths)


def file_size(text: str) -> int:
    """A file's size as it is typed, 60000, 60k, 60kB or 0.5M, in bytes."""
    short = text.lower().removesuffix("b")
    unit = {"k": 1000, "m": 1000**2}.get(short[-1:], 1)
    try:
        number = float(short if unit == 1 else short[:-1]) * unit
    except ValueError:
        number = math.nan
    if not 1 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"'{text}' is not a file size")
    return int(number)


def positive(text: str) -> float:
    """A number above zero."""
    number = _number(text, "a number")
    if not 0 < number < 2**63:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 2^63")
    return number
