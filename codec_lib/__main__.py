"""The command line: encode, decode, info, train, evaluate, data."""

import argparse
import json
import os
import sys
from pathlib import Path

from codec_lib.command_line import Parser, exit_status, say
from codec_lib.errors import BadData, CodecError, Unsupported
from codec_lib.registry import AUTOENCODERS, PRIORS

CODERS = ("constriction", "torchac")
LOSSLESS = ("adaptive", "huffman")

WEIGHTS = Path(__file__).resolve().parent.parent / "data" / "weights"
"""These three repeat what stands in modules that take seconds to import; --help should not."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that there are, but no "(default: None)"."""

    def _get_help_string(self, action: argparse.Action) -> str:
        nothing = action.default is None or action.default is False
        return action.help if nothing else super()._get_help_string(action)


def _prepare_output(path: Path, *inputs: Path) -> None:
    """Refuse, before any work, an output that cannot be written or would replace an input."""
    if not path.parent.is_dir():
        raise BadData(f"The output folder {path.parent} does not exist.")
    if path.is_dir():
        raise BadData(f"Cannot write {path}: it is a folder.")
    if not os.access(path.parent, os.W_OK):
        raise BadData(f"Cannot write into the folder {path.parent}.")
    for source in inputs:
        if source.exists() and path.exists() and path.samefile(source):
            raise BadData(f"The output {path} is the input itself.")


def _rate_points(args: argparse.Namespace, default: list[int]) -> list[int]:
    """--quality, or of an autoencoder --bits; each family has options of its own."""
    from codec_lib.weights import weight_files

    weight_files.rate_points(args.model)  # refuses what does not exist
    own, foreign = ("bits", "lossless"), ("quality", "coder")
    if args.model not in AUTOENCODERS:
        own, foreign = foreign, own
    wrong = [name for name in foreign if getattr(args, name) is not None]
    if wrong:
        raise Unsupported(f"The model {args.model} has no --{wrong[0]}; use --{own[foreign.index(wrong[0])]}.")
    return default if getattr(args, own[0]) is None else getattr(args, own[0])


def encode(args: argparse.Namespace) -> None:
    from codec_lib import files, images, metrics
    from codec_lib.weights import weight_files

    (point,) = _rate_points(args, [2])
    weight_files.check_choice(args.model, point)
    coder, options = args.lossless or args.coder, {}
    if args.state:
        if args.lossless != "huffman":
            raise Unsupported("Only the table of --lossless huffman can be kept in a file of its own by --state.")
        _prepare_output(args.state, args.input, args.output)
        if args.state.resolve() == args.output.resolve():
            raise BadData(f"The table and the file cannot both be {args.output}.")
        coder, options = "huffman-file", {"state": args.state}
    _prepare_output(args.output, args.input)
    pixels, notes = images.read_image(args.input)
    frozen = weight_files.load(args.model, point, args.preset, args.weights)
    data = frozen.encode(pixels, coder or frozen.coders[0], **options)
    files.write_bytes(args.output, data)
    for note in notes:
        say(f"{args.input}: {note}.")
    height, width = pixels.shape[:2]
    print(f"{args.output}: {width}x{height}, {len(data):,} bytes, {metrics.bpp(len(data), pixels):.3f} bpp")


def _read(path: Path):
    """The bytes of a `.cbk` file and what they hold; refuses all else before torch is imported."""
    from codec_lib import files
    from codec_lib.coding import container

    data = files.read_bytes(path, container.read)
    return data, container.unpack(data)


def decode(args: argparse.Namespace) -> None:
    _prepare_output(args.output, args.input, *([args.state] if args.state else []))
    data, container = _read(args.input)

    from codec_lib import images
    from codec_lib.weights import weight_files

    frozen = weight_files.load_for(container, args.weights)
    if args.state and (container.model not in AUTOENCODERS or container.coder != "huffman-file"):
        raise Unsupported(f"{args.input} needs no --state: all that decodes it is inside.")
    pixels = frozen.decode(data, args.state) if args.state else frozen.decode(data)
    images.write_png(args.output, pixels)
    print(f"{args.output}: {pixels.shape[1]}x{pixels.shape[0]}")


