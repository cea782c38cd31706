"""Measurements of weights on a set of pictures."""

import argparse
from pathlib import Path

from codec_lib.commands import options
from codec_lib.commands.files import STANDARD, check_output
from codec_lib.errors import BadData

HELP = "Measure rate, distortion and time, from files on disk."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    p.add_argument(
        "--quality", type=options.quality, nargs="+", metavar="Q", help="qualities (default: all whole ones there are)"
    )
    p.add_argument(
        "--bits", type=int, nargs="+", metavar="B", help="of an autoencoder's quantiser (default: all there are)"
    )
    p.add_argument("--dataset", default="embedded", metavar="NAME", help="embedded, kodak, photographs, or a folder")
    p.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    options.add_model(p)
    options.add_weights(p)


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    options.check_family(args)
    from codec_lib import datasets, tables
    from codec_lib.evaluation import evaluation
    from codec_lib.weights.targets import Rates

    rates = Rates(args.model, args.preset, args.weights)
    named = [1000 * bits for bits in args.bits] if args.bits else args.quality
    whole = [point for point in rates.qualities if point % 1000 == 0]
    points = [rates.chosen(point) for point in named or whole or [None]]
    if args.csv == STANDARD:
        raise BadData("The table needs a file of its own; what is printed is the same.")
    if args.csv:
        check_output(args.csv)
    loaded = [rates.codec(point) for point in points]
    paths = datasets.open_pictures(args.dataset)
    coder = args.lossless or args.coder
    rows = [evaluation.summary(evaluation.evaluate(c, paths, coder, not args.quiet, args.effort)) for c in loaded]
    if args.csv:
        tables.write_csv(args.csv, rows)
    print(tables.to_text(rows, digits={"lmbda": 4, "B": 0, "num_pixels": 0, "bits": 0, "psnr": 2, "ms_ssim": 4}))
