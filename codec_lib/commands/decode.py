"""`.cbk` files as pictures."""

import argparse
import io
import sys
import threading
from pathlib import Path

from codec_lib import images
from codec_lib.coding import container
from codec_lib.command_line import count
from codec_lib.commands import options
from codec_lib.commands.files import Done, Job, check_output, is_output, over, plan, read, write
from codec_lib.errors import Unsupported
from codec_lib.registry import AUTOENCODERS

HELP = "Turn .cbk files back into pictures."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    p.add_argument(
        "paths", nargs="+", metavar="IN.cbk... [OUT.png]",
        help="files that 'encode' wrote, or a folder of them, and the picture to write: "
        f"{', '.join(images.FORMATS)}; '-' is standard input or output; without an output a PNG lies beside each file",
    )  # fmt: skip
    p.add_argument("--out", type=Path, metavar="DIR", help="write the pictures into this folder")
    p.add_argument("--force", action="store_true", help="replace files that exist")
    p.add_argument("--jobs", type=count, default=1, metavar="J", help="files at a time")
    p.add_argument("--state", type=Path, metavar="FILE.json", help="the Huffman table, where encode wrote one")
    options.add_weights(p)


def run(args: argparse.Namespace) -> int:
    """Decode them all."""
    *first, last = args.paths
    named = args.out is None and first and (is_output(last) or not last.lower().endswith(".cbk"))
    names, target = (first, last) if named else (args.paths, None)
    jobs = plan(names, target, args.out, ".png", {".cbk"}, args.force)
    for job in jobs:
        _suffix(job.target)
        if args.state:
            check_output(job.target, args.state, made=args.out is not None)
    return over(jobs, _Reader(args, len(jobs) == 1 and sys.stderr.isatty()), args.jobs)


def _suffix(target: Path) -> str:
    """What tells the format: PNG where the output has no name of its own."""
    return ".png" if is_output(str(target)) else images.check_suffix(target)


class _Reader:
    """File -> picture, by the options of the command; one codec is kept for the next file: there are thousands."""

    def __init__(self, args: argparse.Namespace, watched: bool):
        self.args, self.watched, self.loaded, self.lock = args, watched, {}, threading.Lock()

    def __call__(self, job: Job) -> Done:
        data = read(job.source, container.read)
        file = container.unpack(data)
        table = self.args.state
        if table and (file.model not in AUTOENCODERS or file.coder != "huffman-file"):
            raise Unsupported(f"{job.source} needs no --state: all that decodes it is inside.")
        pixels = self._codec(file).decode(data, table if file.model in AUTOENCODERS else self.watched)
        chunks, picture = dict(file.chunks), io.BytesIO()
        exif, icc = (chunks.get(name, b"") for name in (container.EXIF, container.ICC))
        images.save(picture, pixels, _suffix(job.target), exif, icc)
        write(job, picture.getvalue())
        return Done(f"{pixels.shape[1]}x{pixels.shape[0]}")

    def _codec(self, header: container.Header):
        from codec_lib.weights import weight_files

        key = header.model, header.quality, header.weights
        with self.lock:
            if key not in self.loaded:
                self.loaded = {key: weight_files.load_for(header, self.args.weights)}
            return self.loaded[key]