def info(args: argparse.Namespace) -> None:
    data, container = _read(args.input)
    quality, between = divmod(container.quality, 1000)
    facts = {
        "model": container.model, "quality": quality + between / 1000 if between else quality, "coder": container.coder,
        "width": container.width, "height": container.height, "bytes": len(data),
        "bpp": round(8 * len(data) / (container.width * container.height), 4),
        "streams": [len(stream) for stream in container.streams],
        "chunks": {name: len(chunk) for name, chunk in container.chunks},
        "container": container.overhead, "version": container.version,
        "weights": container.weights.hex(), "seal": f"{container.seal:08x}",
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


def train(args: argparse.Namespace) -> None:
    from codec_lib.training import training
    from codec_lib.training.publishing import read_card_of, release
    from codec_lib.training.runs import Settings, make_model
    from codec_lib.weights import weight_files

    if args.steps is None and args.epochs is None and args.minutes is None:
        args.minutes = 30.0
    if args.lmbda is None:
        if args.model not in AUTOENCODERS or args.model in ("ae-vae", "ae-vector"):
            raise Unsupported(f"The model {args.model} cannot be trained without --lmbda; 0.013 is quality 2.")
        args.lmbda = 0.013  # a mere factor of the loss, where the rate is fixed
    names = Settings.__dataclass_fields__
    settings = Settings(**{k: v for k, v in vars(args).items() if k in names})
    origins, cards = {}, []
    for option in ("transforms", "start"):
        file = getattr(args, option)
        if file is None:
            continue
        origins[option] = weight_files.read(file)
        if origins[option].network.dimensions != make_model(settings).dimensions:
            raise Unsupported(f"{file} holds transforms of other sizes than those to be trained.")
        if file.with_suffix(".json").is_file():
            cards.append(read_card_of(file))
    transforms = origins.get("transforms")
    if transforms is not None and (args.start is None or args.model in AUTOENCODERS):
        raise Unsupported("--transforms needs --start, whose prior goes with them; autoencoders have none.")
    if transforms is not None and origins["start"].model != args.model:
        raise Unsupported(f"--transforms needs a --start that holds the prior of a {args.model} model.")
    if transforms is not None and transforms.lmbda != settings.lmbda:
        raise Unsupported(
            f"The transforms of {args.transforms} are for lmbda {transforms.lmbda}, not {settings.lmbda}."
        )
    run = training.train(settings, args.out, args.resume, origins.get("start"), transforms, progress=not args.quiet)
    if run.rank == 0:
        path, card = release(run, args.out, progress=not args.quiet, source_cards=cards)
        measured = card["kodak"] or {}
        kodak = f"; Kodak {measured['bpp']:.3f} bpp, {measured['psnr']:.2f} dB" if measured else ""
        print(f"{path}: {card['steps']:,} steps, {card['minutes']} minutes{kodak}")


def evaluate(args: argparse.Namespace) -> None:
    from codec_lib import datasets, tables
    from codec_lib.evaluation import evaluation
    from codec_lib.weights import weight_files

    points = _rate_points(args, [1, 2, 4, 10] if args.model in AUTOENCODERS else [1, 2, 3, 4])
    if args.model in AUTOENCODERS and args.bits is None:
        points = weight_files.available(args.model, args.weights) or points
    for point in points:
        weight_files.check_choice(args.model, point)
    if args.csv:
        _prepare_output(args.csv)
    loaded = [weight_files.load(args.model, point, args.preset, args.weights) for point in points]
    paths = datasets.open_pictures(args.dataset)
    rows = [
        evaluation.summary(evaluation.evaluate(c, paths, args.lossless or args.coder, not args.quiet)) for c in loaded
    ]
    if args.csv:
        tables.write_csv(args.csv, rows)
    print(tables.to_text(rows, digits={"lmbda": 4, "B": 0, "num_pixels": 0, "bits": 0, "psnr": 2, "ms_ssim": 4}))


def data(args: argparse.Namespace) -> None:
    from codec_lib import datasets

    names = [args.name] if args.name else list(datasets.NAMES)
    for name in names:
        rows = datasets.manifest(name)
        size = sum(int(row["bytes"]) for row in rows) / 2**20
        if args.action == "fetch":
            datasets.fetch(name, progress=not args.quiet)
        if args.action == "list":
            try:
                state = f"here, {datasets.find(name)[0].parent}"
            except CodecError:
                state = "not complete on this machine"
            print(f"{name:13}{len(rows):6,} pictures {size:7.1f} MiB   {state}")
        else:
            datasets.find(name)
            print(f"{name}: {len(rows):,} pictures, all present, all checksums right")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="python -m codec_lib", description="Learned image compression as real files.")
    all_models = f"one of {', '.join(PRIORS)}, or an autoencoder: {', '.join(AUTOENCODERS)}"
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, function, help: str) -> argparse.ArgumentParser:
        p = commands.add_parser(name, help=help, description=help, formatter_class=_Formatter)
        p.set_defaults(function=function)
        return p

    def weights(p: argparse.ArgumentParser) -> None:
        p.add_argument("--weights", type=Path, default=WEIGHTS, metavar="DIR", help="folder of weight files")

    def model(p: argparse.ArgumentParser) -> None:
        p.add_argument("--model", default="factorized", metavar="NAME", help=all_models)
        p.add_argument(
            "--preset", metavar="NAME", help="sizes of the networks; without it the largest there are weights for"
        )
        p.add_argument("--coder", choices=CODERS, help="entropy coder (default: constriction)")
        p.add_argument("--lossless", choices=LOSSLESS, help="lossless coder of an autoencoder (default: adaptive)")

    p = command("encode", encode, "Write a picture (anything Pillow opens) as a .cbk file.")
    p.add_argument("input", type=Path, metavar="IN", help="picture")
    p.add_argument("output", type=Path, metavar="OUT.cbk", help="file to write")
    p.add_argument(
        "--quality", type=int, nargs=1, metavar="Q", help="1 (smallest file) to 4 (best picture) (default: 2)"
    )
    p.add_argument(
        "--bits", type=int, nargs=1, metavar="B", help="of an autoencoder's quantiser: 1, 2, 4 or 10 (default: 2)"
    )
    p.add_argument(
        "--state", type=Path, metavar="FILE.json", help="write the table of --lossless huffman here, not into the file"
    )
    model(p)
    weights(p)

    p = command("decode", decode, "Turn a .cbk file back into a PNG picture.")
    p.add_argument("input", type=Path, metavar="IN.cbk", help="file that 'encode' wrote")
    p.add_argument("output", type=Path, metavar="OUT.png", help="picture to write")
    p.add_argument("--state", type=Path, metavar="FILE.json", help="the Huffman table, where encode wrote one")
    weights(p)

    p = command("info", info, "Tell what a .cbk file holds, after checking it.")
    p.add_argument("input", type=Path, metavar="IN.cbk", help="file that 'encode' wrote")
    p.add_argument("--json", action="store_true", help="as one JSON object")

    p = command("train", train, "Train a model; under torchrun on several devices.")
    p.add_argument("--model", required=True, metavar="NAME", help=all_models)
    p.add_argument(
        "--lmbda",
        type=float,
        help="weight of the distortion; 0.0067, 0.013, 0.025, 0.0483 are qualities 1 to 4; "
        "needless for autoencoders but ae-vae and ae-vector",
    )
    p.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for checkpoint, log, weights and card"
    )
    p.add_argument("--bits", type=int, metavar="B", help="of an autoencoder's quantiser: 1, 2, 4 or 10")
    p.add_argument(
        "--straight-through", action="store_true", help="round an autoencoder's latent in training, instead of noise"
    )
    p.add_argument("--preset", default="compact", metavar="NAME", help="paper, compact or tiny")
    p.add_argument("--dataset", default="train", metavar="DIR", help="folder of pictures, or train, more or embedded")
    length = p.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, metavar="T", help="train this long (30, if no length is given)")
    length.add_argument("--epochs", type=int, metavar="E", help="train this many passes over the pictures")
    length.add_argument("--steps", type=int, metavar="S", help="train this many steps")
    p.add_argument("--batch-size", type=int, default=16, metavar="B", help="crops in a step, on each device")
    p.add_argument("--crop", type=int, default=128, metavar="PIXELS", help="side of a crop, a multiple of 16")
    p.add_argument("--lr", type=float, default=1e-3, metavar="R", help="highest learning rate")
    p.add_argument(
        "--last-lr", type=float, default=0.01, metavar="SHARE", help="learning rate at the end, as a share of --lr"
    )
    p.add_argument(
        "--average", type=float, default=0.998, metavar="D", help="decay of the weights' average; 0: none is taken"
    )
    p.add_argument(
        "--smallest-scale", type=float, default=0.5, metavar="S", help="least factor of the pictures before cropping"
    )
    p.add_argument("--largest-scale", type=float, default=1.0, metavar="S", help="greatest factor of them")
    p.add_argument("--optimiser", choices=("adam", "muon"), default="adam", help="muon: faster at equal steps")
    p.add_argument("--seed", type=int, default=0, help="start of all random numbers")
    p.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="auto: whichever is faster here"
    )
    p.add_argument("--compile", action="store_true", help="use torch.compile")
    p.add_argument(
        "--start", type=Path, metavar="FILE", help="begin from these weights (.safetensors), of any model and lmbda"
    )
    p.add_argument(
        "--transforms",
        type=Path,
        metavar="FILE",
        help="take g_a and g_s from these weights, and the prior from --start",
    )
    p.add_argument(
        "--random-start",
        action="store_true",
        help="begin at random, not as a classical transform coder (ae-resnet18: not from pretrained weights)",
    )
    p.add_argument("--prior-only", action="store_true", help="train the prior alone; g_a and g_s stay as they are")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--quiet", action="store_true", help="no progress bar")

    p = command("evaluate", evaluate, "Measure rate, distortion and time, from files on disk.")
    p.add_argument("--quality", type=int, nargs="+", metavar="Q", help="rate points (default: 1 2 3 4)")
    p.add_argument(
        "--bits", type=int, nargs="+", metavar="B", help="of an autoencoder's quantiser (default: all there are)"
    )
    p.add_argument("--dataset", default="embedded", metavar="NAME", help="embedded, kodak, photographs, or a folder")
    p.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    model(p)
    weights(p)

    p = command("data", data, "List, fetch or verify the data sets.")
    p.add_argument("action", choices=("list", "fetch", "verify"))
    p.add_argument("name", nargs="?", metavar="NAME", help="embedded, kodak, photographs, train, more (default: all)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0, or 2 after one sentence on stderr, or 130 after Ctrl-C."""
    args = parser().parse_args(arguments)
    return exit_status(lambda: args.function(args))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    sys.exit(main())
