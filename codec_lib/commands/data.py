"""The data sets on this machine."""

import argparse

from codec_lib.errors import CodecError

HELP = "List, fetch or verify the data sets."


def add_options(p: argparse.ArgumentParser) -> None:
    """The command's options."""
    p.add_argument("action", choices=("list", "fetch", "verify"))
    p.add_argument("name", nargs="?", metavar="NAME", help="one of those that list prints; without it all")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    """Do it for one set or all."""
    from codec_lib import datasets

    for name in [args.name] if args.name else datasets.NAMES:
        rows = datasets.manifest(name)
        size = sum(int(row["bytes"]) for row in rows) / 2**20
        if args.action == "fetch":
            datasets.fetch(name, progress=not args.quiet)
        if args.action == "list":
            try:
                state = f"here, {datasets.find(name)[0].parent}"
            except (CodecError, OSError):
                state = "not complete on this machine"
            print(f"{name:13}{len(rows):6,} pictures {size:7.1f} MiB   {state}")
        else:
            datasets.find(name)
            print(f"{name}: {len(rows):,} pictures, all present, all checksums right")
