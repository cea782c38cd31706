"""Pictures as `.cbk` files."""

import argparse
import io
import os
import sys
from pathlib import Path

from codec_lib import images
from codec_lib.coding.container import metadata
from codec_lib.command_line import count
from codec_lib.commands import options
from codec_lib.commands.files import STANDARD, Done, Job, check_output, is_output, over, plan, read, write
from codec_lib.errors import BadData, Unsupported
from codec_lib.registry import AUTOENCODERS

HELP = "Write pictures (anything Pillow opens) as .cbk files."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    p.add_argument(
        "paths", nargs="+", metavar="IN... [OUT.cbk]",
        help="pictures, or a folder of them, and the file to write; '-' is standard input or output; without an "
        "output each file lies beside its picture",
    )  # fmt: skip
    p.add_argument("--out", type=Path, metavar="DIR", help="write the files into this folder")
    p.add_argument("--force", action="store_true", help="replace files that exist")
    p.add_argument("--jobs", type=count, default=1, metavar="J", help="pictures at a time")
    rate = p.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality", type=options.quality, metavar="Q",
        help="0 (smallest file) to 5 (best picture) and anything between, as 2.4; 1 to 4 of a model for one rate "
        "(default: 2)",
    )  # fmt: skip
    rate.add_argument(
        "--bits", type=int, metavar="B",
        help="of an autoencoder's quantiser: 1, 2, 4 or 10 (default: 2, or what there are weights for)",
    )  # fmt: skip
    rate.add_argument("--bpp", type=options.positive, metavar="B", help="at most so many bits a pixel, and nearly them")
    rate.add_argument(
        "--size", type=options.file_size, metavar="N", help="at most so many bytes, and nearly them: 60000, 60k, 1.5M"
    )
    rate.add_argument("--psnr", type=options.positive, metavar="P", help="the smallest file of at least so many dB")
    p.add_argument(
        "--metadata", choices=("strip", "keep"), default="strip",
        help="strip EXIF and turn colours into sRGB, or keep EXIF, its place and date included, and the colour profile "
        "(a TIFF decoded from it has the texts of EXIF alone)",
    )  # fmt: skip
    p.add_argument(
        "--state", type=Path, metavar="FILE.json", help="write the table of --lossless huffman here, not into the file"
    )
    options.add_model(p)
    options.add_weights(p)


def run(args: argparse.Namespace) -> int:
    """Encode them all."""
    options.check_family(args)
    names, target = _split(args)
    jobs = plan(names, target, args.out, ".cbk", images.SUFFIXES, args.force)
    if args.state:
        _check_state(args, jobs)
    return over(jobs, _Writer(args, len(jobs) == 1 and sys.stderr.isatty()), args.jobs)


def _split(args: argparse.Namespace) -> tuple[list[str], str | None]:
    """The inputs, and the output if it is named."""
    *first, last = args.paths
    if args.out is not None or not first:
        return args.paths, None
    if last.lower().endswith(".cbk") or is_output(last):
        return first, last
    one = len(first) == 1 and not Path(first[0]).is_dir()
    if one and not Path(last).exists() and Path(last).suffix.lower() not in images.SUFFIXES:
        raise BadData(f"The output {last} must have a name that ends in .cbk.")
    return args.paths, None


def _check_state(args: argparse.Namespace, jobs: list[Job]) -> None:
    if args.lossless != "huffman":
        raise Unsupported("Only the table of --lossless huffman can be kept in a file of its own by --state.")
    if (args.size, args.bpp, args.psnr) != (None, None, None):
        raise Unsupported("A search for a size or a PSNR makes many tables; name --bits beside --state.")
    if len(jobs) > 1:
        raise Unsupported("The table of --state is that of one file, and there are several.")
    if args.state == STANDARD:
        raise BadData("The table of --state needs a file of its own.")
    if os.path.realpath(args.state) == os.path.realpath(jobs[0].target):
        raise BadData(f"The table and the file cannot both be {jobs[0].target}.")
    check_output(args.state, jobs[0].source, force=args.force)


class _Writer:
    """Picture -> file, by the options of the command."""

    def __init__(self, args: argparse.Namespace, watched: bool):
        from codec_lib.weights.targets import Rates

        self.args = args
        self.rates = Rates(args.model, args.preset, args.weights)
        self.quality = self.rates.chosen(1000 * args.bits if args.bits is not None else args.quality)
        coder = args.lossless or args.coder
        self.options = {"coder": coder} if coder else {}
        if args.state:
            self.options = {"coder": "huffman-file", "state": args.state}
        if args.model not in AUTOENCODERS:
            self.options |= {"effort": args.effort, "progress": watched}

    def __call__(self, job: Job) -> Done:
        from codec_lib.weights.targets import CLOSE

        source = io.BytesIO(read(STANDARD)) if job.source == STANDARD else job.source
        picture = images.read_picture(source, self.args.metadata == "keep")
        height, width = picture.pixels.shape[:2]
        size = self.args.size if self.args.bpp is None else int(self.args.bpp * height * width / 8)
        table_is_new = self.args.state and not self.args.state.exists()
        data = self._file(picture, size)
        try:
            write(job, data)
        except BadData:
            if table_is_new:  # and of no file
                self.args.state.unlink(missing_ok=True)
            raise
        notes = list(picture.notes)
        if size is not None and len(data) < (1 - CLOSE) * size:
            notes.append(f"no quality comes nearer to {size:,} bytes")
        return Done(f"{width}x{height}, {len(data):,} bytes, {8 * len(data) / (width * height):.3f} bpp", notes)

    def _file(self, picture: images.Picture, size: int | None) -> bytes:
        """Of the bytes allowed, if they are limited."""
        from codec_lib.weights import targets

        on = self.rates.on(picture.pixels, chunks=metadata(picture.exif, picture.icc), **self.options)
        if self.args.psnr is not None:
            return targets.smallest_reaching(on, self.args.psnr)
        return on.encode(self.quality) if size is None else targets.largest_within(on, size)
